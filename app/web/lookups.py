"""Look-ups and enrolments as the service does them: photographs in, answers for people out."""

from collections.abc import Sequence

from app.core.sample import Box
from app.register.framing import Framed
from app.register.identification import Identification
from app.register.records import NewOwner
from app.register.vehicle_photos import VehiclePhoto
from app.web.answers import CandidateAnswer, FoundAnswer, IdentifyAnswer, PhotographAnswer, PlateTextAnswer, told


def identify(
    identification: Identification, vehicle_photos: Sequence[VehiclePhoto], account: str, enrol_unknown: bool
) -> IdentifyAnswer:
    """A look-up with what a guard may see: plate and flat of the candidates that decided, plates near to what was read,
    no names, and nothing at all of vehicles that a photograph does not resemble."""
    answer = identification.identify(vehicle_photos, account=account, enrol_unknown=enrol_unknown)
    candidates = []
    for found in answer.decision.shown():
        seen = identification.register.seen_by_guards(found.vehicle)
        # A text that decided resembles no view; the first one is there to be compared by eye.
        picture = seen.pictures.get(found.view) if found.view else next(iter(seen.pictures.values()), None)
        similarity = round(found.similarity, 4)
        candidates.append(
            CandidateAnswer(
                vehicle=found.vehicle, similarity=similarity, picture=picture, plate=seen.plate, flat=seen.flat
            )
        )
    return IdentifyAnswer(
        **told(answer.decision),
        candidates=candidates,
        plate_text=PlateTextAnswer.model_validate(answer.plate.as_dict(plates=True)) if answer.plate else None,
        sighting=answer.sighting,
        enrolled=answer.enrolled,
        pictures=answer.pictures,
        photographs=[_photograph(name, framed) for name, framed in zip(answer.pictures, answer.framed, strict=True)],
    )


def _photograph(name: str, framed: Framed) -> PhotographAnswer:
    photo, detections = framed.vehicle_photo.photo, framed.detections
    found = (
        None
        if detections is None
        else [
            FoundAnswer(box=_numbers(row.box), score=round(row.score, 3), plate_box=row.plate and _numbers(row.plate))
            for row in detections.vehicles
        ]
    )
    box, plate = framed.vehicle_photo.vehicle_box, framed.vehicle_photo.plate_box
    return PhotographAnswer(
        picture=name,
        modality=framed.modality,
        width=round(photo.image.width / photo.scale, 1),
        height=round(photo.image.height / photo.scale, 1),
        box=box and _numbers(box),
        plate_box=plate and _numbers(plate),
        vehicles=found,
    )


def _numbers(box: Box) -> list[float]:
    return [round(value, 1) for value in box]


def enrol(
    identification: Identification,
    vehicle_photos: Sequence[VehiclePhoto],
    account: str,
    *,
    owner: str,
    flat: str,
    contact: str,
    plate: str,
    note: str,
) -> int:
    """Enrol a vehicle; its number. Raises RegisterError for a flat or a contact without an owner."""
    who = NewOwner(owner, flat, contact) if owner or flat or contact else None
    return identification.enrol(vehicle_photos, account=account, owner=who, plate=plate, note=note)
