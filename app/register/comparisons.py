"""Images of known vehicles that are compared with one another: of a labelled set, or of the register itself."""

from collections.abc import Collection, Hashable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import select

from app.data.readers.reader import Direction
from app.evaluation.ids import NO_SEQUENCE, PairIds, pair_ids
from app.register.database import Database
from app.register.matcher import compared_names, held_name
from app.register.schema import Embedding, Model, Vehicle, View
from app.tasks.image_files import Embeddings

Floats = NDArray[np.float32]
MOST_VEHICLES = 3000
"""Vehicles of a register that calibrate it: every image of theirs is compared with every other."""
_CHUNK = 500  # numbers in one query


class Comparison(NamedTuple):
    """Images of one kind that are compared with images of one kind.

    Args:
        name: see `app.register.matcher.compared_name`.
        queries, gallery: (Q, D) and (G, D), L2-normalised.
        keys: (Q,), what the queries are of; a query of one photograph has one key in all comparisons.
        times: (Q,) and (G,), when photographs and images came, in seconds: a photograph is compared with the images
            that were there before it, and one without a true match is a stranger's. None compares all.
    """

    name: str
    queries: Floats
    gallery: Floats
    ids: PairIds
    keys: Sequence[Hashable]
    times: tuple[NDArray[np.float64], NDArray[np.float64]] | None = None

    def similarities(self, block: slice) -> Floats:
        """Cosines of a block of queries to the gallery, (B, G), -inf where they must not be compared."""
        found = self.queries[block] @ self.gallery.T
        if self.times is not None:
            asked, enrolled = self.times
            found[enrolled[None, :] > asked[block, None]] = -np.inf
        return found


class Held(NamedTuple):
    """Images of a register under one name of a library: vehicle, number and time of each, and their vectors (N, D)."""

    vehicles: NDArray[np.int64]
    views: NDArray[np.int64]
    times: NDArray[np.float64]
    vectors: Floats


def of_directions(found: Embeddings, directions: Sequence[Direction], libraries: Sequence[str]) -> list[Comparison]:
    """The comparisons of a labelled set, of those images that have something for the library."""
    made = []
    for name, library, query, held in compared_names(libraries):
        vectors = found.libraries[library]
        rows = {sample: row for row, sample in enumerate(found.samples) if vectors[row].any()}
        for direction in directions:
            queries = [s for s in direction.query if s in rows and s.modality == query]
            gallery = [s for s in direction.gallery if s in rows and s.modality == held]
            if queries and gallery:
                chosen = [vectors[[rows[s] for s in samples]] for samples in (queries, gallery)]
                keys = [(direction.name, sample) for sample in queries]
                made.append(Comparison(name, chosen[0], chosen[1], pair_ids(queries, gallery), keys))
    return made


def held_images(database: Database, model: Model, seed: int = 0, also: Collection[int] = ()) -> dict[str, Held]:
    """The images of a register by `held_name`.

    Of more than `MOST_VEHICLES` vehicles, so many take part, chosen by the seed, and those of `also`."""
    rows: dict[str, tuple[list[int], list[int], list[float], list[Floats]]] = {}
    with database.reading() as session:
        vehicles = np.array(session.scalars(select(Vehicle.id).order_by(Vehicle.id)).all(), np.int64)
        if len(vehicles) > MOST_VEHICLES:
            chosen = np.random.default_rng(seed).permutation(vehicles)[:MOST_VEHICLES]
            vehicles = np.union1d(chosen, np.intersect1d(vehicles, np.array(list(also), np.int64)))
        query = select(Embedding.library, View.vehicle_id, View.id, View.created, Embedding.vector).join(View)
        for start in range(0, len(vehicles), _CHUNK):
            those = vehicles[start : start + _CHUNK].tolist()
            found = session.execute(query.where(Embedding.model_id == model.id, View.vehicle_id.in_(those)))
            for held, vehicle, view, created, vector in found:
                columns = rows.setdefault(held, ([], [], [], []))
                for column, value in zip(columns, (vehicle, view, created.timestamp(), vector), strict=True):
                    column.append(value)  # type: ignore[attr-defined]
    return {
        name: Held(np.array(pids, np.int64), np.array(views, np.int64), np.array(times, np.float64), np.stack(vectors))
        for name, (pids, views, times, vectors) in rows.items()
    }


def of_register(database: Database, model: Model, seed: int = 0) -> list[Comparison]:
    """The comparisons of the register's own images: each image of a vehicle is a query among all others."""
    rows = held_images(database, model, seed)
    made = []
    for name, library, query_modality, held_modality in compared_names(model.libraries):
        names = [held_name(library, modality) for modality in (query_modality, held_modality)]
        if all(each in rows for each in names):
            queries, gallery = (rows[each] for each in names)
            ids = ids_of(queries.vehicles, queries.views, gallery)  # an image is not compared with itself
            made.append(Comparison(name, queries.vectors, gallery.vectors, ids, queries.views.tolist()))
    return made


def ids_of(pids: NDArray[np.int64], views: NDArray[np.int64], gallery: Held) -> PairIds:
    """The numbers of queries, by vehicle and image, and of enrolled images."""
    return {
        "q_pids": pids,
        "q_camids": views,
        "q_sequences": np.full(len(pids), NO_SEQUENCE, np.int64),
        "g_pids": gallery.vehicles,
        "g_camids": gallery.views,
        "g_sequences": np.full(len(gallery.views), NO_SEQUENCE, np.int64),
    }
