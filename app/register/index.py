"""Search for the vehicles of a register that are nearest to the photographs of a query.

SQLite here knows no vectors, so that they are held in memory and searched exactly; in PostgreSQL, pgvector does it.
Both answer alike: the similarity of a vehicle to one photograph is that of its best view, and to several photographs
the mean over them.
"""

from collections.abc import Iterator
from itertools import groupby
from operator import itemgetter
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import LargeBinary, bindparam, func, select, text, type_coerce
from sqlalchemy.orm import Session

from app.register.database import Database
from app.register.matcher import Candidate
from app.register.schema import Change, Embedding, View

Floats = NDArray[np.float32]
_BLOCK_ROWS = 16384
_CHUNK_ROWS = 4096


class Index(Protocol):
    """The embeddings of one model."""

    def prepare(self) -> None:
        """Read the embeddings, so that the first search need not wait for it."""

    def search(self, library: str, photographs: Floats, limit: int) -> list[Candidate]:
        """The `limit` most similar vehicles, best first.

        Args:
            photographs: (Q, D) of one vehicle, L2-normalised.
        """


def make_index(database: Database, model_id: int) -> Index:
    """The index that suits a database."""
    return MemoryIndex(database, model_id) if database.is_sqlite else PgVectorIndex(database, model_id)


class MemoryIndex:
    """Holds all vectors of a model in float32, 4 bytes a value, and follows the register's changes before each search.

    Reading 300,000 vectors takes seconds; it is done at the first search, or by `prepare`."""

    def __init__(self, database: Database, model_id: int) -> None:
        self.database = database
        self.model_id = model_id
        self.libraries: dict[str, _Library] = {}
        self._seen = -1

    def search(self, library: str, photographs: Floats, limit: int) -> list[Candidate]:
        self.prepare()
        held = self.libraries.get(library)
        return held.search(np.atleast_2d(photographs), limit) if held else []

    def prepare(self) -> None:
        """Read what changed since the last time."""
        with self.database.reading() as session:
            last = session.scalar(select(func.max(Change.id))) or 0
            if last == self._seen:
                return
            if self._seen < 0:
                self._read(session, None)
            else:
                changed = set(session.scalars(select(Change.vehicle_id).where(Change.id > self._seen)))
                for library in self.libraries.values():
                    library.drop(changed)
                self._read(session, sorted(changed))
            self._seen = last

    def _read(self, session: Session, vehicles: list[int] | None) -> None:
        for library, vehicle_ids, view_ids, vectors in _chunks(session, self.model_id, vehicles):
            if library not in self.libraries:
                self.libraries[library] = _Library(vectors.shape[1])
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


class _Library:
    """Rows of vectors in blocks, so that growing copies nothing; a row that goes is filled with the last one."""

    def __init__(self, dim: int) -> None:
        self.dim = dim
        self.size = 0
        self.blocks: list[Floats] = []
        self.vehicle_ids: list[int] = []  # by slot
        self.slots: dict[int, int] = {}
        self.rows: list[list[int]] = []  # of a vehicle, by slot
        self.row_slot = np.empty(0, np.int32)
        self.row_view = np.empty(0, np.int64)

    def extend(self, vehicles: list[int], views: list[int], vectors: Floats) -> None:
        """Add rows (N, D). Raises ValueError for vectors of another length."""
        if vectors.shape[1] != self.dim:
            raise ValueError(f"view {views[0]} has {vectors.shape[1]} values, the library {self.dim}")
        while self.size + len(vectors) > len(self.row_slot):
            self.blocks.append(np.empty((_BLOCK_ROWS, self.dim), np.float32))
            self.row_slot = np.concatenate([self.row_slot, np.zeros(_BLOCK_ROWS, np.int32)])
            self.row_view = np.concatenate([self.row_view, np.zeros(_BLOCK_ROWS, np.int64)])
        first, stop = self.size, self.size + len(vectors)
        for row, vehicle in enumerate(vehicles, start=first):
            slot = self.slots.setdefault(vehicle, len(self.vehicle_ids))
            if slot == len(self.vehicle_ids):
                self.vehicle_ids.append(vehicle)
                self.rows.append([])
            self.rows[slot].append(row)
            self.row_slot[row] = slot
        self.row_view[first:stop] = views
        row = first
        while row < stop:
            block, place = divmod(row, _BLOCK_ROWS)
            count = min(stop - row, _BLOCK_ROWS - place)
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

    def _drop_row(self, row: int) -> None:
        last = self.size - 1
        if row != last:
            self.blocks[row // _BLOCK_ROWS][row % _BLOCK_ROWS] = self.blocks[last // _BLOCK_ROWS][last % _BLOCK_ROWS]
            self.row_slot[row], self.row_view[row] = self.row_slot[last], self.row_view[last]
            moved = self.rows[int(self.row_slot[last])]
            moved[moved.index(last)] = row
        self.size = last

    def search(self, photographs: Floats, limit: int) -> list[Candidate]:
        if photographs.shape[1] != self.dim:
            raise ValueError(f"photographs of {photographs.shape[1]} values, the library has {self.dim}")
        similarities = np.empty((len(photographs), self.size), np.float32)
        for number, block in enumerate(self.blocks):
            start = number * _BLOCK_ROWS
            stop = min(start + _BLOCK_ROWS, self.size)
            if start < stop:
                np.matmul(photographs, block[: stop - start].T, out=similarities[:, start:stop])
        best = np.full((len(photographs), len(self.vehicle_ids)), -np.inf, np.float32)
        for row, found in zip(best, similarities, strict=True):
            np.maximum.at(row, self.row_slot[: self.size], found)
        score = best.mean(axis=0)
        count = min(limit, len(self.slots))
        nearest = np.argpartition(-score, count - 1)[:count] if count else np.empty(0, np.int64)
        # Ties by number, as in the database.
        order = sorted(nearest.tolist(), key=lambda slot: (-score[slot], self.vehicle_ids[slot]))
        return [
            Candidate(self.vehicle_ids[slot], float(score[slot]), self._best_view(slot, similarities)) for slot in order
        ]

    def _best_view(self, slot: int, similarities: Floats) -> int:
        rows = self.rows[slot]
        return int(self.row_view[rows[int(np.argmax(similarities[:, rows].max(axis=0)))]])


_SEARCH = text("""
    WITH photograph AS MATERIALIZED (
        SELECT number, CAST(vector AS vector) AS vector
        FROM unnest(CAST(:numbers AS int[]), CAST(:vectors AS text[])) AS p (number, vector)
    ), best AS (
        SELECT view.vehicle_id, photograph.number,
               max(-(embedding.vector <#> photograph.vector)) AS similarity
        FROM embedding JOIN view ON view.id = embedding.view_id CROSS JOIN photograph
        WHERE embedding.model_id = :model_id AND embedding.library = :library
        GROUP BY view.vehicle_id, photograph.number
    )
    SELECT vehicle_id, avg(similarity) AS similarity FROM best
    GROUP BY vehicle_id ORDER BY similarity DESC, vehicle_id LIMIT :limit
""").bindparams(bindparam("numbers"), bindparam("vectors"))

_BEST_VIEW = text("""
    WITH p AS MATERIALIZED (SELECT CAST(vector AS vector) AS vector FROM unnest(CAST(:vectors AS text[])) AS u (vector))
    SELECT DISTINCT ON (view.vehicle_id) view.vehicle_id, view.id
    FROM embedding JOIN view ON view.id = embedding.view_id
    CROSS JOIN p
    WHERE embedding.model_id = :model_id AND embedding.library = :library AND view.vehicle_id = ANY(:vehicles)
    ORDER BY view.vehicle_id, embedding.vector <#> p.vector, view.id
""")


class PgVectorIndex:
    """Searches in PostgreSQL, exactly: no vector leaves the database."""

    def __init__(self, database: Database, model_id: int) -> None:
        self.database = database
        self.model_id = model_id

    def prepare(self) -> None:
        pass

    def search(self, library: str, photographs: Floats, limit: int) -> list[Candidate]:
        vectors = ["[" + ",".join(map(repr, row)) + "]" for row in np.atleast_2d(photographs).tolist()]
        given = {"model_id": self.model_id, "library": library, "vectors": vectors}
        with self.database.reading() as session:
            numbers = list(range(len(vectors)))
            found = session.execute(_SEARCH, {**given, "numbers": numbers, "limit": limit}).all()
            vehicles = [row.vehicle_id for row in found]
            best = session.execute(_BEST_VIEW, {**given, "vehicles": vehicles})
            views: dict[int, int] = {row.vehicle_id: row.id for row in best}
        return [Candidate(row.vehicle_id, float(row.similarity), views[row.vehicle_id]) for row in found]
