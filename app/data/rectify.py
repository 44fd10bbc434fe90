"""A plate seen at an angle as a flat image, from its four corners."""

import math
from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from app.core.sample import Point
from app.data.readers.errors import DataSetError

_OVERSHOOT = 0.1  # of the plate's longest side, that a corner may lie beyond the image: corners marked by hand do


def rectify(image: NDArray[np.uint8], corners: Sequence[Point], size: tuple[int, int]) -> NDArray[np.uint8]:
    """The quadrilateral of an image (h, w, 3) warped to (*size, 3), both uint8.

    Coordinates are those of `Box`: the pixel in the first column and row covers 0 to 1. The warp is done at about the
    size that the plate has in the image and then averaged down, so that strokes do not vanish between the pixels.
    Beyond the image its outermost pixels are repeated.

    Args:
        corners: from the plate's own top left clockwise.
        size: height and width, pixels.

    Raises ValueError for corners that are not four finite numbers each, lie outside the image, enclose no pixel or are
    not convex and clockwise."""
    source = checked(corners, image.shape[1], image.shape[0])
    widths, heights = _sides(source)[0::2], _sides(source)[1::2]
    height, width = (max(wanted, math.ceil(max(seen))) for wanted, seen in zip(size, (heights, widths), strict=True))
    target = np.array([[0, 0], [width, 0], [width, height], [0, height]], np.float64)
    # OpenCV counts from the middle of the first pixel.
    to_source = cv2.getPerspectiveTransform((target - 0.5).astype(np.float32), (source - 0.5).astype(np.float32))
    flat = cv2.warpPerspective(
        image,
        to_source,
        (width, height),
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_REPLICATE,
    )
    if (height, width) != size:
        flat = cv2.resize(flat, size[::-1], interpolation=cv2.INTER_AREA)
    return np.asarray(flat, np.uint8)


def checked(corners: Sequence[Point], width: int, height: int) -> NDArray[np.float64]:
    """The corners (4, 2). Raises ValueError as `rectify`."""
    source = np.array(corners, np.float64)
    if source.shape != (4, 2) or not np.isfinite(source).all():
        raise DataSetError(f"corners must be four points of finite numbers, got {_listed(corners)}")
    beyond = np.maximum(-source, source - (width, height)).max()
    longest = max(_sides(source))
    if not math.isfinite(longest) or beyond > _OVERSHOOT * longest:  # sides of huge numbers are infinite
        raise DataSetError(f"corners {_listed(corners)} lie outside the image of {width} x {height} px")
    if min(_sides(source)) < 1:
        raise DataSetError(f"corners {_listed(corners)} enclose no pixel")
    edges = np.roll(source, -1, axis=0) - source
    following = np.roll(edges, -1, axis=0)
    turns = edges[:, 0] * following[:, 1] - edges[:, 1] * following[:, 0]
    # Downwards y makes a turn to the right positive. Four of them turn around once: no side crosses another.
    if (turns < 1).any():
        raise DataSetError(f"corners {_listed(corners)} are not convex and clockwise, from the plate's own top left")
    return source


def _sides(source: NDArray[np.float64]) -> list[float]:
    """Lengths of the upper, right, lower and left side."""
    return [math.dist(source[i], source[(i + 1) % 4]) for i in range(4)]


def _listed(corners: Sequence[Point]) -> list[tuple[float, ...]]:
    return [tuple(corner) for corner in corners]
