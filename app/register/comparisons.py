"""Images of known vehicles that are compared with one another: of a labelled set, or of the register itself."""

from collections.abc import Hashable, Sequence
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
    """

    name: str
    queries: Floats
    gallery: Floats
    ids: PairIds
    keys: Sequence[Hashable]


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


def of_register(database: Database, model: Model, seed: int = 0) -> list[Comparison]:
    """The comparisons of the register's own images: each image of a vehicle is a query among all others.

    Of more than `MOST_VEHICLES` vehicles, so many take part, chosen by the seed."""
    rows: dict[str, tuple[list[int], list[int], list[Floats]]] = {}
    with database.reading() as session:
        vehicles = np.array(session.scalars(select(Vehicle.id).order_by(Vehicle.id)).all(), np.int64)
        if len(vehicles) > MOST_VEHICLES:
            vehicles = np.sort(np.random.default_rng(seed).permutation(vehicles)[:MOST_VEHICLES])
        query = select(Embedding.library, View.vehicle_id, View.id, Embedding.vector).join(View)
        for start in range(0, len(vehicles), _CHUNK):
            those = vehicles[start : start + _CHUNK].tolist()
            found = session.execute(query.where(Embedding.model_id == model.id, View.vehicle_id.in_(those)))
            for held, vehicle, view, vector in found:
                pids, views, vectors = rows.setdefault(held, ([], [], []))
                pids.append(vehicle)
                views.append(view)
                vectors.append(vector)
    made = []
    for name, library, query_modality, held_modality in compared_names(model.libraries):
        names = [held_name(library, modality) for modality in (query_modality, held_modality)]
        if all(each in rows for each in names):
            (q_pids, q_views, queries), (g_pids, g_views, gallery) = (rows[each] for each in names)
            ids: PairIds = {
                "q_pids": np.array(q_pids, np.int64),
                "q_camids": np.array(q_views, np.int64),  # an image is not compared with itself
                "q_sequences": np.full(len(q_pids), NO_SEQUENCE, np.int64),
                "g_pids": np.array(g_pids, np.int64),
                "g_camids": np.array(g_views, np.int64),
                "g_sequences": np.full(len(g_pids), NO_SEQUENCE, np.int64),
            }
            made.append(Comparison(name, np.stack(queries), np.stack(gallery), ids, q_views))
    return made
