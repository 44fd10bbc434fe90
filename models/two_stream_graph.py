"""A two-stream network as one graph of fixed operations, and a network whose graph is computed outside PyTorch."""

from typing import Any

import torch
from torch import Tensor, nn

from models.embedding_graph import Run, as_array, require_evaluation
from models.input_statistics import InputStatistics
from models.two_stream_net import TwoStreamNet

INPUTS = ("pictures", "infrared")
OUTPUTS = ("vehicle",)


class TwoStreamGraph(nn.Module):
    """The embeddings of a `TwoStreamNet` without a step that depends on how many images are infrared.

    Both stems see every image, and each image goes on with the map of its own stem.

    Raises the error of `require_evaluation`."""

    def __init__(self, network: TwoStreamNet) -> None:
        super().__init__()
        require_evaluation(network)
        self.network = network
        self.eval()

    def forward(self, pictures: Tensor, infrared: Tensor) -> Any:  # named as the file's input
        """Map images (N, 3, H, W) and infrared (N,) bool to L2-normalised embeddings (N, D), in a tuple."""
        seen, felt = self.network.visible_stem(pictures), self.network.infrared_stem(pictures)
        maps = torch.where(infrared[:, None, None, None], felt, seen)
        return (self.network.compared(self.network.neck(self.network.pooling(self.network.trunk(maps)))[1], pictures),)


class OutsideTwoStreamNet(nn.Module):
    """Stands for a `TwoStreamNet` where its `TwoStreamGraph` is computed elsewhere. It embeds and does nothing else.

    Args:
        run: computes the graph.
        statistics: of the network's input.
    """

    def __init__(self, run: Run, statistics: InputStatistics) -> None:
        super().__init__()
        self.statistics = statistics
        self.run = run
        self.eval()

    def embed(self, images: Tensor, infrared: Tensor) -> Tensor:
        """As `TwoStreamNet.embed`, computed outside; embeddings are on the CPU."""
        return torch.from_numpy(self.run({"pictures": as_array(images), "infrared": as_array(infrared)})["vehicle"])
