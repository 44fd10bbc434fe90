"""Sample: one image of one vehicle, the common type of readers, training and evaluation."""

from collections.abc import Sequence
from dataclasses import dataclass, field
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


class Weather(NamedTuple):
    """Weather that is rendered into an image for an evaluation.

    Fields:
        kind: of `app.settings.weather`.
        root: folder of the data set, whose own name and place do not count; None if it is not known.
    """

    kind: str
    seed: int
    root: Path | None = None


@dataclass(frozen=True)
class Sample:
    """One image of a vehicle, and its labels.

    Two samples of the same `pid` and the same `camid` are never compared in an evaluation (the leave-out rule of
    VeRi-776): for a set with another rule the reader numbers `camid` so that this rule has the same effect. Nor are
    samples of different `pid` and the same `sequence`.

    Args:
        path: the image.
        pid: vehicle identity, as the set numbers it; unique within one reader.
        camid: camera, from 0.
        vehicle_box: box of the vehicle; None if the image is the vehicle.
        plate_boxes: licence plates in `path`; empty if none is known.
        plate_corners: corners of the first plate, from its own top left clockwise; None if not known.
        plate_path: an image of the plate alone, for sets that have one; None otherwise.
        plate_text: text of the plate; None if not known or not legible.
        modality: "visible" or "infrared".
        site: the car park, if the set has it.
        time: of the image, in the set's own form.
        view: "front", "side", "rear" or a value of the set.
        sequence: images taken close in time, in which another pid may still be the same vehicle; None if not known.
        enhanced: whether it is an enhanced copy of another image, for training only; it is neither counted nor
            measured.
        weather: rendered into the image when it is read; None for the image as it is.
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
    weather: Weather | None = field(default=None, repr=False)  # records of equalisation have keys of this text

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
