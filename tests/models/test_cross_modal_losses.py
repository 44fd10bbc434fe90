"""Losses across modalities against plain loops over their definitions; gradients against finite differences."""

import math

import pytest
import torch
import torchvision
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage
from torch import nn

from models.losses import CrossModalCentreContrastLoss, PerceptualEdgeLoss, WeightedRegularisedTripletLoss
from models.losses.perceptual_edge import sobel
from models.perceptual import vgg16_stages

LABELS = st.lists(st.integers(0, 3), min_size=1, max_size=9)


def batch(labels, seed):
    embeddings = torch.randn(len(labels), 3, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return embeddings, torch.tensor(labels)


def slow_weighted_triplet(points, labels):
    terms = []
    for a, anchor in enumerate(points):
        positives = [math.dist(anchor, x) for i, x in enumerate(points) if i != a and labels[i] == labels[a]]
        negatives = [math.dist(anchor, x) for i, x in enumerate(points) if labels[i] != labels[a]]
        if positives and negatives:
            hard = sum(d * math.exp(d) for d in positives) / sum(math.exp(d) for d in positives)
            near = sum(d * math.exp(-d) for d in negatives) / sum(math.exp(-d) for d in negatives)
            terms.append(math.log(1 + math.exp(hard - near)))
    return sum(terms) / len(terms) if terms else 0.0


@given(LABELS, st.integers(0, 10**6))
def test_weighted_triplet_equals_its_definition(labels, seed):
    embeddings, pids = batch(labels, seed)
    loss = WeightedRegularisedTripletLoss()(embeddings, pids)
    assert float(loss) == pytest.approx(slow_weighted_triplet(embeddings.tolist(), labels), abs=1e-9)  # float64


def slow_centre_contrast(points, labels, infrared, nearest="class"):
    def mean(rows):
        return [sum(column) / len(rows) for column in zip(*rows, strict=True)] if rows else None

    centres = {}
    for pid in set(labels):
        members = [(x, i) for x, p, i in zip(points, labels, infrared, strict=True) if p == pid]
        visible, felt = mean([x for x, i in members if not i]), mean([x for x, i in members if i])
        centres[pid] = (visible, felt, mean([c for c in (visible, felt) if c is not None]))
    pairs = {(p, q): math.dist(centres[p][2], centres[q][2]) for p in centres for q in centres if p != q}
    terms = []
    for pid, (visible, felt, _) in centres.items():
        others = [d for (p, _), d in pairs.items() if nearest == "batch" or p == pid]
        if visible is not None and felt is not None and others:
            terms.append(math.log(1 + math.exp(math.dist(visible, felt) - min(others))))
    return sum(terms) / len(terms) if terms else 0.0


@pytest.mark.parametrize("nearest", ["class", "batch"])
@given(rows=st.lists(st.tuples(st.integers(0, 3), st.booleans()), min_size=1, max_size=12), seed=st.integers(0, 10**6))
def test_centre_contrast_equals_its_definition(nearest, rows, seed):
    labels, infrared = [pid for pid, _ in rows], [i for _, i in rows]
    embeddings, pids = batch(labels, seed)
    loss = CrossModalCentreContrastLoss(nearest)(embeddings, pids, torch.tensor(infrared))
    expected = slow_centre_contrast(embeddings.tolist(), labels, infrared, nearest)
    assert float(loss) == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("infrared", [[True] * 4, [False] * 4])
def test_a_batch_of_one_modality_costs_nothing_and_can_be_differentiated(infrared):
    embeddings = torch.randn(4, 3, requires_grad=True)
    loss = CrossModalCentreContrastLoss()(embeddings, torch.tensor([0, 0, 1, 1]), torch.tensor(infrared))
    loss.backward()
    assert loss.item() == 0.0
    assert (embeddings.grad == 0).all()


def test_a_mask_of_another_kind_is_refused():
    with pytest.raises(ValueError, match="boolean mask"):
        CrossModalCentreContrastLoss()(torch.zeros(2, 3), torch.tensor([0, 1]), torch.tensor([0, 1]))


@pytest.mark.parametrize("loss", ["triplet", "centre"])
def test_gradients_are_those_of_finite_differences(loss):
    embeddings, pids = batch([0, 0, 1, 1, 2, 2, 0, 1], 3)
    infrared = torch.tensor([False, True] * 4)

    def value(x):
        if loss == "triplet":
            return WeightedRegularisedTripletLoss()(x, pids)
        return CrossModalCentreContrastLoss()(x, pids, infrared)

    assert torch.autograd.gradcheck(value, embeddings.requires_grad_())


class TestPerceptualEdge:
    @pytest.fixture
    def stages(self):
        torch.manual_seed(0)
        return [nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.Tanh()), nn.Conv2d(4, 2, 3, stride=2)]

    def test_edges_are_those_of_scipy(self):
        """Inside the picture; at its rim scipy has other rules."""
        picture = torch.rand(1, 3, 9, 12, dtype=torch.float64)
        grey = (0.299 * picture[0, 0] + 0.587 * picture[0, 1] + 0.114 * picture[0, 2]).numpy()
        expected = torch.from_numpy(((ndimage.sobel(grey, 0) ** 2) + ndimage.sobel(grey, 1) ** 2) ** 0.5)
        torch.testing.assert_close(sobel(picture)[0, 0, 1:-1, 1:-1], expected[1:-1, 1:-1], atol=1e-6, rtol=0)

    def test_it_equals_its_definition(self, stages):
        """Plain loops over pictures, stages and positions, in float64; the pictures are as large as the maps."""
        loss = PerceptualEdgeLoss(stages).double()
        feature_map = torch.randn(2, 5, 8, 10, dtype=torch.float64)
        pictures = torch.rand(2, 3, 8, 10, dtype=torch.float64)
        expected = 0.0
        for n in range(2):
            first, second = feature_map[n].mean(dim=0), sobel(pictures[n : n + 1])[0, 0]
            maps = [((m - m.min()) / (m.max() - m.min()))[None, None].repeat(1, 3, 1, 1) for m in (first, second)]
            for stage in loss.stages:
                maps = [stage(m) for m in maps]
                _, c, h, w = maps[0].shape
                squares = sum(
                    float(maps[0][0, i, y, x] - maps[1][0, i, y, x]) ** 2
                    for i in range(c)
                    for y in range(h)
                    for x in range(w)
                )
                expected += squares / (c * h * w) / 2
        assert float(loss(feature_map, pictures)) == pytest.approx(expected, abs=1e-9)

    def test_the_gradient_reaches_the_stem_and_not_the_network(self, stages):
        loss = PerceptualEdgeLoss(stages).double()
        pictures = torch.rand(1, 3, 12, 12, dtype=torch.float64)
        feature_map = torch.randn(1, 2, 6, 6, dtype=torch.float64, requires_grad=True)
        assert torch.autograd.gradcheck(lambda x: loss(x, pictures), feature_map)
        assert not any(parameter.requires_grad for parameter in loss.parameters())
        assert not loss.train().training

    def test_it_works_in_mixed_precision(self, stages):
        """The network computes in bfloat16, which has eight bits; maps and edges do not."""
        loss, maps, pictures = PerceptualEdgeLoss(stages, 12), torch.randn(2, 5, 16, 16), torch.rand(2, 3, 32, 32)
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
            mixed = loss(maps.bfloat16(), pictures)
        assert mixed.dtype == torch.float32
        with torch.no_grad():
            assert float(mixed) == pytest.approx(float(loss(maps, pictures)), rel=0.05)

    def test_large_maps_are_made_smaller_and_none_below_eight_pixels(self):
        """What the network sees is as large as `longest` says, on its longer side."""
        seen = []

        class Watch(nn.Module):
            def forward(self, maps):
                seen.append(tuple(maps.shape[2:]))
                return maps

        for longest, size, expected in ((0, (20, 40), (20, 40)), (24, (20, 40), (12, 24)), (8, (20, 40), (8, 8))):
            PerceptualEdgeLoss([Watch()], longest)(torch.rand(1, 2, *size), torch.rand(1, 3, 80, 160))
            assert seen[-2:] == [expected] * 2
        with pytest.raises(ValueError, match="longest"):
            PerceptualEdgeLoss([Watch()], -1)

    def test_batches_of_different_length_are_refused(self, stages):
        with pytest.raises(ValueError, match="2 feature maps of 3 images"):
            PerceptualEdgeLoss(stages)(torch.zeros(2, 1, 4, 4), torch.zeros(3, 3, 4, 4))
        with pytest.raises(ValueError, match="at least one stage"):
            PerceptualEdgeLoss([])


@pytest.mark.slow
def test_the_stages_of_vgg16_are_torchvisions(tmp_path):
    """From a file of its own weights; after the last stage its features have an eighth of the sides."""
    torch.manual_seed(3)
    network = torchvision.models.vgg16().eval()
    torch.save(network.state_dict(), tmp_path / "vgg16.pth")
    stages = vgg16_stages(tmp_path / "vgg16.pth")
    pictures = torch.rand(1, 3, 32, 48)
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    expected, found = (pictures - mean[:, None, None]) / std[:, None, None], pictures
    ends = {3, 8, 15, 22}  # relu1_2, relu2_2, relu3_3, relu4_3
    with torch.no_grad():
        number = 0
        for layer, module in enumerate(network.features):
            expected = module(expected)
            if layer in ends:
                found = stages[number](found)
                torch.testing.assert_close(found, expected)
                number += 1
    assert number == 4
    assert found.shape == (1, 512, 4, 6)
    first, again, other = (vgg16_stages(seed=seed)[3][1].weight for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert float(first.detach().std()) == pytest.approx(
        (2 / (9 * 512)) ** 0.5, rel=0.01
    )  # He et al., by the channels that go out
    with pytest.raises(FileNotFoundError, match=r"none\.pth"):
        vgg16_stages(tmp_path / "none.pth")
