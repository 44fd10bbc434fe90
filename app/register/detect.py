"""Vehicles and plates in whole photographs, as a register uses a detector."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from app.core.sample import Box
from app.detection.average_precision import iou_matrix
from app.detection.detector_file import read_detector
from app.register.photos import Photo
from models.detector import VEHICLE
from models.errors import MissingFileError

DETECTOR, VEHICLES = "detector.safetensors", "vehicles.safetensors"
_FILLS = 0.7  # share of the image from which its largest vehicle is the image
_SAME = 0.5  # intersection over union from which a box by hand is the vehicle that was found
_LEAST = 4.0  # pixels of the shorter side: what is smaller cannot be compared
_AROUND = 0.05  # of a vehicle's box, by which a plate's centre may lie outside


@dataclass(frozen=True)
class Found:
    """A vehicle in a photograph; boxes in pixels of the file it came from.

    Args:
        plate: where its plate is; None if none was found.
    """

    box: Box
    score: float
    plate: Box | None


@dataclass(frozen=True)
class Detections:
    """Vehicles and plates that a detector found in a photograph.

    Args:
        vehicles: largest first.
        plates: those that belong to none of them, best first.
        fills: whether the largest vehicle is as good as the whole image.
    """

    vehicles: tuple[Found, ...]
    plates: tuple[Box, ...]
    fills: bool

    def plate_of(self, box: Box | None) -> Box | None:
        """The plate of the vehicle in `box`; for None, of the one that fills the image, or of no vehicle at all.

        A plate that belongs to another vehicle is never given away: it would find that one's owner."""
        if box is None and (self.fills or not self.vehicles):
            own = self.vehicles[0].plate if self.vehicles else None
            return own or next(iter(self.plates), None)
        if box is None:
            return None
        overlaps = [_overlap(box, found.box) for found in self.vehicles]
        if overlaps and max(overlaps) >= _SAME:
            return self.vehicles[overlaps.index(max(overlaps))].plate
        return next((plate for plate in self.plates if _holds(box, plate)), None)


class Finder:
    """A detector of vehicles and plates, and optionally another one for vehicles, whose boxes then count.

    Args:
        folder: holds `DETECTOR` or `VEHICLES`, or both.

    Raises FileNotFoundError if it holds neither, ValueError for a file of another kind."""

    def __init__(self, folder: Path) -> None:
        self.state = state_of(folder)
        paths = [folder / name for name in (DETECTOR, VEHICLES) if (folder / name).is_file()]
        if not paths:
            raise MissingFileError(f"no detector in {folder}")
        self._detectors = [read_detector(path) for path in paths]

    def find(self, photo: Photo) -> Detections:
        """Vehicles and plates of a photograph."""
        image = torch.from_numpy(np.asarray(photo.image).transpose(2, 0, 1).copy()).float() / 255
        vehicles: list[tuple[Box, float]] = []
        plates: list[Box] = []
        for detector, settings in self._detectors:  # the one for vehicles comes last
            vehicles = []
            found = detector.find([image])[0]
            for corners, label, score in zip(found["boxes"].tolist(), found["labels"], found["scores"], strict=True):
                left, top, right, bottom = corners
                box = Box(left, top, right - left, bottom - top)
                if score < settings.thresholds[label] or min(box.width, box.height) < _LEAST:
                    continue
                if label == VEHICLE:
                    vehicles.append((box, float(score)))
                else:
                    plates.append(box)
        return _grouped(vehicles, plates, photo)


def state_of(folder: Path) -> tuple[int, ...]:
    """Changes when a detector in the folder does; empty without one."""
    paths = [folder / name for name in (DETECTOR, VEHICLES)]
    return tuple(path.stat().st_mtime_ns for path in paths if path.is_file())


def _grouped(vehicles: Sequence[tuple[Box, float]], plates: Sequence[Box], photo: Photo) -> Detections:
    """Vehicles with their plates: each plate goes to the smallest vehicle that holds its centre."""
    ordered = sorted(vehicles, key=lambda pair: -_area(pair[0]))
    owners: dict[int, Box] = {}
    free = []
    for plate in plates:
        holding = [index for index, (box, _) in enumerate(ordered) if _holds(box, plate)]
        if not holding:
            free.append(plate)
        elif holding[-1] not in owners:
            owners[holding[-1]] = plate
    of_file = 1 / photo.scale
    found = [
        Found(_scaled(box, of_file), score, _scaled(owners[index], of_file) if index in owners else None)
        for index, (box, score) in enumerate(ordered)
    ]
    fills = bool(ordered) and _area(ordered[0][0]) >= _FILLS * photo.image.width * photo.image.height
    return Detections(tuple(found), tuple(_scaled(plate, of_file) for plate in free), fills)


def _overlap(first: Box, second: Box) -> float:
    """Intersection over union."""
    corners = [np.array([[b.left, b.top, b.left + b.width, b.top + b.height]]) for b in (first, second)]
    return float(iou_matrix(*corners)[0, 0])


def _area(box: Box) -> float:
    return box.width * box.height


def _holds(box: Box, plate: Box) -> bool:
    """Whether the plate's centre lies in the box, or nearly so."""
    x, y = plate.left + plate.width / 2 - box.left, plate.top + plate.height / 2 - box.top
    dx, dy = _AROUND * box.width, _AROUND * box.height
    return -dx <= x <= box.width + dx and -dy <= y <= box.height + dy


def _scaled(box: Box, scale: float) -> Box:
    return Box(*(value * scale for value in box))
