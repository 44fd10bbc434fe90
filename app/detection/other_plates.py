"""Rendered plates over the marked plates of a photograph: few photographs of one country show plates of many."""

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from app.core.sample import Box
from app.synthetic.plates import KINDS, placed_plate

Image = NDArray[np.uint8]
_LARGER = (1.0, 1.25)  # of a rendered plate, for one that just covers the plate under it
_LEAST = 6.0  # pixels of the shorter side: what is smaller is left as it is
_FITTED = 0.6  # share of the rendered plates that get the brightness of what they cover
_GAIN = (0.4, 1.6)


def with_other_plates(image: Image, plates: Sequence[Box], rng: np.random.Generator) -> tuple[Image, list[Box]]:
    """A copy of an image (H, W, 3), R, G, B, with a rendered plate of some region over each plate, and their boxes.

    A rendered plate has its own shape and covers the one below it whole, so that it may be larger and is cut at the
    image's edge."""
    changed = image.copy()
    return changed, [_covered(changed, box, rng) for box in plates]


def _covered(image: Image, box: Box, rng: np.random.Generator) -> Box:
    if min(box.width, box.height) < _LEAST:
        return box
    kind = KINDS[int(rng.integers(len(KINDS)))]
    plate = placed_plate(rng, (kind,)).image  # tight: the crop is the box
    height, width = plate.shape[:2]
    scale = max(box.width / width, box.height / height) * float(rng.uniform(*_LARGER))
    size = max(2, round(scale * width)), max(2, round(scale * height))
    plate = np.asarray(cv2.resize(plate, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR))
    left = round(box.left + box.width / 2 - size[0] / 2)
    top = round(box.top + box.height / 2 - size[1] / 2)
    rows = slice(max(0, top), min(image.shape[0], top + size[1]))
    columns = slice(max(0, left), min(image.shape[1], left + size[0]))
    if rows.start >= rows.stop or columns.start >= columns.stop:
        return box
    shown = plate[rows.start - top : rows.stop - top, columns.start - left : columns.stop - left].astype(np.float32)
    below = image[rows, columns].astype(np.float32)
    if rng.random() < _FITTED:
        shown *= np.clip((below.mean() + 8) / (shown.mean() + 8), *_GAIN)
    weight = _soft(shown.shape[0], shown.shape[1])
    image[rows, columns] = np.clip(below + weight * (shown - below), 0, 255).astype(np.uint8)
    return Box(
        float(columns.start), float(rows.start), float(columns.stop - columns.start), float(rows.stop - rows.start)
    )


def _soft(height: int, width: int) -> NDArray[np.float32]:
    """Weights (H, W, 1) of a plate, half at its edge: a detector would learn a hard edge."""
    edge = max(1.0, 0.04 * height)
    down, across = (np.minimum(np.arange(n), np.arange(n)[::-1]) for n in (height, width))
    inside = np.minimum(down[:, None], across[None, :]).astype(np.float32)
    return np.clip(0.5 + 0.5 * inside / edge, 0, 1)[..., None]
