"""Photographs of a request: the form fields that every upload has, and the photographs that they hold."""

from collections.abc import Sequence
from typing import Annotated, Literal

from fastapi import Depends, File, Form, UploadFile

from app.register.errors import RegisterError
from app.register.photos import MAX_BYTES, Photo, take_in
from app.register.vehicle_photos import VehiclePhoto, make_vehicle_photos, parse_box, parse_modality
from app.web.answers import Line
from app.web.state import State

MOST_PICTURES = 8
Uploads = Annotated[list[UploadFile], File(description="Photographs of one vehicle.")]
Plates = Annotated[list[UploadFile], File(description="A picture of the plate for each photograph, or none.")]
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

    async def vehicle_photos(self, service: State) -> list[VehiclePhoto]:
        """The photographs, with what belongs to each.

        Raises RegisterError where numbers differ or are too large, PictureRefusedError for what is no picture."""
        photos, plates = await _photos(service, self._pictures), await _photos(service, self._plate_pictures)
        boxes, plate_boxes = ([parse_box(text) for text in texts] for texts in (self._boxes, self._plate_boxes))
        return make_vehicle_photos(photos, plates, boxes, plate_boxes, parse_modality(self._modality), self._whole)


UploadedPhotos = Annotated[Uploaded, Depends()]


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
