"""The local optimiser: parameter groups, the learning rate over the whole run, and its state as named arrays."""

import math
from collections.abc import MutableMapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from app.core.errors import StoredFileError
from app.settings.sections import TrainSettings
from models.hashed import is_bucket
from strategies.shared_arrays import is_private

State = dict[str, NDArray[np.float32]]


def make_optimiser(network: nn.Module, settings: TrainSettings, private: list[str]) -> torch.optim.Optimizer:
    """AdamW, Adam or SGD; each group carries "scale", its learning rate relative to the schedule's.

    Vectors (norms, biases) are not decayed, save the buckets of hashed layers, which stand for matrices; private arrays
    have `head_lr_scale`.
    """
    groups: dict[tuple[bool, bool], list[nn.Parameter]] = {}
    for name, parameter in network.named_parameters():
        decays = parameter.ndim > 1 or is_bucket(name)
        groups.setdefault((is_private(name, private), decays), []).append(parameter)
    parts = [
        {
            "params": parameters,
            "weight_decay": settings.weight_decay if decayed else 0.0,
            "scale": settings.head_lr_scale if at_home else 1.0,
            "private": at_home,
        }
        for (at_home, decayed), parameters in groups.items()
    ]
    if settings.optimiser == "sgd":
        return torch.optim.SGD(parts, lr=settings.lr, momentum=settings.momentum)
    # On a CPU torch chooses a loop over the arrays, which takes twice as long; on a GPU its own choice stands.
    fused = True if next(network.parameters()).device.type == "cpu" else None
    kind = torch.optim.Adam if settings.optimiser == "adam" else torch.optim.AdamW
    return kind(parts, lr=settings.lr, fused=fused)


def learning_rate(step: int, total: int, settings: TrainSettings) -> float:
    """Learning rate of step 0..total - 1: linear warm-up, then a half cosine down to `final_lr` of the peak, or steps.

    `total` counts the steps of the whole run, so that the rate goes on from round to round.
    """
    warm_up = settings.warm_up * total
    if step < warm_up:
        share = (step + 1) / (warm_up + 1)
        return settings.lr * (settings.warm_up_from + (1 - settings.warm_up_from) * share)
    if settings.schedule == "steps":
        past = sum(step >= place * total for place in settings.steps)
        return settings.lr * settings.step_factor**past
    progress = (step - warm_up) / max(1.0, total - warm_up)
    return settings.lr * (settings.final_lr + (1 - settings.final_lr) * 0.5 * (1 + math.cos(math.pi * progress)))


def set_learning_rate(optimiser: torch.optim.Optimizer, step: int, total: int, settings: TrainSettings) -> float:
    """Set the rate of `step` in every group, and return it; shared arrays rest during the heads' warm-up."""
    rate = learning_rate(step, total, settings)
    resting = step < settings.head_warm_up * total
    for group in optimiser.param_groups:
        group["lr"] = 0.0 if resting and not group["private"] else rate * group["scale"]
    return rate


def optimiser_state(network: nn.Module, optimiser: torch.optim.Optimizer) -> State:
    """Moments and step counts as "<parameter>/<moment>"; on a CPU they share the optimiser's memory."""
    names: dict[torch.Tensor, str] = {parameter: name for name, parameter in network.named_parameters()}
    return {
        f"{names[parameter]}/{key}": _array(value)
        for parameter, moments in optimiser.state.items()
        for key, value in moments.items()
        if value is not None
    }


def load_optimiser_state(
    network: nn.Module, optimiser: torch.optim.Optimizer, state: MutableMapping[str, NDArray[np.float32]]
) -> None:
    """Put moments back, and empty `state`: they take twice the network's memory.

    Raises ValueError naming a parameter that the network lacks, or that has another shape."""
    parameters = dict(network.named_parameters())
    for key in list(state):
        array = state.pop(key)
        name, moment = key.rsplit("/", 1)
        if name not in parameters:
            raise StoredFileError(f"optimiser state of {name!r}, which the network does not have")
        value, target = torch.from_numpy(np.array(array, np.float32)), parameters[name]
        if moment == "step":  # AdamW keeps its counter on the CPU
            optimiser.state[target][moment] = value
            continue
        if value.shape != target.shape:  # the fused kernel would write beyond its end
            raise StoredFileError(
                f"{key} has shape {tuple(value.shape)}, the network's parameter {tuple(target.shape)}"
            )
        optimiser.state[target][moment] = torch.empty_like(target, requires_grad=False).copy_(value)


def _array(value: object) -> NDArray[np.float32]:
    return value.detach().cpu().float().numpy() if isinstance(value, torch.Tensor) else np.asarray(value)
