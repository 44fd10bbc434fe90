"""A detector on marked photographs: VOC's average precision of each class, and the threshold with the best F1."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from app.core.sample import Box
from app.detection.average_precision import voc_average_precision
from app.detection.labels import Labelled
from app.detection.stream import read_photograph
from app.synthetic import SceneRenderer
from models.detector import CLASSES, PLATE, VEHICLE, Detector

_IOUS = np.arange(0.5, 0.96, 0.05)  # those that COCO takes its mean over


@dataclass(frozen=True)
class Marked:
    """An image (H, W, 3), R, G, B, with the boxes (M, 4) of the classes that were marked in it, by label."""

    image: NDArray[np.uint8]
    boxes: dict[int, NDArray[np.float64]]


def marked_photograph(photograph: Labelled, longest: int) -> Marked:
    """A photograph of at most `longest` pixels. Raises OSError for a file that cannot be read."""
    image, scale = read_photograph(photograph, longest)
    return Marked(image, _known(photograph.vehicles, photograph.plates, scale))


def marked_scene(scenes: SceneRenderer, number: int) -> Marked:
    """A rendered scene."""
    scene = scenes.scene(number)
    image = np.ascontiguousarray(scene.image[..., ::-1])
    return Marked(image, _known(scene.vehicles, scene.plates if scene.plates_known else None, 1.0))


def measure_detector(
    detector: Detector,
    images: Sequence[Callable[[], Marked]],
    device: torch.device,
    classes: Sequence[int] = (VEHICLE, PLATE),
) -> dict[str, dict[str, Any]]:
    """By class that was marked: VOC's average precision, and recall, precision and score at the best F1.

    AP50 is at an IoU of 0.5, AP the mean over 0.5 to 0.95.

    Args:
        images: made one at a time, as they are asked for.
        classes: those that the detector was trained to find.
    """
    found: dict[int, list[tuple[NDArray[np.float64], NDArray[np.float64]]]] = {label: [] for label in classes}
    truth: dict[int, list[NDArray[np.float64]]] = {label: [] for label in classes}
    for make in images:
        marked = make()
        image = torch.from_numpy(marked.image.transpose(2, 0, 1).copy()).float().to(device) / 255
        boxes = detector.find([image])[0]
        for label in truth.keys() & marked.boxes.keys():
            boxes_marked = marked.boxes[label]
            chosen = boxes["labels"] == label
            found[label].append(
                (boxes["boxes"][chosen].double().cpu().numpy(), boxes["scores"][chosen].double().cpu().numpy())
            )
            truth[label].append(boxes_marked)
    return {
        CLASSES[label]: _measures(found[label], truth[label])
        for label in classes
        if sum(len(boxes) for boxes in truth[label])
    }


def _measures(
    found: Sequence[tuple[NDArray[np.float64], NDArray[np.float64]]], truth: Sequence[NDArray[np.float64]]
) -> dict[str, Any]:
    ap50, precision, recall = voc_average_precision(found, truth)
    f1 = 2 * precision * recall / np.maximum(precision + recall, 1e-12)
    best = int(f1.argmax()) if len(f1) else 0
    scores = np.sort(np.concatenate([scores for _, scores in found]))[::-1]
    return {
        "AP50": ap50,
        "AP": float(np.mean([voc_average_precision(found, truth, iou)[0] for iou in _IOUS])),
        "precision": float(precision[best]) if len(f1) else 0.0,
        "recall": float(recall[best]) if len(f1) else 0.0,
        "threshold": float(scores[best]) if len(f1) else 1.0,
        "pictures": len(truth),
        "boxes": sum(len(boxes) for boxes in truth),
    }


def _known(
    vehicles: Sequence[Box] | None, plates: Sequence[Box] | None, scale: float
) -> dict[int, NDArray[np.float64]]:
    return {
        label: np.array([[b.left, b.top, b.left + b.width, b.top + b.height] for b in boxes], np.float64).reshape(-1, 4)
        * scale
        for label, boxes in ((VEHICLE, vehicles), (PLATE, plates))
        if boxes is not None
    }
