"""Look-ups and enrolments as the service does them: uploads in, answers for people out."""

from collections.abc import Sequence

from fastapi import UploadFile

from app.registry.desk import Desk, Shot, make_shots, parse_box
from app.registry.errors import RegisterError
from app.registry.photos import MAX_BYTES, Photo, take_in
from app.registry.register import NewOwner
from app.web.answers import CandidateAnswer, IdentifyAnswer, told
from app.web.state import State

MOST_PICTURES = 8


async def shots_of(
    service: State,
    pictures: Sequence[UploadFile],
    plate_pictures: Sequence[UploadFile],
    boxes: Sequence[str],
    infrared: bool,
) -> list[Shot]:
    """Uploads as photographs, with what belongs to each.

    Raises RegisterError where numbers differ or are too large, PictureRefusedError for what is no picture."""
    photos, plates = await _photos(service, pictures), await _photos(service, plate_pictures)
    given = [parse_box(text) for text in boxes]
    return make_shots(photos, plates, given, [], infrared)


async def _photos(service: State, uploads: Sequence[UploadFile]) -> list[Photo]:
    """Empty uploads, which a form sends for a field left empty, are left out."""
    given = [upload for upload in uploads if upload.filename or upload.size]
    if len(given) > MOST_PICTURES:
        raise RegisterError(f"{len(given)} pictures at once; the most is {MOST_PICTURES}")
    found = []
    for upload in given:
        data = await upload.read(MAX_BYTES + 1)
        # Not aside: twenty photographs decoded at once would delay one another, and take a gigabyte.
        found.append(await service.with_network(take_in, data, upload.filename or "picture"))
    return found


def identify(desk: Desk, shots: Sequence[Shot], account: str, enrol_unknown: bool) -> IdentifyAnswer:
    """A look-up with what a guard may see: plate and flat of the candidates that decided, no names, and nothing at all
    of vehicles that a photograph does not resemble."""
    answer = desk.identify(shots, account=account, enrol_unknown=enrol_unknown)
    candidates = []
    for found in answer.decision.shown():
        seen = desk.register.seen_by_guards(found.vehicle)
        picture = seen.pictures.get(found.view or 0)
        similarity = round(found.similarity, 4)
        candidates.append(
            CandidateAnswer(
                vehicle=found.vehicle, similarity=similarity, picture=picture, plate=seen.plate, flat=seen.flat
            )
        )
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
    """Enrol a vehicle; its number. Raises RegisterError for a flat or a contact without an owner."""
    who = NewOwner(owner, flat, contact) if owner or flat or contact else None
    return desk.enrol(shots, account=account, owner=who, plate=plate, note=note)
