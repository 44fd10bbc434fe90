"""A plate reader as one graph, and a reader whose graph is computed outside PyTorch."""

import torch
from torch import Tensor, nn

from models.embedding_graph import Run, as_array, require_evaluation
from models.input_statistics import InputStatistics
from models.plate_reader import Decoder, PlateOutput, PlateReader

INPUT, OUTPUT = "plates", "logits"


class PlateGraph(nn.Module):
    """The scores of a reader in evaluation mode.

    Raises the error of `require_evaluation`."""

    def __init__(self, network: PlateReader) -> None:
        super().__init__()
        require_evaluation(network)
        self.network = network
        self.eval()

    def forward(self, plates: Tensor) -> tuple[Tensor]:
        """Map normalised images (N, 3, H, W) to the scores (N, T, A) of characters."""
        return (self.network(plates).logits,)


class OutsidePlateReader(PlateReader):
    """Stands for a `PlateReader` whose `PlateGraph` is computed elsewhere. It reads and does nothing else.

    Args:
        run: computes the graph.
        statistics, decoder: of the network.
    """

    def __init__(self, run: Run, statistics: InputStatistics, decoder: Decoder) -> None:
        nn.Module.__init__(self)
        self.run = run
        self.statistics = statistics
        self.decoder = decoder
        self.eval()

    def forward(self, images: Tensor) -> PlateOutput:
        """The scores, computed outside; there is no sequence."""
        logits = torch.from_numpy(self.run({INPUT: as_array(images)})[OUTPUT])
        return PlateOutput(logits.new_zeros(len(images), 0, 0), logits)
