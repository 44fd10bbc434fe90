"""The network whose embeddings data equalisation goes by."""

from collections.abc import Callable

from safetensors import SafetensorError
from safetensors.numpy import load_file
from torch import nn

from app.arrays import float_views, load_arrays
from app.checks import SettingsError
from app.node_store import digest_of
from app.settings import Settings, absolute
from app.tasks import make_task
from app.tasks.task import Task
from strategies.shared_arrays import is_private

PreModel = Callable[[], nn.Module]
"""Gives the pre-model; asked only where no record can be used."""


def checkpoint_model(settings: Settings) -> tuple[PreModel, str]:
    """The pre-model that `data.equalise.model` names as a file, and its key.

    Raises FileNotFoundError, or SettingsError naming an array that does not fit."""
    path = absolute(settings.data.equalise.model)
    if not path.is_file():
        raise FileNotFoundError(f"data.equalise.model: checkpoint not found: {path}")
    task = make_task(settings)
    network = task.build(2, settings.seed, pretrained=False)
    try:
        arrays = load_file(path)
        needed = {name for name in float_views(network) if not is_private(name, task.heads)}
        if missing := sorted(needed - set(arrays)):
            raise ValueError(f"array {missing[0]!r} is missing")
        load_arrays(network, {name: array for name, array in arrays.items() if name in needed})
    except (SafetensorError, ValueError) as error:
        raise SettingsError(f"data.equalise.model: {path} does not fit: {error}") from error
    return (lambda: network), digest_of({name: arrays[name] for name in needed})


def model_key(network: nn.Module, task: Task) -> str:
    """The key of a network that is there."""
    return digest_of({n: v for n, v in float_views(network).items() if not is_private(n, task.heads)})
