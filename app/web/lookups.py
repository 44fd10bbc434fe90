"""Look-ups and enrolments as the service does them: uploads in, answers for people out."""

from collections.abc import Sequence

from fastapi import UploadFile

from app.data.sample import Box
from app.registry.desk import Desk, Shot
from app.registry.errors import NotEnrolledError, PictureRefusedError
from app.registry.photos import MAX_BYTES, Photo, take_in
from app.registry.register import NewOwner
from app.web.answers import CandidateAnswer, IdentifyAnswer, told

MOST_PICTURES = 8


async def photos_of(uploads: Sequence[UploadFile]) -> list[Photo]:
    """Decode uploads; empty ones, which a form sends for a field left empty, are left out.

    Raises PictureRefusedError for too many, too large, or no pictures."""
    given = [upload for upload in uploads if upload.filename or upload.size]
    if len(given) > MOST_PICTURES:
        raise PictureRefusedError(f"{len(given)} pictures at once; the most is {MOST_PICTURES}")
    found = []
    for upload in given:
        data = await upload.read(MAX_BYTES + 1)
        found.append(take_in(data, upload.filename or "picture"))
    return found


def shots_of(photos: Sequence[Photo], plates: Sequence[Photo], boxes: Sequence[str], infrared: bool) -> list[Shot]:
    """Photographs with what belongs to each. Raises PictureRefusedError where numbers differ."""
    if not photos:
        raise PictureRefusedError("there is no picture")
    for name, given in (("plate pictures", plates), ("boxes", boxes)):
        if given and len(given) != len(photos):
            raise PictureRefusedError(f"{len(given)} {name} for {len(photos)} pictures")
    return [
        Shot(
            photo,
            vehicle_box=_box(boxes[number]) if boxes else None,
            plate=plates[number] if plates else None,
            modality="infrared" if infrared else "visible",
        )
        for number, photo in enumerate(photos)
    ]


def identify(desk: Desk, shots: Sequence[Shot], account: str, enrol_unknown: bool) -> IdentifyAnswer:
    """A look-up with what a guard may see: plate and flat, no names."""
    answer = desk.identify(shots, account=account, enrol_unknown=enrol_unknown)
    numbers = {found.vehicle for part in answer.decision.candidates.values() for found in part}
    seen = {number: desk.register.seen_by_guards(number) for number in numbers}
    candidates = {
        library: [
            CandidateAnswer(
                vehicle=found.vehicle,
                similarity=round(found.similarity, 4),
                picture=seen[found.vehicle].pictures.get(found.view or 0),
                plate=seen[found.vehicle].plate,
                flat=seen[found.vehicle].flat,
            )
            for found in part
        ]
        for library, part in answer.decision.candidates.items()
    }
    return IdentifyAnswer(
        **told(answer.decision),
        candidates=candidates,
        sighting=answer.sighting,
        enrolled=answer.enrolled,
        pictures=answer.pictures,
    )


def enrol(
    desk: Desk, shots: Sequence[Shot], account: str, *, owner: str, flat: str, contact: str, plate: str, note: str
) -> int:
    """Enrol a vehicle; its number. Raises NotEnrolledError for a flat or a contact without an owner."""
    if (flat or contact) and not owner:
        raise NotEnrolledError("a flat or a contact needs an owner")
    who = NewOwner(owner, flat, contact) if owner else None
    return desk.enrol(shots, account=account, owner=who, plate=plate, note=note)


def _box(text: str) -> Box | None:
    if not text:
        return None
    try:
        left, top, width, height = (float(word) for word in text.split(","))
    except ValueError as error:
        raise PictureRefusedError(f"not left,top,width,height: {text[:80]!r}") from error
    return Box(left, top, width, height)
