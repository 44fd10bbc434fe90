"""Arrays of OSNet from an ONNX file, such as OpenVINO's `vehicle-reid-0001`.

That file is `osnet_ain_x1_0_vehicle_reid.onnx` of the Open Model Zoo, MIT, for RGB images of 208 x 208 px.
An exporter keeps the names of PyTorch's arrays, except of a convolution into which it folds the BatchNorm behind it:
that one gets a name of its own, and a bias. Such a file is read in the order of its nodes, and is accepted only if it
gives the same embedding as the network does with its arrays.

Folding loses the statistics of a BatchNorm. One that normalised by each batch in training would compute something else
than the file from the first step on, so that the network must have `fixed_norms`.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from models.errors import WeightsFileError
from models.osnet import OSNet

_CLOSE = 1e-3
"""Largest difference of two embeddings, over the largest value of one: float32 in another order, in 90 layers."""
_SIDE = 64
_LAYERS: dict[str, type[nn.Module]] = {
    "Conv": nn.Conv2d,
    "InstanceNormalization": nn.InstanceNorm2d,
    "Gemm": nn.Linear,
    "PRelu": nn.PReLU,
}


def arrays_of_onnx(path: Path, *, fixed_norms: bool) -> dict[str, Tensor]:
    """The arrays of a file by their names in an OSNet with its head.

    Args:
        fixed_norms: of the network that takes them.

    Raises WeightsFileError for a file that cannot be read, or whose layers are not the network's; also for one with
    folded BatchNorms without `fixed_norms`."""
    try:
        import onnx
        from onnx import numpy_helper
    except ImportError as error:
        raise WeightsFileError(f"weights file {path}: an ONNX file needs the package onnx (extra onnx)") from error
    try:
        model = onnx.load(str(path))
        held = {each.name: np.array(numpy_helper.to_array(each)) for each in model.graph.initializer}
    except Exception as error:  # protobuf's, and those of external data
        raise WeightsFileError(f"cannot read weights file {path}: {type(error).__name__}") from error
    floats = {name: torch.from_numpy(each) for name, each in held.items() if each.dtype.kind == "f"}
    nodes = [node for node in model.graph.node if node.op_type in _LAYERS]
    network = OSNet(head=True, activation="prelu" if any(node.op_type == "PRelu" for node in nodes) else "relu")
    known = network.state_dict()
    if all(node.input[1] in known for node in nodes):
        return floats
    arrays = _in_order(path, model.graph, floats, network)
    if not [key for key, each in arrays.items() if key not in known or known[key].shape != each.shape]:  # named later
        _require_same(path, model, network, arrays)
    if not fixed_norms and any(key.endswith("running_var") and key not in floats for key in arrays):
        raise WeightsFileError(
            f"weights file {path} holds BatchNorms folded into their convolutions, without statistics to train with: "
            "set options.fixed_norms=true of the backbone, which trains without them"
        )
    return arrays


def _in_order(path: Path, graph: Any, held: dict[str, Tensor], network: OSNet) -> dict[str, Tensor]:
    """Arrays of the layers that the file computes one after the other."""
    nodes = [node for node in graph.node if node.op_type in _LAYERS]
    layers = list(_computed(network))
    norms = [key for node in graph.node if node.op_type == "BatchNormalization" for key in node.input[1:]]
    found = {key: held[key] for key in norms if key in held}
    for number, (node, (name, layer)) in enumerate(zip(nodes, layers, strict=False)):
        if not isinstance(layer, _LAYERS[node.op_type]):
            raise WeightsFileError(
                f"weights file {path} does not fit: its layer {number} is {node.op_type}, the network's is {name}"
            )
        given = [held[key] for key in node.input[1:] if key in held]
        if len(given) < len(node.input) - 1:
            raise WeightsFileError(f"weights file {path} does not fit: it has no array for {name}")
        weight, *bias = given
        found[f"{name}.weight"] = weight.reshape(-1) if node.op_type == "PRelu" else weight
        norm = _norm_behind(network, name)
        if bias and layer.bias is None and norm:
            found |= _folded(norm, network.get_submodule(norm), bias[0])
        elif bias:
            found[f"{name}.bias"] = bias[0]
    if len(nodes) != len(layers):
        raise WeightsFileError(
            f"weights file {path} does not fit: it has {len(nodes)} layers, the network {len(layers)}"
        )
    return found


def _computed(network: OSNet) -> Iterator[tuple[str, nn.Module]]:
    """Layers with arrays, except BatchNorm, in the order of computation; a shared one as often as it is used."""
    order: list[tuple[str, nn.Module]] = []
    kinds = tuple(_LAYERS.values())
    hooks = [
        module.register_forward_hook(lambda module, *_, name=name: order.append((name, module)))
        for name, module in network.named_modules()
        if isinstance(module, kinds)
    ]
    training = network.training
    with torch.no_grad():
        network.eval()(torch.zeros(1, 3, _SIDE, _SIDE))
    network.train(training)
    for hook in hooks:
        hook.remove()
    return iter(order)


def _norm_behind(network: OSNet, name: str) -> str:
    """Name of the BatchNorm behind a layer; "" for none."""
    parent, _, last = name.rpartition(".")
    norm = getattr(network.get_submodule(parent), "bn", None) if last in ("conv", "conv2") else None
    return f"{parent}.bn" if isinstance(norm, nn.BatchNorm2d) else ""


def _folded(name: str, norm: nn.Module, bias: Tensor) -> dict[str, Tensor]:
    """Arrays of a BatchNorm that adds a bias and does nothing else."""
    assert isinstance(norm, nn.BatchNorm2d)
    ones = torch.ones_like(bias)
    return {
        f"{name}.weight": ones,
        f"{name}.bias": bias,
        f"{name}.running_mean": torch.zeros_like(bias),
        f"{name}.running_var": ones - norm.eps,
    }


def _require_same(path: Path, model: Any, network: OSNet, arrays: dict[str, Tensor]) -> None:
    """Raise WeightsFileError for a file that gives another embedding than the network with its arrays."""
    import onnxruntime

    network.load_state_dict(arrays, strict=False)
    network.eval()
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    given = session.get_inputs()[0]
    shape = [
        side if isinstance(side, int) else least for side, least in zip(given.shape, (1, 3, 208, 208), strict=True)
    ]
    images = torch.rand(shape, generator=torch.Generator().manual_seed(0))
    [theirs] = session.run(None, {given.name: images.numpy()})[:1]
    with torch.no_grad():
        ours = network(images)[..., 0, 0].numpy()
    if theirs.shape != ours.shape or np.abs(theirs - ours).max() > _CLOSE * np.abs(ours).max():
        raise WeightsFileError(
            f"weights file {path} does not fit: its embeddings are others than those of osnet_ain_x1_0 with its arrays"
        )
