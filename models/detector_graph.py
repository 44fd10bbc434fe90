"""The convolutions of an FCOS detector as one graph, and a detector whose graph is computed outside PyTorch.

What comes before (size, normalisation) and after them (anchors, overlaps) depends on the image and stays in PyTorch.
"""

from collections import OrderedDict
from typing import Any

import torch
from torch import Tensor, nn

from models.detector import Detector
from models.embedding_graph import Run, require_evaluation

INPUT = "images"
OUTPUTS = ("cls_logits", "bbox_regression", "bbox_ctrness")  # torchvision's names
EXAMPLE = (2, 3, 256, 320)  # not square: a graph must not take one side for the other


class DetectorGraph(nn.Module):
    """Pyramid and head of a detector in evaluation mode.

    Raises the error of `require_evaluation`."""

    def __init__(self, detector: Detector) -> None:
        super().__init__()
        require_evaluation(detector)
        self.backbone: Any = detector.network.backbone
        self.head: Any = detector.network.head
        self.eval()

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """Map normalised images (N, 3, H, W), sides multiples of 32, to what is found at A places: scores (N, A, C),
        boxes (N, A, 4) and centredness (N, A, 1)."""
        found: dict[str, Tensor] = self.head(list(self.backbone(images).values()))
        return tuple(found[name] for name in OUTPUTS)


class _Outside(nn.Module):
    """Stands for the pyramid and, called with its maps, for the head."""

    def __init__(self, run: Run, strides: tuple[int, ...]) -> None:
        super().__init__()
        self._run = run
        self._strides = strides
        self._found: dict[str, Tensor] = {}

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Maps of the pyramid's sizes without values: anchors are made by their sizes alone."""
        found = self._run({INPUT: images.numpy()})
        self._found = {name: torch.from_numpy(found[name]) for name in OUTPUTS}
        number, _, height, width = images.shape
        sides = [(-(-height // stride), -(-width // stride)) for stride in self._strides]
        return OrderedDict((str(i), images.new_zeros(()).expand(number, 1, *side)) for i, side in enumerate(sides))

    def head(self, maps: list[Tensor]) -> dict[str, Tensor]:
        """What was found with these maps."""
        del maps
        return self._found


class _Head(nn.Module):
    def __init__(self, outside: _Outside) -> None:
        super().__init__()
        self._outside = [outside]  # not a module of its own

    def forward(self, maps: list[Tensor]) -> dict[str, Tensor]:
        return self._outside[0].head(maps)


def outside_detector(detector: Detector, run: Run) -> Detector:
    """The detector with its `DetectorGraph` computed by `run`; its own weights are let go."""
    network: Any = detector.network
    outside = _Outside(run, detector.strides)
    network.backbone, network.head = outside, _Head(outside)
    return detector.eval()
