"""Outputs of foreign detectors as boxes: the layouts of OpenCV's SSD, of YOLOv5 and of YOLOv8."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from app.core.errors import StoredFileError
from app.settings.detector_description import DetectorDescription

Floats = NDArray[np.float64]
_MOST = 1000  # boxes, best first, that overlaps are looked for in
_SSD_VALUES = 7


class Boxes(NamedTuple):
    """Boxes (M, 4) as left, top, right, bottom in pixels of the input, with scores and classes (M,)."""

    corners: Floats
    scores: Floats
    classes: NDArray[np.int64]


def require_layout(output: NDArray[np.float32], description: DetectorDescription) -> None:
    """Raise StoredFileError unless the output has the shape and the kind of values that the description says."""
    shape, count = output.shape, description.num_classes
    if description.layout == "ssd":
        wanted = f"(1, 1, N, {_SSD_VALUES})"
        fits = len(shape) == 4 and shape[:2] == (1, 1) and shape[3] == _SSD_VALUES
    elif description.layout == "yolov5":
        wanted = f"(1, N, {5 + count}) of {count} classes"
        fits = len(shape) == 3 and (shape[0], shape[2]) == (1, 5 + count)
    else:
        wanted = f"(1, {4 + count}, N) of {count} classes"
        fits = len(shape) == 3 and shape[:2] == (1, 4 + count)
    if not fits:
        raise StoredFileError(
            f"its output has the shape {shape}, not {wanted}, that of the layout {description.layout}"
        )
    if not np.isfinite(output).all():
        raise StoredFileError("its output for a blank image holds values that are not finite")
    scores = decoded(output, description, least=-np.inf).scores
    if scores.size and not (scores.min() >= -0.01 and scores.max() <= 1.01):
        raise StoredFileError(
            f"its output for a blank image has scores from {scores.min():.3g} to {scores.max():.3g}, not from 0 to 1, "
            f"as the layout {description.layout} has them"
        )


def decoded(output: NDArray[np.float32], description: DetectorDescription, least: float) -> Boxes:
    """Boxes with a score of `least` or more whose class the description names, in no order."""
    if description.layout == "ssd":
        rows = output.reshape(-1, _SSD_VALUES)
        scores, classes = rows[:, 2], rows[:, 1]
        rows, scores, classes = (each[scores >= least] for each in (rows, scores, classes))
        corners = rows[:, 3:].astype(np.float64) * (2 * [description.width, description.height])
        found = Boxes(corners, scores.astype(np.float64), np.nan_to_num(classes, nan=-1.0).astype(np.int64))
    else:
        objectness = description.layout == "yolov5"
        rows = output[0] if objectness else output[0].T  # (N, 4 + objectness + C)
        of_class = rows[:, 4 + objectness :]
        classes = of_class.argmax(axis=1)
        scores = of_class[np.arange(len(rows)), classes].astype(np.float64)
        if objectness:
            scores = scores * rows[:, 4]
        rows, scores, classes = (each[scores >= least] for each in (rows, scores, classes))
        centres, halves = rows[:, :2].astype(np.float64), rows[:, 2:4].astype(np.float64) / 2
        found = Boxes(np.hstack([centres - halves, centres + halves]), scores, classes.astype(np.int64))
    kept = np.isin(found.classes, list(description.classes)) & np.isfinite(found.corners).all(axis=1)
    return Boxes(found.corners[kept], found.scores[kept], found.classes[kept])


def without_overlaps(corners: Floats, scores: Floats, most: float) -> list[int]:
    """Rows of the boxes (M, 4) that are kept, best first: each unless its intersection over union with a better one
    that is kept is above `most`."""
    order = np.argsort(-scores, kind="stable")[:_MOST]
    sides = np.maximum(corners[:, 2:] - corners[:, :2], 0)
    areas = sides.prod(axis=1)
    kept: list[int] = []
    while len(order):
        best, order = int(order[0]), order[1:]
        kept.append(best)
        low = np.maximum(corners[best, :2], corners[order, :2])
        high = np.minimum(corners[best, 2:], corners[order, 2:])
        shared = np.maximum(high - low, 0).prod(axis=1)
        union = areas[best] + areas[order] - shared
        order = order[shared <= most * union]
    return kept
