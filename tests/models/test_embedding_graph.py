"""A dual network as a graph, and from a graph, without ONNX: the graph computed by PyTorch."""

import numpy as np
import pytest
import torch
from torch import nn

from models.detector_graph import DetectorGraph
from models.dual_net import Branch, DualNet
from models.embedding_graph import INPUTS, OUTPUTS, EmbeddingGraph, OutsideDualNet
from models.head import BNNeck, build_pooling
from models.input_statistics import InputStatistics
from models.plate_graph import PlateGraph
from models.two_stream_graph import TwoStreamGraph

SIDE, PLATE_SIDE = 12, 8
STATISTICS = InputStatistics((0.5,) * 3, (0.5,) * 3)


def branch(seed):
    torch.manual_seed(seed)
    backbone = nn.Sequential(nn.Conv2d(3, 6, 3, stride=2), nn.BatchNorm2d(6), nn.ReLU())
    made = Branch(backbone, build_pooling("gem"), BNNeck(6, 5), None, STATISTICS)
    made(torch.rand(8, 3, SIDE, SIDE))  # running statistics that are not those of the start
    return made


def network(plate=True, fusion="concat"):
    return DualNet(branch(0), branch(1) if plate else None, fusion).eval()


def computed(dual):
    """`run` by PyTorch; inputs and outputs by name, as ONNX Runtime has them."""
    graph = EmbeddingGraph(dual)

    def run(inputs):
        assert list(inputs) == list(INPUTS[: len(inputs)])
        found = graph(*(torch.from_numpy(array) for array in inputs.values()))
        return {name: tensor.detach().numpy() for name, tensor in zip(OUTPUTS, found, strict=False)}

    return run


@pytest.mark.parametrize("fusion", ["concat", "add"])
@pytest.mark.parametrize("has", [[True], [False], [True, False, True], [False, False], [True, True]])
def test_an_outside_network_embeds_as_the_network(fusion, has):
    dual, mask = network(fusion=fusion), torch.tensor(has)
    vehicles, plates = torch.rand(len(has), 3, SIDE, SIDE), torch.rand(sum(has), 3, PLATE_SIDE, PLATE_SIDE)
    given = (vehicles, plates, mask) if any(has) else (vehicles,)
    expected = dual.embed(*given)
    found = OutsideDualNet(computed(dual), PLATE_SIDE, fusion, dual.statistics).embed(*given)
    for ours, theirs in zip(found, expected, strict=True):
        # The same operations on batches of another length: a few units in the last place of values below 1.
        np.testing.assert_allclose(ours, theirs, atol=1e-6)
    assert not found.plate[~mask].any()


def test_a_network_without_plates_ignores_those_it_is_given():
    dual = network(plate=False)
    vehicles, plates = torch.rand(2, 3, SIDE, SIDE), torch.rand(2, 3, PLATE_SIDE, PLATE_SIDE)
    found = OutsideDualNet(computed(dual), None, "concat", dual.statistics).embed(
        vehicles, plates, torch.tensor([True, True])
    )
    assert found.plate is None
    np.testing.assert_allclose(found.vehicle, dual.embed(vehicles).vehicle, atol=1e-6)


def test_a_graph_of_a_network_in_training_is_refused():
    for graph in (EmbeddingGraph, TwoStreamGraph, PlateGraph, DetectorGraph):
        with pytest.raises(RuntimeError, match="evaluation mode"):
            graph(network().train())
