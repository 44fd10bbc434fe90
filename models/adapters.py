"""Adapters: a backbone that keeps the values it starts from, and learns few others beside them.

A network of tokens gets low-rank additions to its linear layers (LoRA: Hu et al., ICLR 2022, arXiv:2106.09685), and
learns the normalisations that estimate statistics, as LeViT and XCiT have them. A convolutional one learns its last
stage and all of its normalisations.
"""

import math
from collections.abc import Iterator
from typing import Any, NamedTuple

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

    Raises NetworkError for a network of tokens without a linear layer, and for another without a last stage."""
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


def _last_stage(backbone: nn.Module, size: tuple[int, int]) -> list[str]:
    """Names of the parameters of the last stage, as timm describes it, and of all that is computed after it began.

    Of DenseNet and VGG timm names the norm or the pooling that ends the stage: it is what is computed between the end
    before and this one. Of a network that timm does not describe: all from the first convolution on whose map is of the
    final size. Raises NetworkError for a network without such a convolution."""
    order, final = _order(backbone, size)
    described: Any = getattr(backbone, "feature_info", None) or [{"module": ""}]
    stages = [".".join(str(each["module"]).split(".")[:2]) for each in described]  # "blocks.6.0" is of stage blocks.6
    places = [[number for number, step in enumerate(order) if step.is_in(stage)] for stage in stages]
    begin, end = next(iter(places[-1]), None), len(order)
    if begin is not None and not any(order[number].convolves for number in places[-1]):
        end = places[-1][-1] + 1
        ends = [place[-1] + 1 for place in places[:-1] if place]
        begin = next((each for each in reversed(ends) if any(step.convolves for step in order[each:end])), None)
    if begin is None:
        end = len(order)
        begin = next((number for number, step in enumerate(order) if step.convolves and step.sides == final), None)
    if begin is None:
        raise NetworkError("the network has no convolution that computes its last map: no stage of it can be adapted")
    owners = {step.name for step in order[begin:end]}
    return [name for name, _ in backbone.named_parameters() if name.rpartition(".")[0] in owners]


class _Step(NamedTuple):
    """A module that was computed; `sides` of its map, if it is a convolution."""

    name: str
    convolves: bool
    sides: tuple[int, ...]

    def is_in(self, stage: str) -> bool:
        return bool(stage) and f"{self.name}.".startswith(f"{stage}.")


@torch.no_grad()
def _order(backbone: nn.Module, size: tuple[int, int]) -> tuple[list[_Step], tuple[int, ...]]:
    """The modules in the order in which they end, and the sides of the final map."""
    order: list[_Step] = []

    def note(name: str, module: nn.Module, out: Any) -> None:
        convolves = isinstance(module, nn.Conv2d)
        order.append(_Step(name, convolves, tuple(out.shape[2:]) if convolves else ()))

    hooks = [
        module.register_forward_hook(lambda module, _, out, name=name: note(name, module, out))
        for name, module in backbone.named_modules()
    ]
    training = backbone.training
    feature = backbone.eval()(torch.zeros(1, 3, *size))
    backbone.train(training)
    for hook in hooks:
        hook.remove()
    return order, tuple(feature.shape[2:])
