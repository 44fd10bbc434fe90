"""Detections in one image, whoever computed them."""

from collections.abc import Sequence
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from app.core.sample import Box
from app.detection.layouts import without_overlaps


class Detection(NamedTuple):
    """A vehicle or a plate.

    Fields:
        box: in pixels of the image.
        plate: whether it is a plate.
        kind: of a vehicle, one of `KINDS`; None if the detector does not tell.
    """

    box: Box
    score: float
    plate: bool
    kind: str | None = None


class ImageDetector(Protocol):
    """A detector ready for use, with its thresholds."""

    finds_vehicles: bool
    finds_plates: bool

    def find(self, image: NDArray[np.uint8]) -> list[Detection]:
        """Detections in an image (H, W, 3), R, G, B, best first."""


def one_for_each(found: Sequence[Detection], most: float) -> list[Detection]:
    """The best of those boxes whose intersection over union is above `most`, of vehicles of any kind, and of plates;
    best first."""
    kept: list[Detection] = []
    for plate in (False, True):
        some = [each for each in found if each.plate == plate]
        if some:
            boxes = [each.box for each in some]
            corners = np.array([[b.left, b.top, b.left + b.width, b.top + b.height] for b in boxes], np.float64)
            rows = without_overlaps(corners, np.array([each.score for each in some]), most)
            kept += [some[row] for row in rows]
    return sorted(kept, key=lambda each: -each.score)
