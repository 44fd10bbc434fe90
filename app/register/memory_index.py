"""The index of a register without vectors in its database: all of them in memory, searched exactly.

The density around each vector is found beforehand by `MemoryIndex.warm`, a few at a time, or when a search first needs
it, and kept up as vehicles come and go. It is not stored: nothing computed from a vehicle outlives it on the disk.
"""

from collections.abc import Collection, Iterator
from itertools import chain, groupby
from operator import itemgetter

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import LargeBinary, select, type_coerce
from sqlalchemy.orm import Session

from app.evaluation.local_scaling import (
    NEIGHBOURS,
    SHORTLIST,
    Neighbours,
    densities_of_photograph,
    each_once,
    neighbours,
    scaled_scores,
)
from app.register.database import Database
from app.register.matcher import Candidate
from app.register.records import changes_since
from app.register.schema import Embedding, View

Floats = NDArray[np.float32]
Ints = NDArray[np.int64]
BLOCK_ROWS = 16384
_CHUNK_ROWS = 4096
_DENSITY_ROWS = 64  # rows compared with the whole library at once: fewer take longer each, more keep a query waiting
_NEAREST_IMAGES = 16  # of which the nearest vehicles are taken
_MOST_FOLLOWED = 64  # new rows up to which each is compared with what is known; after an import, all of it is forgotten


class MemoryIndex:
    """Holds all vectors of a model in float32, 4 bytes a value, and follows the register's changes before each search.

    Reading 300,000 vectors takes seconds; it is done at the first search, or by `prepare`."""

    def __init__(self, database: Database, model_id: int) -> None:
        self.database = database
        self.model_id = model_id
        self.libraries: dict[str, Library] = {}
        self._seen = -1

    def search(self, library: str, photographs: Floats, limit: int, also: Collection[int] = ()) -> list[Candidate]:
        self.prepare()
        return self.look(library, photographs, limit).nearest(also)

    def look(self, library: str, photographs: Floats, limit: int) -> "Look":
        """See `app.register.index.Index`; the next `prepare` ends it."""
        held = self.libraries.get(library) or Library(np.atleast_2d(photographs).shape[1])
        return Look(held, np.atleast_2d(photographs), limit)

    def warm(self) -> bool:
        """See `app.register.index.Index`."""
        return any(held.warm() for held in self.libraries.values())

    def prepare(self) -> None:
        """Read what changed since the last time."""
        with self.database.reading() as session:
            last, changed = changes_since(session, self._seen)
            for library in self.libraries.values():
                library.drop(changed)
            self._read(session, None if self._seen < 0 else sorted(changed))
            self._seen = last

    def _read(self, session: Session, vehicles: list[int] | None) -> None:
        for library, vehicle_ids, view_ids, vectors in _chunks(session, self.model_id, vehicles):
            if library not in self.libraries:
                self.libraries[library] = Library(vectors.shape[1])
            self.libraries[library].extend(vehicle_ids, view_ids, vectors)


def _chunks(
    session: Session, model_id: int, vehicles: list[int] | None
) -> Iterator[tuple[str, list[int], list[int], Floats]]:
    """Rows of one library at a time: its name, vehicles, views, vectors (N, D).

    Vectors come as the bytes that they are in the file: an object for each would take longer than reading them."""
    vector = type_coerce(Embedding.vector, LargeBinary)
    query = select(Embedding.library, View.vehicle_id, View.id, vector).join(View)
    query = query.where(Embedding.model_id == model_id).order_by(Embedding.library, Embedding.view_id)
    query = query.execution_options(yield_per=_CHUNK_ROWS)
    parts = [None] if vehicles is None else [vehicles[i : i + 500] for i in range(0, len(vehicles), 500)]
    for part in parts:
        rows = session.execute(query if part is None else query.where(View.vehicle_id.in_(part)))
        for chunk in rows.partitions():
            for library, group in groupby(chunk, key=itemgetter(0)):
                _, vehicle_ids, view_ids, data = zip(*group, strict=True)
                matrix = np.frombuffer(b"".join(data), "<f4").reshape(len(data), -1)
                yield library, list(vehicle_ids), list(view_ids), matrix


class Library:
    """Rows of vectors in blocks, so that growing copies nothing; a row that goes is filled with the last one.

    The nearest other vehicles of a row are found when they are first needed. A nearer one that comes takes its place
    among them; they are forgotten when a vehicle among them goes."""

    def __init__(self, dim: int) -> None:
        self.dim = dim
        self.size = 0
        self.blocks: list[Floats] = []
        self.vehicle_ids: list[int] = []  # by slot
        self.slots: dict[int, int] = {}
        self.rows: list[list[int]] = []  # of a vehicle, by slot
        self.row_slot = np.empty(0, np.int32)
        self.row_view = np.empty(0, np.int64)
        self.near = Neighbours(np.empty((0, NEIGHBOURS + 1), np.float32), np.empty((0, NEIGHBOURS + 1), np.int64))
        self.known = np.empty(0, bool)  # rows whose neighbours are known

    def extend(self, vehicles: list[int], views: list[int], vectors: Floats) -> None:
        """Add rows (N, D). Raises ValueError for vectors of another length."""
        if vectors.shape[1] != self.dim:
            raise ValueError(f"view {views[0]} has {vectors.shape[1]} values, the library {self.dim}")
        while self.size + len(vectors) > len(self.row_slot):
            self.blocks.append(np.empty((BLOCK_ROWS, self.dim), np.float32))
            self.row_slot = np.concatenate([self.row_slot, np.zeros(BLOCK_ROWS, np.int32)])
            self.row_view = np.concatenate([self.row_view, np.zeros(BLOCK_ROWS, np.int64)])
            self.known = np.concatenate([self.known, np.zeros(BLOCK_ROWS, bool)])
            self.near = Neighbours(
                *(np.concatenate([part, np.zeros((BLOCK_ROWS, NEIGHBOURS + 1), part.dtype)]) for part in self.near)
            )
        self._meet(vehicles, vectors)
        first, stop = self.size, self.size + len(vectors)
        for row, vehicle in enumerate(vehicles, start=first):
            slot = self.slots.setdefault(vehicle, len(self.vehicle_ids))
            if slot == len(self.vehicle_ids):
                self.vehicle_ids.append(vehicle)
                self.rows.append([])
            self.rows[slot].append(row)
            self.row_slot[row] = slot
        self.row_view[first:stop] = views
        self.known[first:stop] = False
        row = first
        while row < stop:
            block, place = divmod(row, BLOCK_ROWS)
            count = min(stop - row, BLOCK_ROWS - place)
            self.blocks[block][place : place + count] = vectors[row - first : row - first + count]
            row += count
        self.size = stop

    def drop(self, vehicles: set[int]) -> None:
        """Forget these vehicles; the slot of one stays, empty."""
        for vehicle in vehicles & self.slots.keys():
            slot = self.slots.pop(vehicle)
            for row in sorted(self.rows[slot], reverse=True):
                self._drop_row(row)
            self.rows[slot] = []
            self.known[: self.size] &= ~(self.near.vehicle[: self.size] == slot).any(axis=1)

    def _drop_row(self, row: int) -> None:
        last = self.size - 1
        if row != last:
            self.blocks[row // BLOCK_ROWS][row % BLOCK_ROWS] = self.blocks[last // BLOCK_ROWS][last % BLOCK_ROWS]
            self.row_slot[row], self.row_view[row] = self.row_slot[last], self.row_view[last]
            self.known[row] = self.known[last]
            for part in self.near:
                part[row] = part[last]
            moved = self.rows[int(self.row_slot[last])]
            moved[moved.index(last)] = row
        self.size = last

    def density(self, rows: Ints) -> Floats:
        """The density around rows (R,), (R,)."""
        unknown = rows[~self.known[rows]]
        for start in range(0, len(unknown), _DENSITY_ROWS):
            self._look_around(unknown[start : start + _DENSITY_ROWS])
        return Neighbours(self.near.similarity[rows], self.near.vehicle[rows]).density()

    def _look_around(self, rows: Ints) -> None:
        """Find the nearest other vehicles of rows (R,)."""
        vectors = np.stack([self.blocks[row // BLOCK_ROWS][row % BLOCK_ROWS] for row in rows.tolist()])
        images = _NEAREST_IMAGES
        while True:
            similarity, near = self._nearest_rows(rows, vectors, images)
            found = each_once(similarity, self.row_slot[near].astype(np.int64))
            if np.isfinite(found.similarity).all() or images >= self.size:
                break
            images *= 2  # one vehicle's images take all places
        self.near.similarity[rows], self.near.vehicle[rows] = found
        self.known[rows] = True

    def _nearest_rows(self, rows: Ints, vectors: Floats, count: int) -> tuple[Floats, Ints]:
        """The nearest `count` rows of other vehicles, nearest first: similarities, -inf for none, and rows."""
        found, places = [], []
        own = [np.array(self.rows[slot], np.int64) for slot in self.row_slot[rows].tolist()]
        for start, similarity in self._by_block(vectors):
            for each, mine in zip(similarity, own, strict=True):
                each[mine[(mine >= start) & (mine < start + len(each))] - start] = -np.inf
            width = min(count, similarity.shape[1])
            best = np.argpartition(similarity, -width, axis=1)[:, -width:]
            found.append(np.take_along_axis(similarity, best, axis=1))
            places.append(best + start)
        similarity, place = np.concatenate(found, axis=1), np.concatenate(places, axis=1)
        order = np.argsort(-similarity, axis=1, kind="stable")[:, :count]
        return np.take_along_axis(similarity, order, axis=1), np.take_along_axis(place, order, axis=1)

    def _meet(self, vehicles: list[int], vectors: Floats) -> None:
        """Let new vectors (N, D) of vehicles take their places among the neighbours of the rows that are there."""
        if len(vectors) > _MOST_FOLLOWED:
            self.known[: self.size] = False
        known = np.flatnonzero(self.known[: self.size])
        if not len(known):
            return
        new = len(self.vehicle_ids)  # the slot of the next vehicle that has none
        slots = dict[int, int]()
        for vehicle, similarity in zip(vehicles, self.similarities(vectors), strict=True):
            slot = self.slots.get(vehicle, slots.setdefault(vehicle, new + len(slots.keys() - self.slots.keys())))
            nearer = similarity[known] >= self.near.similarity[known, -1]
            rows = known[nearer & (self.row_slot[known] != slot)]
            if len(rows):
                self._insert(rows, slot, similarity[rows])

    def _insert(self, rows: Ints, slot: int, similarity: Floats) -> None:
        """Put one vehicle among the neighbours of rows (R,), at similarities (R,); once, with its best."""
        values = np.column_stack([self.near.similarity[rows], similarity])
        slots = np.column_stack([self.near.vehicle[rows], np.full(len(rows), slot, np.int64)])
        held = slots[:, :-1] == slot
        values[:, -1] = np.maximum(values[:, -1], np.where(held, values[:, :-1], -np.inf).max(axis=1))
        values[:, :-1][held] = -np.inf
        slots[:, :-1][held] = -1
        order = np.argsort(-values, axis=1, kind="stable")[:, : NEIGHBOURS + 1]
        self.near.similarity[rows] = np.take_along_axis(values, order, axis=1)
        self.near.vehicle[rows] = np.take_along_axis(slots, order, axis=1)

    def warm(self) -> bool:
        """Find the neighbours of some rows that no search has needed yet; False if all are known."""
        unknown = np.flatnonzero(~self.known[: self.size])[:_DENSITY_ROWS]
        if len(unknown):
            self._look_around(unknown)
        return bool(len(unknown))

    def similarities(self, vectors: Floats) -> Floats:
        """Cosines of vectors (Q, D) to all rows, (Q, N)."""
        return np.concatenate(
            [np.empty((len(vectors), 0), np.float32), *(s for _, s in self._by_block(vectors))], axis=1
        )

    def _by_block(self, vectors: Floats) -> Iterator[tuple[int, Floats]]:
        """Cosines of vectors (Q, D) to the rows of each block, (Q, B), with the number of its first row."""
        for start, block in zip(range(0, self.size, BLOCK_ROWS), self.blocks, strict=False):
            yield start, vectors @ block[: self.size - start].T


class Look:
    """One search of a library: the cosines of a query's photographs to all rows, kept until its vehicles are ranked."""

    def __init__(self, library: Library, photographs: Floats, limit: int) -> None:
        self.library, self.photographs, self.limit = library, photographs, limit
        if photographs.shape[1] != library.dim:
            raise ValueError(f"photographs of {photographs.shape[1]} values, the library has {library.dim}")
        if not library.slots:
            return
        self._similarities = library.similarities(photographs)
        self._best = np.full((len(photographs), len(library.vehicle_ids)), -np.inf, np.float32)
        for row, found in zip(self._best, self._similarities, strict=True):
            np.maximum.at(row, library.row_slot[: library.size], found)
        self._cosine = self._best.mean(axis=0)
        count = min(max(limit, SHORTLIST), len(library.slots))
        self._chosen = np.argpartition(-self._cosine, count - 1)[:count]
        if len(photographs) == 1:  # the nearest are among those chosen
            near = neighbours(self._best[:, self._chosen])
            near = Neighbours(near.similarity, self._chosen[np.minimum(near.vehicle, len(self._chosen) - 1)])
            self._nearest = [near]
        else:
            self._nearest = [neighbours(row[None]) for row in self._best]

    def nearest(self, also: Collection[int] = ()) -> list[Candidate]:
        """See `app.register.index.Look`."""
        library = self.library
        if not library.slots:
            return []
        extra = [slot for vehicle in also if (slot := library.slots.get(vehicle)) is not None]
        slots = np.union1d(self._chosen, np.array(extra, np.int64))
        rows = [library.rows[slot] for slot in slots.tolist()]
        columns = np.array(list(chain.from_iterable(rows)), np.int64)
        ends = np.cumsum([0, *map(len, rows)])
        places = [list(range(first, stop)) for first, stop in zip(ends[:-1].tolist(), ends[1:].tolist(), strict=True)]
        around = [densities_of_photograph(each, slots) for each in self._nearest]
        score = scaled_scores(self._similarities[:, columns], library.density(columns), places, around)
        # Ties by number, as in the database.
        order = sorted(range(len(slots)), key=lambda place: (-score[place], library.vehicle_ids[slots[place]]))
        wanted = [place for number, place in enumerate(order) if number < self.limit or slots[place] in extra]
        return [self._candidate(int(slots[place]), float(score[place])) for place in wanted]

    def _candidate(self, slot: int, score: float) -> Candidate:
        rows = self.library.rows[slot]
        view = int(self.library.row_view[rows[int(np.argmax(self._similarities[:, rows].max(axis=0)))]])
        return Candidate(self.library.vehicle_ids[slot], float(self._cosine[slot]), view, score)
