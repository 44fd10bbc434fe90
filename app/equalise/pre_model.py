"""Pre-model of data equalisation: the network whose embeddings are compared."""

from collections.abc import Callable, Mapping

from safetensors import SafetensorError, safe_open
from safetensors.numpy import load_file
from torch import nn

from app.core.arrays import float_views, load_arrays
from app.core.node_store import digest_of
from app.core.outputs import is_file
from app.settings.checks import NamedFileError
from app.settings.load import Settings, absolute
from app.tasks import make_task
from app.tasks.task import Task
from models.adapters import merge_adapters
from models.hashed import expand_layers
from strategies.shared_arrays import is_private

_KEY = "data.equalise.model"
PreModel = Callable[[], nn.Module]
"""Returns the pre-model; called only if no record can be used."""


def checkpoint_model(settings: Settings) -> tuple[PreModel, str]:
    """The pre-model that `data.equalise.model` names as a file, and its key. Calling it loads the arrays. Raises the
    errors of `require_fit`."""
    file, task = settings.data.equalise.model, make_task(settings)
    network = task.build(2, settings.seed, pretrained=False)
    require_fit(file, network, task)
    needed = _embedding_arrays(network, task)
    try:
        arrays = {name: array for name, array in load_file(absolute(file)).items() if name in needed}
    except (SafetensorError, OSError) as error:
        raise NamedFileError(_KEY, f"{file} is no checkpoint: {error}") from error

    def load() -> nn.Module:
        load_arrays(network, arrays)
        return merge_adapters(expand_layers(network))

    return load, digest_of(arrays)


def require_fit(file: str, network: nn.Module, task: Task) -> None:
    """Check that a file is a checkpoint of a network like this one.

    Raises NamedFileError, naming an array that is missing or of another shape."""
    if not is_file(absolute(file)):
        raise NamedFileError(_KEY, f"checkpoint not found: {file}")
    try:
        with safe_open(absolute(file), "np") as opened:
            there = {name: tuple(opened.get_slice(name).get_shape()) for name in opened.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise NamedFileError(_KEY, f"{file} is no checkpoint: {error}") from error
    for name, shape in _embedding_arrays(network, task).items():
        if name not in there:
            raise NamedFileError(_KEY, f"{file} does not fit: array {name!r} is missing")
        if there[name] != shape:
            raise NamedFileError(_KEY, f"{file} does not fit: {name!r} is {there[name]}, not {shape}")


def model_key(network: nn.Module, task: Task) -> str:
    """The key of a given network."""
    return digest_of({n: v for n, v in float_views(network).items() if not is_private(n, task.heads)})


def _embedding_arrays(network: nn.Module, task: Task) -> Mapping[str, tuple[int, ...]]:
    """Shapes of the arrays that embeddings depend on, by name."""
    return {n: tuple(v.shape) for n, v in float_views(network).items() if not is_private(n, task.heads)}
