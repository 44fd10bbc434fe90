"""Parity of two ways of computing a detector or a plate reader: equal scores, equal boxes, equal texts."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from app.core.sample import Sample
from app.data.readers.reader import Direction
from app.detection.own import OwnDetector
from app.evaluation.errors import EvaluationError
from app.tasks.plate_text import PlateText
from models.detector_graph import INPUT, OUTPUTS, DetectorGraph
from models.embedding_graph import Run
from models.plate_reader import PlateReader

_SCORES = (0, 2)  # of the graph's outputs, those that a sigmoid makes scores of


@dataclass(frozen=True)
class DetectorParity:
    """Result of a comparison of two detectors.

    Args:
        images: number of images.
        largest_difference: of any score at any place, in [0, 1].
        largest_shift: of any side of a box, in steps of 8 to 128 pixels, by its size.
        detections: number by the first way.
        different: images in which boxes, by number or by a pixel, or kinds differ.
    """

    images: int
    largest_difference: float
    largest_shift: float
    detections: int
    different: int


@dataclass(frozen=True)
class ReaderParity:
    """Result of a comparison of two readers.

    Args:
        images: number of plates.
        largest_difference: of any character's probability at any place.
        different: plates whose texts differ.
    """

    images: int
    largest_difference: float
    different: int


def compare_detectors(
    first: OwnDetector, run: Run, second: OwnDetector, images: Iterable[NDArray[np.uint8]]
) -> DetectorParity:
    """Compare a detector of PyTorch with its graph and with the detector made of it.

    Args:
        run: the graph of `second`.
        images: (H, W, 3), R, G, B.

    Raises EvaluationError without an image."""
    graph = DetectorGraph(first.detector)
    resize: Callable[..., tuple[Any, object]] = first.detector.network.transform  # type: ignore[assignment]
    count = detections = different = 0
    difference = shift = 0.0
    for image in images:
        given = torch.from_numpy(image.transpose(2, 0, 1).copy()).float() / 255
        shown: Tensor = resize([given])[0].tensors
        with torch.no_grad():
            ours = graph(shown)
        other = run({INPUT: shown.numpy()})
        for place, name in enumerate(OUTPUTS):
            one, two = ours[place], torch.from_numpy(other[name])
            if place in _SCORES:
                difference = _largest(difference, one.sigmoid() - two.sigmoid())
            else:
                shift = _largest(shift, one - two)
        a, b = first.find(image), second.find(image)
        count, detections = count + 1, detections + len(a)
        different += len(a) != len(b) or any(
            max(abs(x - y) for x, y in zip(one.box, two.box, strict=True)) > 1 or one.kind != two.kind
            for one, two in zip(a, b, strict=True)
        )
    if not count:
        raise EvaluationError("there is no image to compare the two detectors with")
    return DetectorParity(count, difference, shift, detections, different)


def compare_readers(
    task: PlateText, network: nn.Module, other: nn.Module, directions: Sequence[Direction], most: int
) -> ReaderParity:
    """Compare the texts and probabilities of two readers on up to `most` plates of a data set.

    Raises EvaluationError if no plate can be read."""
    samples: list[Sample] = [s for each in directions for s in (*each.query, *each.gallery) if s.has_plate]
    plates: list[Tensor] = []
    for sample in dict.fromkeys(samples):
        plate = task.image_reader.plate(sample)
        if plate is not None:
            plates.append(plate)
        if len(plates) == most:
            break
    if not plates:
        raise EvaluationError("there is no plate to compare the two readers with")
    difference, different, batch = 0.0, 0, task.settings.evaluation.batch_size
    for start in range(0, len(plates), batch):
        images = torch.stack(plates[start : start + batch])
        assert isinstance(network, PlateReader)
        assert isinstance(other, PlateReader)
        shown = task.compute.as_input(images, network.statistics)
        with torch.no_grad():
            one, two = (each(shown).logits.softmax(dim=2) for each in (network, other))
        difference = _largest(difference, one - two)
        texts = [task.read_images(each, images, torch.device("cpu")) for each in (network, other)]
        different += sum(a.text != b.text for a, b in zip(*texts, strict=True))
    return ReaderParity(len(plates), difference, different)


def _largest(before: float, values: Tensor) -> float:
    """The larger one of `before` and the largest absolute value; NaN wins, so that no limit lets it pass."""
    return float(np.maximum(before, values.abs().max().item())) if values.numel() else before
