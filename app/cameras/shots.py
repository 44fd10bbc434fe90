"""Best frames of a vehicle: large, sharp, found with confidence, and not cut by the edge of the image."""

from dataclasses import dataclass

import cv2
import numpy as np
from PIL import Image

from app.cameras.motion import Frame
from app.core.sample import Box
from app.register.photos import KEPT_SIDE, Photo, VehiclePhoto

MOST = 3
"""Frames of one query."""
_APART = 0.2  # seconds: frames that are nearer show the same
_LARGE = 256.0  # pixels of the shorter side from which more say nothing more
_SHARP = 60.0  # variance of the Laplacian at which a crop counts half
_AT_EDGE = 0.5
_NEARLY = 0.5
_AROUND = 0.25  # of the vehicle's box, kept around it


@dataclass(frozen=True)
class Shot:
    """A frame of a vehicle, cut to its surroundings.

    Args:
        time: seconds, of the camera's own clock that never jumps.
        quality: from 0 to 1.
        left, top: of the cut in the frame.
        box, plate: in pixels of the frame.
    """

    time: float
    quality: float
    image: Frame
    left: int
    top: int
    box: Box
    plate: Box | None

    @property
    def vehicle_photo(self) -> VehiclePhoto:
        """The frame as a photograph of a query; nothing more is searched for in it."""
        image = Image.fromarray(cv2.cvtColor(self.image, cv2.COLOR_BGR2RGB))
        scale = min(1.0, KEPT_SIDE / max(image.size))
        if scale < 1:
            size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
            image = image.resize(size, Image.Resampling.LANCZOS)
        photo = Photo(image, scale)
        inside = [box and photo.inside(_moved(box, self.left, self.top)) for box in (self.box, self.plate)]
        return VehiclePhoto(photo, vehicle_box=inside[0], plate_box=inside[1], modality=None, whole=True)


def shot(time: float, frame: Frame, box: Box, confidence: float, plate: Box | None) -> Shot | None:
    """A frame of the vehicle in a box; None if it shows nothing of it."""
    height, width = frame.shape[:2]
    cut = _cut(box, 0.0, width, height)
    if cut is None:
        return None
    left, top, right, bottom = cut
    crop = cv2.resize(frame[top:bottom, left:right], (128, 128), interpolation=cv2.INTER_AREA)
    sharpness = float(cv2.Laplacian(cv2.cvtColor(crop, cv2.COLOR_BGR2GRAY), cv2.CV_64F).var())
    quality = min(1.0, min(right - left, bottom - top) / _LARGE) * sharpness / (sharpness + _SHARP) * confidence
    if left <= 1 or top <= 1 or right >= width - 1 or bottom >= height - 1:
        quality *= _AT_EDGE
    around = _cut(box, _AROUND, width, height)
    assert around is not None
    left, top, right, bottom = around
    return Shot(time, quality, frame[top:bottom, left:right].copy(), left, top, box, plate)


def for_query(best: list[Shot]) -> list[Shot]:
    """Those that are nearly as good as the best one: a poor frame makes the mean of a query worse."""
    return [each for each in best if each.quality >= _NEARLY * best[0].quality]


def with_shot(best: list[Shot], new: Shot) -> list[Shot]:
    """The best frames with a new one, best first; of two at nearly the same time the better one."""
    near = [each for each in best if abs(each.time - new.time) < _APART]
    if any(each.quality >= new.quality for each in near):
        return best
    kept = [each for each in best if each not in near]
    return sorted([*kept, new], key=lambda each: -each.quality)[:MOST]


def _cut(box: Box, around: float, width: int, height: int) -> tuple[int, int, int, int] | None:
    """Whole pixels of a box, with a share of it around; None outside of the image."""
    dx, dy = around * box.width, around * box.height
    left, top = max(0, int(box.left - dx)), max(0, int(box.top - dy))
    right = min(width, int(np.ceil(box.left + box.width + dx)))
    bottom = min(height, int(np.ceil(box.top + box.height + dy)))
    return (left, top, right, bottom) if right - left >= 8 and bottom - top >= 8 else None


def _moved(box: Box, left: int, top: int) -> Box:
    return Box(box.left - left, box.top - top, box.width, box.height)
