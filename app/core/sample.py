"""Sample: one image of one vehicle, as every reader returns it and everything downstream understands it."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

Modality = Literal["visible", "infrared"]


class Box(NamedTuple):
    """An upright rectangle in pixels; (left, top) is the corner nearest the image's origin."""

    left: float
    top: float
    width: float
    height: float


class Point(NamedTuple):
    """A place in an image, in pixels from its top left corner."""

    x: float
    y: float


Corners = tuple[Point, Point, Point, Point]


@dataclass(frozen=True)
class Sample:
    """One image of a vehicle, and what is known about it.

    Two samples of the same `pid` and the same `camid` are never compared in an evaluation (the leave-out rule of
    VeRi-776): a reader whose set has another rule numbers `camid` so that this one rule says the same. Nor are samples
    of different `pid` and the same `sequence`.

    Args:
        path: the image.
        pid: vehicle identity, as the set numbers it; unique within what one reader returns.
        camid: camera, from 0.
        vehicle_box: where the vehicle is; None if the image is the vehicle.
        plate_boxes: licence plates in `path`; empty if none is known.
        plate_corners: corners of the first plate, from its own top left clockwise; None if not known.
        plate_path: an image of the plate alone, for sets that have one; None otherwise.
        plate_text: what the plate says; None if not known or not legible.
        modality: "visible" or "infrared".
        site: the car park, where the set knows it.
        time: when the image was taken, as the set writes it.
        view: "front", "side", "rear" or what the set says.
        sequence: images taken close in time, in which another pid may still be the same vehicle; None if not known.
        enhanced: whether it was made from another image, to learn from; such a one is neither counted nor measured.
    """

    path: Path
    pid: int
    camid: int
    vehicle_box: Box | None = None
    plate_boxes: tuple[Box, ...] = ()
    plate_corners: Corners | None = None
    plate_path: Path | None = None
    plate_text: str | None = None
    modality: Modality = "visible"
    site: str | None = None
    time: str | None = None
    view: str | None = None
    sequence: str | None = None
    enhanced: bool = False

    @property
    def has_plate(self) -> bool:
        """Whether an image of the plate can be cut or read."""
        return self.plate_path is not None or bool(self.plate_boxes)


def first_names(samples: Sequence[Sample], count: int = 3) -> str:
    """The first few of some images by path, for messages."""
    return f"{', '.join(str(sample.path) for sample in samples[:count])}{', ...' if len(samples) > count else ''}"


def comparable(query: Sample, other: Sample) -> bool:
    """Whether an evaluation compares the two; see `Sample`."""
    if query.pid == other.pid:
        return query.camid != other.camid
    return query.sequence is None or query.sequence != other.sequence
