"""Vehicles of a register that may be one: of a plate that is nearly the same, or that look the same."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from sqlalchemy import select

from app.core.sample import Modality
from app.register.errors import RegisterError
from app.register.evidence import is_plate
from app.register.identification import Identification
from app.register.matcher import MODALITIES, held_name
from app.register.records import Vectors, get
from app.register.schema import Embedding, Model, Vehicle, View
from models.alphabet import plain

_MOST = 5


@dataclass(frozen=True)
class Alike:
    """A vehicle that may be the same one.

    Args:
        plate: as it was enrolled.
        cost: of its plate, see `app.register.plate_search.cost`; None if it is not near.
        similarity: in `library`, where it reaches the calibrated threshold; None if it does not.
    """

    vehicle: int
    plate: str | None
    cost: float | None
    library: str | None
    similarity: float | None

    def as_dict(self) -> dict[str, Any]:
        """For JSON; the similarity with four digits."""
        similarity = self.similarity and round(self.similarity, 4)
        return {"vehicle": self.vehicle, "plate": self.plate, "cost": self.cost, "similarity": similarity}


def vehicles_like(identification: Identification, vehicle_id: int) -> list[Alike]:
    """Other vehicles that may be this one, the likeliest first: those of the nearest plates, then by similarity.

    Before the register is calibrated, by plates alone. Raises NotEnrolledError."""
    with identification.database.reading() as session:
        vehicle = get(session, Vehicle, vehicle_id)
        text = vehicle.plate.text if vehicle.plate else ""
    near = identification.plates.find(plain(text)) if text else []
    costs = {each.vehicle: each.cost for each in near if each.vehicle != vehicle_id}
    looks = _by_look(identification, vehicle_id)
    numbers = sorted({*costs, *looks}, key=lambda each: (costs.get(each, 9.0), -looks.get(each, ("", 0.0))[1], each))
    found = []
    for number in numbers[:_MOST]:
        library, similarity = looks.get(number, (None, None))
        plate = identification.register.seen_by_guards(number).plate
        found.append(Alike(number, plate, costs.get(number), library, similarity))
    return found


def offered(identification: Identification, vehicle_id: int) -> list[Alike]:
    """`vehicles_like` of a vehicle that was enrolled a moment ago; none where the register cannot be asked by now."""
    try:
        return vehicles_like(identification, vehicle_id)
    except RegisterError:
        return []


def _by_look(identification: Identification, vehicle_id: int) -> dict[int, tuple[str, float]]:
    """Library and similarity of the vehicles whose similarity reaches a calibrated threshold."""
    model = identification.models.active()
    if model is None:
        return {}
    calibrated = set(model.thresholds)
    thresholds = identification.models.identification_thresholds(model)
    found: dict[int, tuple[str, float]] = {}
    for modality in MODALITIES:
        if not (views := _vectors(identification, model, vehicle_id, modality)):
            continue
        nearest = identification.candidates_of(model, views, modality, _MOST + 1)
        for name, candidates in nearest.items():
            if is_plate(name) or not {name, name.partition("-")[0]} & calibrated:
                continue
            for each in candidates:
                if each.vehicle != vehicle_id and each.similarity >= thresholds[name].match:
                    before = found.get(each.vehicle, ("", -1.0))
                    found[each.vehicle] = max(before, (name, each.similarity), key=lambda pair: pair[1])
    return found


def _vectors(identification: Identification, model: Model, vehicle_id: int, modality: Modality) -> list[Vectors]:
    """Embeddings of the images of a vehicle that are of one modality, by library."""
    names = {held_name(library, modality): library for library in model.libraries}
    query = select(View.id, Embedding.library, Embedding.vector).join(Embedding, Embedding.view_id == View.id)
    query = query.where(View.vehicle_id == vehicle_id, View.modality == modality, Embedding.model_id == model.id)
    views: dict[int, dict[str, Any]] = {}
    with identification.database.reading() as session:
        rows: Iterable[Any] = session.execute(query.order_by(View.id))
        for view, library, vector in rows:
            if library in names:
                views.setdefault(view, {})[names[library]] = vector
    return list(views.values())
