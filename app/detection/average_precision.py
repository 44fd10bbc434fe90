"""Average precision of found boxes against marked ones (Everingham et al., 2010, Sec. 4.2; area under all points)."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from app.evaluation.errors import EvaluationError

Floats = NDArray[np.floating]


def iou_matrix(first: Floats, second: Floats) -> NDArray[np.float64]:
    """Intersection over union (N, M) of boxes (N, 4) and (M, 4) as left, top, right, bottom."""
    a, b = np.asarray(first, np.float64).reshape(-1, 1, 4), np.asarray(second, np.float64).reshape(1, -1, 4)
    sides = np.clip(np.minimum(a[..., 2:], b[..., 2:]) - np.maximum(a[..., :2], b[..., :2]), 0, None)
    common = sides.prod(axis=-1)
    union = (a[..., 2:] - a[..., :2]).prod(axis=-1) + (b[..., 2:] - b[..., :2]).prod(axis=-1) - common
    result: NDArray[np.float64] = np.divide(common, union, out=np.zeros_like(common), where=union > 0)
    return result


def match_boxes(boxes: Floats, scores: Floats, truth: Floats, iou: float) -> NDArray[np.bool_]:
    """Which found boxes (N,) are right: best score first, each takes the marked box it covers best, if that is free.

    A marked box is found once: a second box on it is wrong, as the protocol has it."""
    overlap = iou_matrix(boxes, truth)
    right = np.zeros(len(scores), bool)
    free = np.ones(len(truth), bool)
    for row in np.argsort(-np.asarray(scores), kind="stable"):
        if not len(truth):
            break
        best = int(overlap[row].argmax())
        if overlap[row, best] >= iou and free[best]:
            free[best], right[row] = False, True
    return right


def average_precision(
    found: Sequence[tuple[Floats, Floats]], truth: Sequence[Floats], iou: float = 0.5
) -> tuple[float, NDArray[np.float64], NDArray[np.float64]]:
    """Average precision over images, with precision and recall after each box in falling order of score.

    Args:
        found: boxes (N, 4) and scores (N,) of each image.
        truth: marked boxes (M, 4) of each image.

    Raises ValueError if nothing is marked: the measure is then not defined."""
    total = sum(len(boxes) for boxes in truth)
    if not total:
        raise EvaluationError("average precision needs at least one marked box")
    scores = np.concatenate([np.asarray(scores, np.float64) for _, scores in found])
    right = np.concatenate([match_boxes(b, s, t, iou) for (b, s), t in zip(found, truth, strict=True)])
    hits = right[np.argsort(-scores, kind="stable")].cumsum()
    precision, recall = hits / np.arange(1, len(hits) + 1), hits / total
    envelope = np.maximum.accumulate(precision[::-1])[::-1]
    return float((np.diff(recall, prepend=0.0) * envelope).sum()), precision, recall
