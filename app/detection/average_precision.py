"""Average precision of PASCAL VOC, of found boxes against marked ones, interpolated at all points.

A found box is compared with the marked box that it covers best, and is wrong if that one is taken (Everingham et al.,
2010, Sec. 4.2); the area is under all points, as VOC has computed it since 2010 (Everingham et al., 2015). COCO's
measure differs: there the box takes the next best marked one, and precision is sampled at 101 values of recall.
"""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torchvision.ops import box_iou

from app.evaluation.errors import EvaluationError

Floats = NDArray[np.floating]


def iou_matrix(first: Floats, second: Floats) -> NDArray[np.float64]:
    """Intersection over union (N, M) of boxes (N, 4) and (M, 4) as left, top, right, bottom."""
    boxes = (torch.from_numpy(np.asarray(each, np.float64).reshape(-1, 4)) for each in (first, second))
    found: NDArray[np.float64] = box_iou(*boxes).nan_to_num_().numpy()  # boxes without an area: 0 by 0
    return found


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


def voc_average_precision(
    found: Sequence[tuple[Floats, Floats]], truth: Sequence[Floats], iou: float = 0.5
) -> tuple[float, NDArray[np.float64], NDArray[np.float64]]:
    """VOC's average precision over images, with precision and recall after each box in falling order of score.

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
