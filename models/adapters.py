"""Adapters: a backbone that keeps the values it starts from, and learns few others beside them.

A network of tokens gets low-rank additions to its linear layers (LoRA: Hu et al., ICLR 2022, arXiv:2106.09685), and
learns the normalisations that estimate statistics, as LeViT and XCiT have them. A convolutional one learns its last
stage and all of its normalisations.
"""

import math
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.utils import parametrize

from models.backbone import TokenBackbone
from models.errors import NetworkError

RANK = 8
SCALE = 2.0
"""Factor on the addition: alpha / r of the paper, with alpha 16."""
_NORMS = (_NormBase, nn.LayerNorm, nn.GroupNorm)


class LowRank(nn.Module):
    """A weight W (out, in) as W + s B A, with A (r, in) and B (out, r); B starts at 0, so that nothing changes."""

    def __init__(self, weight: Tensor, rank: int = RANK) -> None:
        super().__init__()
        rank = min(rank, *weight.shape)
        self.down = nn.Parameter(torch.empty(rank, weight.shape[1]))
        self.up = nn.Parameter(torch.zeros(weight.shape[0], rank))
        nn.init.kaiming_uniform_(self.down, a=math.sqrt(5))

    def forward(self, weight: Tensor) -> Tensor:
        """The weight with its addition."""
        return weight + SCALE * self.up @ self.down


def add_adapters(backbone: nn.Module, size: tuple[int, int]) -> list[str]:
    """Freeze a backbone in place, except for what adapts it; names of the arrays that stay as they are.

    Args:
        size: height and width of its images.

    Raises NetworkError for a network of tokens without a linear layer."""
    if isinstance(backbone, TokenBackbone):
        # Running statistics move in training, and would be others at each party if they were not shared.
        learnt = {*_low_rank(backbone), *_normalisations(backbone, (_NormBase,))}
    else:
        learnt = {*_last_stage(backbone, size), *_normalisations(backbone, _NORMS)}
    for name, parameter in backbone.named_parameters():
        parameter.requires_grad_(parameter.requires_grad and name in learnt)
    return [name for name in backbone.state_dict() if name not in learnt]


def merge_adapters(network: nn.Module) -> nn.Module:
    """Add the low-rank additions to their weights, in place; returns the network, which computes the same."""
    for module in list(network.modules()):
        if parametrize.is_parametrized(module, "weight") and isinstance(module.parametrizations["weight"][0], LowRank):  # type: ignore[index]
            parametrize.remove_parametrizations(module, "weight")
    return network


def frozen_arrays(network: nn.Module) -> tuple[str, ...]:
    """Names of the arrays that a network keeps as it started with them; none without adapters."""
    names: tuple[str, ...] = getattr(network, "frozen", ())
    return names


def _low_rank(backbone: nn.Module) -> Iterator[str]:
    """Add `LowRank` to every linear layer; names of the arrays."""
    layers = {name: module for name, module in backbone.named_modules() if isinstance(module, nn.Linear)}
    if not layers:
        raise NetworkError("the network has no linear layer to adapt")
    for name, layer in layers.items():
        # Of the weight and not of the output: some networks read the weight of a layer and do not call it.
        parametrize.register_parametrization(layer, "weight", LowRank(layer.weight))
        yield from (f"{name}.parametrizations.weight.0.{part}" for part in ("down", "up"))


def _normalisations(backbone: nn.Module, kinds: tuple[type[nn.Module], ...]) -> Iterator[str]:
    """Names of the arrays of normalisations, running statistics included."""
    for name, module in backbone.named_modules():
        if isinstance(module, kinds):
            yield from (f"{name}.{key}" for key in module.state_dict())


@torch.no_grad()
def _last_stage(backbone: nn.Module, size: tuple[int, int]) -> list[str]:
    """Names of the parameters of the last stage, as timm describes it, and of all that is computed after it began.

    Of a network that timm does not describe: of all from the first convolution on whose map is of the final size."""
    order: list[tuple[str, nn.Module, Tensor]] = []
    hooks = [
        module.register_forward_hook(lambda module, _, out, name=name: order.append((name, module, out)))
        for name, module in backbone.named_modules()
        if next(module.parameters(recurse=False), None) is not None
    ]
    training = backbone.training
    feature = backbone.eval()(torch.zeros(1, 3, *size))
    backbone.train(training)
    for hook in hooks:
        hook.remove()
    described: Any = getattr(backbone, "feature_info", None) or [{"module": ""}]
    stage = ".".join(str(described[-1]["module"]).split(".")[:2])  # "blocks.6.0" is a block of the stage blocks.6
    begins = [number for number, (name, _, _) in enumerate(order) if stage and f"{name}.".startswith(f"{stage}.")]
    begins += [
        number
        for number, (_, module, out) in enumerate(order)
        if isinstance(module, nn.Conv2d) and out.shape[2:] == feature.shape[2:]
    ]
    owners = {name for name, _, _ in order[begins[0] :]}
    return [name for name, _ in backbone.named_parameters() if name.rpartition(".")[0] in owners]
