import copy

import pytest
import torch

from models.backbone import build_backbone
from models.head import BNNeck, Classifier, GeMPooling
from models.input_statistics import InputStatistics
from models.two_stream_graph import INPUTS, OutsideTwoStreamNet, TwoStreamGraph
from models.two_stream_net import TwoStreamNet, cut_backbone

STATISTICS = InputStatistics((0.5,) * 3, (0.5,) * 3)


def made(name="test_resnet", labels=3):
    torch.manual_seed(0)
    backbone = build_backbone(name)
    stem, trunk = cut_backbone(backbone, name)
    neck = BNNeck(backbone.num_features, 16)
    return TwoStreamNet(
        stem, copy.deepcopy(stem), trunk, GeMPooling(), neck, STATISTICS, Classifier(16, labels, "linear")
    )


@pytest.mark.parametrize("name", ["test_resnet", "resnet10t", "test_efficientnet", "mobilenetv3_small_050"])
def test_stem_and_trunk_are_the_network(name):
    backbone = build_backbone(name).eval()
    stem, trunk = cut_backbone(backbone, name)
    pictures = torch.rand(2, 3, 64, 48)
    torch.testing.assert_close(trunk(stem(pictures)), backbone(pictures))


def test_networks_that_cannot_be_cut_are_named():
    with pytest.raises(ValueError, match="'test_convnext' cannot be cut into a stem and a trunk"):
        cut_backbone(build_backbone("test_convnext"), "test_convnext")


def test_every_picture_goes_through_its_own_stem_in_the_order_given():
    """One at a time gives what a mixed batch gives."""
    network = made().eval()
    torch.manual_seed(1)
    for parameter in network.infrared_stem.parameters():
        parameter.data.add_(0.1 * torch.randn_like(parameter))
    pictures, infrared = torch.rand(5, 3, 32, 32), torch.tensor([True, False, False, True, False])
    together = network(pictures, infrared)
    for row in range(5):
        one = network(pictures[row : row + 1], infrared[row : row + 1])
        torch.testing.assert_close(together.embedding[row], one.embedding[0], atol=1e-5, rtol=1e-4)  # float32 sums
        assert (one.visible_stem is None) is bool(infrared[row])
    assert (len(together.visible_stem), len(together.infrared_stem)) == (3, 2)
    other = network(pictures, ~infrared).embedding
    assert not torch.allclose(together.embedding, other, atol=1e-3)
    torch.testing.assert_close(network.embed(pictures, infrared).norm(dim=1), torch.ones(5))


def test_a_step_moves_the_stems_apart_and_the_trunk_as_one():
    network = made().train()
    engine = torch.optim.SGD(network.parameters(), lr=0.1)
    pictures, infrared = torch.rand(4, 3, 32, 32), torch.tensor([True, False, False, True])
    before = [parameter.clone() for parameter in network.trunk.parameters()]
    output = network(pictures, infrared)
    torch.nn.functional.cross_entropy(output.logits, torch.tensor([0, 1, 2, 0])).backward()
    engine.step()
    pairs = zip(network.visible_stem.parameters(), network.infrared_stem.parameters(), strict=True)
    assert any(not torch.equal(visible, infrared) for visible, infrared in pairs)
    assert any(not torch.equal(old, new) for old, new in zip(before, network.trunk.parameters(), strict=True))


@pytest.mark.parametrize("infrared", [True, False])
def test_a_batch_of_one_modality_leaves_the_other_stem_alone(infrared):
    network = made().train()
    output = network(torch.rand(4, 3, 32, 32), torch.full((4,), infrared))
    output.logits.sum().backward()
    used, unused = network.visible_stem, network.infrared_stem
    if infrared:
        used, unused = unused, used
    assert all(parameter.grad is None for parameter in unused.parameters())
    assert any(parameter.grad is not None for parameter in used.parameters())


def test_wrong_masks_and_modes_are_refused():
    network = made()
    with pytest.raises(ValueError, match=r"boolean mask \(2,\)"):
        network(torch.rand(2, 3, 32, 32), torch.tensor([1, 0]))
    with pytest.raises(RuntimeError, match="call eval"):
        network.train().embed(torch.rand(2, 3, 32, 32), torch.tensor([True, False]))


def test_the_graph_gives_what_the_network_gives():
    network = made().eval()
    for parameter in network.infrared_stem.parameters():
        parameter.data.mul_(1.1)
    graph = TwoStreamGraph(network)
    pictures, infrared = torch.rand(5, 3, 32, 32), torch.tensor([True, False, False, True, False])
    outside = OutsideTwoStreamNet(
        lambda inputs: {"vehicle": graph(*(torch.from_numpy(inputs[name]) for name in INPUTS))[0].detach().numpy()},
        network.statistics,
    )
    for mask in (infrared, ~infrared, torch.zeros(5, dtype=torch.bool), torch.ones(5, dtype=torch.bool)):
        # float32 sums of batches of another length
        torch.testing.assert_close(outside.embed(pictures, mask), network.embed(pictures, mask), atol=1e-5, rtol=1e-4)
    with pytest.raises(RuntimeError, match="evaluation mode"):
        TwoStreamGraph(network.train())
