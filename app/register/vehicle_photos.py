"""Photographs of a vehicle as users give them, with what belongs to each."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from app.core.sample import Box, Modality
from app.register.errors import BoxError, RegisterError
from app.register.photos import Photo, as_stored


@dataclass(frozen=True)
class VehiclePhoto:
    """One photograph of one vehicle, as a user gives it.

    Args:
        vehicle_box: in pixels of `photo`; None if it shows the vehicle alone.
        plate: a photograph of the plate alone; None if there is none.
        plate_box: where the plate is in `photo`; None if it is not known.
        modality: None lets it be seen from the image.
        whole: the photograph shows the vehicle alone, however it looks; nothing is searched for.
    """

    photo: Photo
    vehicle_box: Box | None = None
    plate: Photo | None = None
    plate_box: Box | None = None
    modality: Modality | None = "visible"
    whole: bool = False

    def as_stored(self) -> "VehiclePhoto":
        """The same with the pixels that are kept."""
        return replace(self, photo=as_stored(self.photo), plate=self.plate and as_stored(self.plate))


def parse_box(text: str) -> Box | None:
    """A box from "left,top,width,height"; None from "". Raises BoxError for another text."""
    if not text:
        return None
    try:
        left, top, width, height = (float(word) for word in text.split(","))
    except ValueError as error:
        raise BoxError(f"not left,top,width,height: {text[:80]!r}") from error
    return Box(left, top, width, height)


def parse_modality(text: str) -> Modality | None:
    """ "visible", "infrared", or None from "auto". Raises RegisterError for another text."""
    known: dict[str, Modality | None] = {"auto": None, "visible": "visible", "infrared": "infrared"}
    if text not in known:
        raise RegisterError(f"modality must be one of {', '.join(known)}; got {text[:80]!r}")
    return known[text]


def make_vehicle_photos(
    photos: Sequence[Photo],
    plates: Sequence[Photo],
    boxes: Sequence[Box | None],
    plate_boxes: Sequence[Box | None],
    modality: Modality | None = None,
    whole: bool = False,
) -> list[VehiclePhoto]:
    """Photographs with what belongs to each, in their order; what is not given at all is empty. Boxes are cut to their
    photographs before anything is made of them.

    Raises RegisterError where numbers differ, or without a photograph, BoxError as `Photo.inside` does."""
    if not photos:
        raise RegisterError("there is no picture")
    for name, given in (("plate pictures", plates), ("boxes", boxes), ("plate boxes", plate_boxes)):
        if given and len(given) != len(photos):
            raise RegisterError(f"{len(given)} {name} for {len(photos)} pictures")
    return [
        VehiclePhoto(
            photo,
            vehicle_box=photo.inside(boxes[number]) if boxes else None,
            plate=plates[number] if plates else None,
            plate_box=photo.inside(plate_boxes[number]) if plate_boxes else None,
            modality=modality,
            whole=whole,
        )
        for number, photo in enumerate(photos)
    ]
