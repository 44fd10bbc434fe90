"""Statistics that a network's input is normalised with."""

from typing import Any, NamedTuple

from torch import nn


class InputStatistics(NamedTuple):
    """Mean and standard deviation, three values each in R, G, B order, that images in [0, 1] are normalised with."""

    mean: tuple[float, ...]
    std: tuple[float, ...]


def input_statistics(backbone: nn.Module) -> InputStatistics:
    """Return those that the model's published weights were trained with; tf_efficientnet_lite0 has 0.5 throughout."""
    settings: Any = backbone.pretrained_cfg
    return InputStatistics(tuple(settings["mean"]), tuple(settings["std"]))
