"""A dual network as one graph of fixed inputs and outputs, and a network whose graph is computed outside PyTorch."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from models.dual_net import DualEmbedding, DualNet, Fusion, fuse_embeddings
from models.input_statistics import InputStatistics

Run = Callable[[Mapping[str, NDArray[Any]]], Mapping[str, NDArray[Any]]]
"""Computes a graph: its inputs by name to its outputs by name, the first axis of each N."""

INPUTS = ("vehicles", "plates", "has_plate")
OUTPUTS = ("vehicle", "plate")


class EmbeddingGraph(nn.Module):
    """The embeddings of a `DualNet` without a step that depends on how many vehicles have a plate.

    A graph of ONNX has fixed operations: the plate branch runs for all N rows, and rows without a plate are put to
    zero afterwards. A network without a plate branch has the input `vehicles` and the output `vehicle` alone.

    Raises the error of `require_evaluation`."""

    def __init__(self, network: DualNet) -> None:
        super().__init__()
        require_evaluation(network)
        self.vehicle = network.vehicle
        self.plate = network.plate
        self.eval()

    def forward(self, vehicles: Tensor, plates: Tensor | None = None, has_plate: Tensor | None = None) -> Any:
        """Map vehicles (N, 3, H, W), plates (N, 3, h, w), anything finite where there is none, and has_plate (N,) bool
        to L2-normalised embeddings (N, D) and (N, D'), the latter zero where there is no plate."""
        vehicle = F.normalize(self.vehicle(vehicles).embedding)
        if self.plate is None:
            return (vehicle,)
        assert plates is not None
        assert has_plate is not None
        plate = F.normalize(self.plate(plates).embedding)
        return vehicle, torch.where(has_plate[:, None], plate, torch.zeros_like(plate))


class OutsideDualNet(nn.Module):
    """Stands for a `DualNet` where its `EmbeddingGraph` is computed elsewhere. It embeds and does nothing else.

    Args:
        run: computes the graph.
        plate_side: pixels of the plate images; None for a network without a plate branch.
        fusion: of the network.
        statistics: of the network's input, as `DualNet.statistics`.
    """

    def __init__(
        self, run: Run, plate_side: int | None, fusion: Fusion, statistics: tuple[InputStatistics, ...]
    ) -> None:
        super().__init__()
        self.statistics = statistics
        self.run = run
        self.plate_side = plate_side
        self.fusion = fusion
        self.eval()

    def embed(
        self, vehicle_images: Tensor, plate_images: Tensor | None = None, has_plate: Tensor | None = None
    ) -> DualEmbedding:
        """As `DualNet.embed`, computed outside; embeddings are on the CPU."""
        inputs = {"vehicles": as_array(vehicle_images)}
        if self.plate_side is not None:
            count = len(vehicle_images)
            mask = np.zeros(count, bool) if has_plate is None else as_array(has_plate)
            plates = np.zeros((count, 3, self.plate_side, self.plate_side), np.float32)
            if plate_images is not None:
                plates[mask] = as_array(plate_images)
            inputs |= {"plates": plates, "has_plate": mask}
        found = {name: torch.from_numpy(array) for name, array in self.run(inputs).items()}
        vehicle = found["vehicle"]
        if self.plate_side is None:
            return DualEmbedding(vehicle, None, vehicle)
        return DualEmbedding(
            vehicle,
            found["plate"],
            fuse_embeddings(vehicle, found["plate"], torch.from_numpy(inputs["has_plate"]), self.fusion),
        )


def as_array(tensor: Tensor) -> NDArray[Any]:
    """What a graph that is computed outside takes."""
    return np.ascontiguousarray(tensor.cpu().numpy())


def require_evaluation(network: nn.Module) -> None:
    """Raise RuntimeError for a network in training mode: its BatchNorm would go by the batch."""
    if network.training:
        raise RuntimeError("a graph needs a network in evaluation mode: call eval() first")
