"""Records that a register takes and returns, beside the rows of its tables."""

from dataclasses import dataclass

from app.core.sample import Box, Modality
from app.register.rows import Vectors


@dataclass(frozen=True)
class NewView:
    """An image to be enrolled.

    Args:
        image: its name in the register's folder of images.
        vectors: (D,) by library, those that the image has something for.
        vehicle_box: where the vehicle is; None if the image is the vehicle.
        plate_picture: name of an image of the plate alone.
        plate_box: where the plate is in `picture`.
    """

    picture: str
    vectors: Vectors
    vehicle_box: Box | None = None
    plate_picture: str | None = None
    plate_box: Box | None = None
    modality: Modality = "visible"


@dataclass(frozen=True)
class NewOwner:
    """Somebody to be enrolled with a vehicle."""

    name: str
    flat: str = ""
    contact: str = ""


@dataclass(frozen=True)
class Glance:
    """What a guard sees of a vehicle: no name.

    Args:
        images: names by number of the view.
    """

    plate: str | None
    flat: str | None
    pictures: dict[int, str]


@dataclass(frozen=True)
class Forgotten:
    """What `forget` deleted.

    Args:
        overwritten: whether the rows are gone from the database's files as well; see `Database.forget_traces`.
    """

    owners: int
    vehicles: list[int]
    views: int
    sightings: int
    incidents: int
    overwritten: bool = False
