"""Identification and enrolment in the service: uploads in, answers for people out."""

import hashlib
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Annotated, Any, Literal

from fastapi import Depends, File, Form, UploadFile

from app.core.sample import Box
from app.register.detect import Framed
from app.register.duplicates import Alike, offered
from app.register.errors import RegisterError
from app.register.identification import Identification
from app.register.photos import MAX_BYTES, Photo, VehiclePhoto, make_vehicle_photos, parse_box, parse_modality, take_in
from app.register.records import Also, NewOwner, nothing_else
from app.register.site_time import Zone, written_end
from app.register.tags import split_tags, tagged
from app.web.answers import (
    CandidateAnswer,
    EvidenceAnswer,
    FoundAnswer,
    IdentifyAnswer,
    ListedAnswer,
    PhotographAnswer,
    PlateTextAnswer,
    WeighedAnswer,
    decision_fields,
)
from app.web.bodies import Line
from app.web.state import State

MOST_PHOTOS = 8
Uploads = Annotated[list[UploadFile], File(description="Photographs of one vehicle.")]
Plates = Annotated[list[UploadFile], File(description="A photograph of the plate for each photograph, or none.")]
Boxes = Annotated[list[Line], Form(description="left,top,width,height in pixels for each photograph, or none.")]
PlateBoxes = Annotated[list[Line], Form(description="The same of the plate in each photograph.")]
Modality = Annotated[
    Literal["auto", "visible", "infrared"],
    Form(description="How they were taken; auto takes a photograph without colour for an infrared one."),
]
Whole = Annotated[bool, Form(description="The photographs show the vehicle alone: nothing is searched for.")]


class Uploaded:
    """The upload of a request, before anything in it is decoded."""

    def __init__(
        self,
        pictures: Uploads,
        plate_pictures: Plates = [],  # noqa: B006 - FastAPI copies it
        boxes: Boxes = [],  # noqa: B006
        plate_boxes: PlateBoxes = [],  # noqa: B006
        modality: Modality = "auto",
        whole: Whole = False,
    ) -> None:
        self._pictures, self._plate_pictures = pictures, plate_pictures
        self._boxes, self._plate_boxes = boxes, plate_boxes
        self._modality, self._whole = modality, whole

    async def digest(self, more: str) -> str:
        """A digest of all that was sent, and of some more text."""
        fields = (more, self._boxes, self._plate_boxes, self._modality, self._whole, len(self._pictures))
        held = hashlib.sha256(repr(fields).encode())
        for upload in (*self._pictures, *self._plate_pictures):
            data = await upload.read()
            await upload.seek(0)
            held.update(hashlib.sha256(data).digest())
        return held.hexdigest()

    async def vehicle_photos(self, service: State) -> list[VehiclePhoto]:
        """The photographs, with what belongs to each.

        Raises RegisterError where numbers differ or are too large, ImageRefusedError for a file that is no image."""
        photos, plates = await _photos(service, self._pictures), await _photos(service, self._plate_pictures)
        boxes, plate_boxes = ([parse_box(text) for text in texts] for texts in (self._boxes, self._plate_boxes))
        return make_vehicle_photos(photos, plates, boxes, plate_boxes, parse_modality(self._modality), self._whole)


UploadedPhotos = Annotated[Uploaded, Depends()]


async def _photos(service: State, uploads: Sequence[UploadFile]) -> list[Photo]:
    """Empty uploads, which a form sends for a field left empty, are left out."""
    given = [upload for upload in uploads if upload.filename or upload.size]
    if len(given) > MOST_PHOTOS:
        raise RegisterError(f"{len(given)} photos at once; the most is {MOST_PHOTOS}")
    found = []
    for upload in given:
        data = await upload.read(MAX_BYTES + 1)
        # Not aside: twenty photographs decoded at once would delay one another, and take a gigabyte.
        found.append(await service.with_network(take_in, data, upload.filename or "photo"))
    return found


def identify_photos(
    identification: Identification,
    vehicle_photos: Sequence[VehiclePhoto],
    account: str,
    enrol_unknown: bool,
    zone: Zone,
    also: Also = nothing_else,
) -> IdentifyAnswer:
    """An identification as a guard may see it: plate and flat of the candidates that decided, plates near to the text,
    no names, and nothing at all of vehicles that a photograph does not resemble."""
    answer = identification.identify(vehicle_photos, account=account, enrol_unknown=enrol_unknown, also=also)
    shown = answer.decision.shown()
    evidence = answer.decision.as_dict()["evidence"]
    return IdentifyAnswer(
        **decision_fields(answer.decision),
        candidates=candidate_answers(identification, [(row.vehicle, row.similarity, row.view) for row in shown]),
        evidence=evidence_answer(evidence, {row.vehicle for row in shown}),
        plate_text=PlateTextAnswer.model_validate(answer.plate.as_dict(plates=True)) if answer.plate else None,
        listed=listed_answers([each.as_dict() for each in answer.listed], zone),
        sighting=answer.sighting,
        enrolled=answer.enrolled,
        pictures=answer.images,
        photographs=[_photograph(name, framed) for name, framed in zip(answer.images, answer.framed, strict=True)],
    )


def listed_answers(kept: Sequence[Mapping[str, Any]], zone: Zone) -> list[ListedAnswer]:
    """The entries of the lists that are kept with a sighting."""
    ends = [each["ends"] and datetime.fromisoformat(each["ends"]) for each in kept]
    return [ListedAnswer(**each, until=written_end(end, zone)) for each, end in zip(kept, ends, strict=True)]


def candidate_answers(
    identification: Identification, rows: Iterable[tuple[int, float, int | None]]
) -> list[CandidateAnswer]:
    """The candidates of an answer as a guard may see them.

    Args:
        rows: vehicle, similarity and the view that is most similar.
    """
    found = []
    for vehicle, similarity, view in rows:
        glance = identification.register.seen_by_guards(vehicle)
        # A text that decided resembles no view: the first one is for comparison by eye.
        image = glance.images.get(view) if view else next(iter(glance.images.values()), None)
        about: dict[str, Any] = {"picture": image, "plate": glance.plate, "flat": glance.flat}
        tags = list(glance.tags)
        found.append(CandidateAnswer(vehicle=vehicle, similarity=round(similarity, 4), tags=tags, **about))
    return found


def evidence_answer(row: Mapping[str, Any] | None, shown: Collection[int]) -> EvidenceAnswer | None:
    """The probabilities of those vehicles that an answer shows, given its evidence as it is kept."""
    if row is None:
        return None
    weighed = [WeighedAnswer(**each) for each in row["candidates"] if each["vehicle"] in shown]
    return EvidenceAnswer(not_registered=row["not_registered"], candidates=weighed)


def _photograph(name: str, framed: Framed) -> PhotographAnswer:
    photo, detections = framed.vehicle_photo.photo, framed.detections
    found = (
        None
        if detections is None
        else [
            FoundAnswer(
                box=_numbers(row.box),
                score=round(row.score, 3),
                plate_box=row.plate and _numbers(row.plate),
                kind=row.kind,
            )
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
        kind=framed.kind,
        vehicles=found,
    )


def _numbers(box: Box) -> list[float]:
    return [round(value, 1) for value in box]


def enrol_photos(
    identification: Identification,
    vehicle_photos: Sequence[VehiclePhoto],
    account: str,
    owner_id: int | None,
    *,
    owner: str,
    flat: str,
    contact: str,
    plate: str,
    note: str,
    tags: str = "",
) -> tuple[int, list[Alike]]:
    """Enrol a vehicle; its number, and other vehicles that may be the same one. Raises RegisterError for a flat or a
    contact without an owner, and for an owner beside the number of another one."""
    named = NewOwner(owner, flat, contact) if owner or flat or contact else None
    if named and owner_id is not None:
        raise RegisterError("give the number of an owner, or name, flat and contact")
    who = named or owner_id
    number = identification.enrol(
        vehicle_photos, account=account, owner=who, plate=plate, note=note, also=tagged(split_tags(tags))
    )
    return number, offered(identification, number)
