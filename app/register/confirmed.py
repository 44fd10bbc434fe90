"""Confirmed sightings as identifications with a known answer, for a calibration.

Their photographs are embedded again by the active network and compared with the register as it is now: the thresholds
are for that register and that network, and a sighting keeps the scores of those that were active then. Images that were
enrolled after a photograph are left out of its comparisons: a stranger may have become a resident, and the photograph
itself an enrolled image.
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from app.core.sample import Modality
from app.register.comparisons import Comparison, held_images, ids_of
from app.register.confirmations import Says
from app.register.embedder import Recogniser, sample_of
from app.register.identification import Identification
from app.register.matcher import NOBODY, compared_names, held_name, modality_of_query
from app.register.records import Vectors
from app.register.schema import Confirmation, Model, Sighting, View

_BATCH = 64
NO_VIEW = -1
"""Stands for the number of an enrolled image where the query is none."""


class Confirmed(NamedTuple):
    """Comparisons of confirmed sightings, and how many sightings they are of.

    Args:
        vehicles: residents among them.
        left_out: confirmed sightings without a known truth, without an image that can be read, or of a vehicle that was
            enrolled by the sighting or after it.
    """

    comparisons: list[Comparison]
    residents: int
    vehicles: int
    strangers: int
    left_out: int

    def counts(self) -> dict[str, int]:
        """For the report."""
        return {name: getattr(self, name) for name in ("residents", "vehicles", "strangers", "left_out")}


class _Query(NamedTuple):
    """A photograph of a confirmed sighting; a stranger has the negative number of the sighting for a vehicle."""

    key: tuple[int, int]
    vehicle: int
    time: float
    modality: Modality
    vectors: Vectors


def of_confirmed(identification: Identification, model: Model, recogniser: Recogniser) -> Confirmed:
    """The comparisons of all confirmed sightings whose vehicle is known."""
    rows = identification.confirmations.all()
    usable = [(sighting, row) for sighting, row in rows if _is_usable(sighting, row)]
    held = held_images(identification.database, model, also={row.vehicle_id for _, row in usable if row.vehicle_id})
    first = dict[int, float]()
    for images in held.values():
        for vehicle, time in zip(images.vehicles.tolist(), images.times.tolist(), strict=True):
            first[vehicle] = min(time, first.get(vehicle, time))
    there = [
        (sighting, row)
        for sighting, row in usable
        if row.vehicle_id is None or first.get(row.vehicle_id, np.inf) <= sighting.created.timestamp()
    ]
    queries = _queries(identification, recogniser, there)
    made = []
    for name, library, query, modality in compared_names(model.libraries):
        asked = [each for each in queries if each.modality == query and library in each.vectors]
        enrolled = held.get(held_name(library, modality))
        if asked and enrolled is not None:
            pids = np.array([each.vehicle for each in asked], np.int64)
            ids = ids_of(pids, np.full(len(asked), NO_VIEW, np.int64), enrolled)
            vectors: NDArray[np.float32] = np.stack([each.vectors[library] for each in asked])
            times = np.array([each.time for each in asked], np.float64), enrolled.times
            made.append(Comparison(name, vectors, enrolled.vectors, ids, [each.key for each in asked], times))
    sightings = {each.key[0]: each.vehicle for each in queries}
    residents = [vehicle for vehicle in sightings.values() if vehicle > 0]
    strangers = len(sightings) - len(residents)
    return Confirmed(made, len(residents), len(set(residents)), strangers, len(rows) - len(sightings))


def _is_usable(sighting: Sighting, row: Confirmation) -> bool:
    enrolled = sighting.decision in NOBODY and sighting.vehicle_id is not None
    return row.truth in (Says.vehicle, Says.none) and not enrolled and bool(_views(sighting))


def _views(sighting: Sighting) -> list[dict[str, Any]]:
    """The photographs with their boxes; none of a sighting from before they were kept."""
    views: list[dict[str, Any]] = sighting.answer.get("views") or []
    return views


def _queries(
    identification: Identification, recogniser: Recogniser, rows: list[tuple[Sighting, Confirmation]]
) -> list[_Query]:
    """Every photograph is a query of its own, as in the other calibrations."""
    asked = [
        (sighting, row, place, View(**each)) for sighting, row in rows for place, each in enumerate(_views(sighting))
    ]
    found = []
    for start in range(0, len(asked), _BATCH):
        batch = asked[start : start + _BATCH]
        embedded = recogniser.embed_files([sample_of(identification.photos, view) for *_, view in batch])
        for (sighting, row, place, _), vectors in zip(batch, embedded, strict=True):
            if vectors is not None:
                modality = modality_of_query(each["modality"] for each in _views(sighting))
                vehicle = row.vehicle_id or -sighting.id
                time = sighting.created.timestamp()
                found.append(_Query((sighting.id, place), vehicle, time, modality, vectors))
    return found
