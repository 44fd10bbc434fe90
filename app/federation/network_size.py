"""Memory that the network of a run would take, from its settings alone: nothing of it is allocated."""

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import timm
import torch
from torch import Tensor, nn

from app.settings.load import Settings
from models.backbone import build_backbone, timm_name
from models.columns import keep_columns

_MIB = 2**20
_BYTES = 4  # of float32
LARGEST_OPTION = 4096
"""Largest number in the options of a backbone: widths and depths of networks in use are below."""


class NetworkSize(NamedTuple):
    """MiB in float32: of all parameters without classifiers, and of what the layers of the backbones give for a batch,
    where all of it is kept for the gradients, or a layer at a time for a batch of evaluation."""

    parameters: float
    activations: float
    embedding_dim: int = 0
    """Length of an embedding that has the features of several cells (`model.grid`) side by side; 0 for one cell, and
    where `model.embedding_dim` sets it."""


class _Part(NamedTuple):
    backbone: str
    options: Mapping[str, Any]
    size: tuple[int, int]
    tokens: bool
    """Whether a network of tokens may be built."""


def largest_option(settings: Settings) -> float:
    """The largest number among the options of the backbones, lists and tables inside them included."""
    return max((number for part in _parts(settings.model) for number in _numbers(part.options)), default=0.0)


def network_size(settings: Settings) -> NetworkSize:
    """How large the network of a run is. An unknown backbone counts nothing: no network is built of it.

    Raises NetworkError or another error of timm's for a backbone that cannot be built with its options."""
    model, train = settings.model, settings.train
    batch, measured = max(train.batch_size, train.pids_per_batch * train.images_per_pid), settings.evaluation.batch_size
    cells = getattr(model, "grid", 1) ** 2
    parameters = activations = dim = 0
    for part in _parts(model):
        if timm.is_model(timm_name(part.backbone)):
            features, own, given = _measured(part, getattr(model, "stride", 0))
            features *= cells
            if cells > 1 and not model.embedding_dim:
                dim = max(dim, features)
            parameters += own + features * (getattr(model, "embedding_dim", 0) + getattr(model, "dim", 0))
            activations += max(batch * sum(given), measured * 2 * max(given))  # of what a layer takes and gives
    parameters += 12 * getattr(model, "layers", 0) * getattr(model, "dim", 0) ** 2  # of a layer of self-attention
    return NetworkSize(parameters * _BYTES / _MIB, activations * _BYTES / _MIB, dim)


def _parts(model: Any) -> list[_Part]:
    """The backbones of a task's network."""
    if not hasattr(model, "vehicle") and not hasattr(model, "backbone"):  # of a plug-in, which the site has listed
        return []
    if not hasattr(model, "vehicle"):
        return [_Part(model.backbone, model.options, (model.height, model.width), False)]
    branches = [branch for branch in (model.vehicle, model.plate) if branch is not None]
    return [_Part(branch.backbone, branch.options, (branch.image_size,) * 2, True) for branch in branches]


@torch.no_grad()
def _measured(part: _Part, stride: int) -> tuple[int, int, list[int]]:
    """Channels of a backbone's features, its parameters, and values of an image and of what each layer gives for it."""
    given = [3 * math.prod(part.size)]

    def count(_: nn.Module, __: object, output: object) -> None:
        given.append(output.numel() if isinstance(output, Tensor) else 0)

    with torch.device("meta"):  # shapes without memory
        backbone = build_backbone(part.backbone, options=part.options, size=part.size if part.tokens else None).eval()
        if stride:
            keep_columns(backbone, stride)
        for layer in backbone.modules():
            if not any(True for _ in layer.children()):
                layer.register_forward_hook(count)
        backbone(torch.empty(1, 3, *part.size))
    return int(backbone.num_features), sum(each.numel() for each in backbone.parameters()), given  # type: ignore[arg-type]


def _numbers(options: object) -> list[float]:
    if isinstance(options, Mapping):
        return [number for value in options.values() for number in _numbers(value)]
    if isinstance(options, list | tuple):
        return [number for value in options for number in _numbers(value)]
    return [abs(float(options))] if isinstance(options, int | float) else []
