"""Keeps the columns of a feature map: text runs from left to right, and a column must be narrower than a character."""

import torch
from torch import nn

from models.errors import NetworkError

_PROBE_SIZE = (64, 256)  # pixels; wide enough that no stride is lost in rounding


def keep_columns(backbone: nn.Module, stride: int) -> nn.Module:
    """Let a convolutional network shrink the width of its images by `stride` and no more, in place; returns it.

    Layers that halve both sides further on halve the height alone, as recognisers of text do (Shi et al., 2015,
    arXiv:1507.05717, Sec. 2.1). No array changes its shape, so that published weights still fit. Raises ValueError for
    a stride that is no power of two, and where the width does not come out as asked for."""
    if stride < 1 or stride & (stride - 1):
        raise ValueError(f"stride must be a power of two, got {stride}")
    reached: dict[nn.Module, int] = {}

    def note(layer: nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
        reached[layer] = _PROBE_SIZE[1] // inputs[0].shape[3]

    halving = [layer for layer in backbone.modules() if getattr(layer, "stride", None) in (2, (2, 2))]
    hooks = [layer.register_forward_pre_hook(note) for layer in halving]
    _width(backbone)
    for hook in hooks:
        hook.remove()
    for layer, before in reached.items():
        if before >= stride:
            layer.stride = (2, 1)  # type: ignore[assignment]
            if isinstance(layer, nn.AvgPool2d | nn.MaxPool2d) and layer.kernel_size in (2, (2, 2)):
                layer.kernel_size = (2, 1)
    if (width := _width(backbone)) != _PROBE_SIZE[1] // stride:
        raise NetworkError(f"the backbone gives {width} columns of {_PROBE_SIZE[1]} pixels, not one of {stride}")
    return backbone


@torch.no_grad()
def _width(backbone: nn.Module) -> int:
    was_training = backbone.training
    backbone.eval()
    device = next(backbone.parameters()).device
    width = backbone(torch.zeros(1, 3, *_PROBE_SIZE, device=device)).shape[3]
    backbone.train(was_training)
    return int(width)
