"""Arrays of a network by name, as NumPy arrays, for `strategies` and the node store."""

import difflib
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm, _NormBase

from app.core.errors import StoredFileError
from app.settings.checks import SettingsError
from app.settings.federation import DEFAULT_PRIVATE, FederationSettings
from models.adapters import frozen_arrays
from models.head import Classifier
from strategies.shared_arrays import SharedLayout, is_private

Arrays = dict[str, NDArray[np.float32]]


def float_arrays(network: nn.Module) -> Arrays:
    """Copies of all floating-point parameters and buffers; integer counters stay out."""
    return {name: view.copy() for name, view in float_views(network).items()}


def float_views(network: nn.Module) -> Arrays:
    """The same, without a copy for a network in CPU memory: the arrays change when it is trained."""
    return {
        name: tensor.detach().to("cpu", torch.float32).numpy()
        for name, tensor in network.state_dict().items()
        if tensor.is_floating_point()
    }


def load_arrays(network: nn.Module, arrays: Mapping[str, NDArray[np.float32]]) -> None:
    """Copy arrays into a network. Raises ValueError naming an array that the network lacks or has in another shape."""
    own = network.state_dict()
    with torch.no_grad():
        for name, array in arrays.items():
            if name not in own:
                raise StoredFileError(f"the network has no array {name!r}: it is another network's checkpoint")
            if tuple(own[name].shape) != array.shape:
                raise StoredFileError(
                    f"array {name!r} has shape {array.shape}, the network's is {tuple(own[name].shape)}"
                )
            own[name].copy_(torch.from_numpy(np.ascontiguousarray(array)))


def require_patterns(network: nn.Module, settings: FederationSettings) -> None:
    """Raise SettingsError naming a pattern of `federation.private` that matches no array of the network: with a
    mistyped one an array would be shared by mistake. The default may match nothing, as for a task without
    classifiers."""
    names = list(network.state_dict())
    for pattern in settings.private:
        if pattern not in DEFAULT_PRIVATE and not any(is_private(name, [pattern]) for name in names):
            parts = sorted({name.rsplit(".", 1)[0] for name in names})
            near = difflib.get_close_matches(pattern.strip("*"), parts, n=1, cutoff=0.4)
            hint = f"; there is {near[0]}" if near else ""
            raise SettingsError(f"federation.private: the pattern {pattern!r} matches no array of the network{hint}")


def home_patterns(network: nn.Module, settings: FederationSettings, heads: Sequence[str] = ()) -> list[str]:
    """The patterns of arrays that belong to one client: those of `federation.private`, and always the heads, whose rows
    stand for the client's labels.

    Args:
        heads: patterns of the task's heads, besides the classifiers found in the network.
    """
    patterns = list(dict.fromkeys((*settings.private, *heads)))
    for module_name, module in network.named_modules():
        if isinstance(module, Classifier):
            names = (f"{module_name}.{name}" for name in module.state_dict())
            patterns += [name for name in names if not is_private(name, patterns)]
    return patterns


def private_patterns(network: nn.Module, settings: FederationSettings, heads: Sequence[str] = ()) -> list[str]:
    """`home_patterns` and the arrays that stay as they are; with `batch_norm: local` the names of all BatchNorm arrays
    among them."""
    patterns = [*home_patterns(network, settings, heads), *frozen_arrays(network)]
    if settings.batch_norm == "local":
        for module_name, module in network.named_modules():
            if isinstance(module, _BatchNorm):
                patterns += [f"{module_name}.{name}" for name, _ in module.named_parameters(recurse=False)]
                patterns += [f"{module_name}.{name}" for name, _ in module.named_buffers(recurse=False)]
    return patterns


def shared_layout(network: nn.Module, settings: FederationSettings, heads: Sequence[str] = ()) -> SharedLayout:
    """The layout of the network's shared arrays."""
    shapes = {name: tensor.shape for name, tensor in network.state_dict().items() if tensor.is_floating_point()}
    return SharedLayout.of(shapes, private_patterns(network, settings, heads))


def shared_parameters(network: nn.Module, private: Sequence[str]) -> dict[str, Tensor]:
    """Copies of the parameters that no pattern in `private` matches, by name."""
    parameters = network.named_parameters()
    return {name: value.detach().clone() for name, value in parameters if not is_private(name, private)}


def statistics_names(network: nn.Module, layout: SharedLayout) -> list[str]:
    """The shared arrays that are estimated and not learnt, BatchNorm's running statistics."""
    learnt = {name for name, _ in network.named_parameters()}
    return [name for name in layout.names if name not in learnt]


def statistics_mask(network: nn.Module, layout: SharedLayout) -> NDArray[np.bool_]:
    """(size,) bool: the values of these arrays."""
    return layout.marked(statistics_names(network, layout))


def variances_mask(network: nn.Module, layout: SharedLayout) -> NDArray[np.bool_]:
    """(size,) bool: the running variances among the shared values; a value below 0 makes the outputs NaN."""
    norms = [name for name, module in network.named_modules() if isinstance(module, _NormBase)]
    return layout.marked(f"{name}.running_var" for name in norms)
