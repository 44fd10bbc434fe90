"""Metric losses against plain loops over explicit pairs, triplets and quadruplets."""

import itertools
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pytorch_metric_learning import losses as library
from torch import Tensor, nn

from models.losses import (
    AdaptiveSparsePairwiseLoss,
    BatchHardTripletLoss,
    CircleLoss,
    ContrastiveLoss,
    QuadrupletLoss,
    build_metric_loss,
)
from models.losses.distance import pairwise_distance


def name_of(loss: nn.Module) -> str:
    return type(loss).__name__


PLAIN = [BatchHardTripletLoss(), BatchHardTripletLoss(None), QuadrupletLoss(), ContrastiveLoss()]
WEIGHTED = [CircleLoss(), AdaptiveSparsePairwiseLoss()]  # with factors that have no gradient
ALL = [*PLAIN, *WEIGHTED]
LABELS = st.lists(st.integers(0, 3), min_size=1, max_size=9)


def batch(labels: list[int], seed: int) -> tuple[Tensor, Tensor]:
    embeddings = torch.randn(len(labels), 3, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return 0.4 * embeddings, torch.tensor(labels)


def mean(values: list[float]) -> float:
    return sum(values) / len(values) if values else 0.0


def slow_triplet(points: list[list[float]], labels: list[int], margin: float | None) -> float:
    """Hardest positive and negative of each anchor that has both."""
    hinges = []
    for a, anchor in enumerate(points):
        positives = [math.dist(anchor, x) for i, x in enumerate(points) if i != a and labels[i] == labels[a]]
        negatives = [math.dist(anchor, x) for i, x in enumerate(points) if labels[i] != labels[a]]
        if positives and negatives:
            gap = max(positives) - min(negatives)
            hinges.append(math.log1p(math.exp(gap)) if margin is None else max(0.0, margin + gap))
    return mean(hinges)


def slow_quadruplet(points: list[list[float]], labels: list[int], margin: float, other_margin: float) -> float:
    """The triplet term, and for each anchor its hardest positive against each pair of two other vehicles."""
    hinges = []
    for a, anchor in enumerate(points):
        positives = [math.dist(anchor, x) for i, x in enumerate(points) if i != a and labels[i] == labels[a]]
        others = [
            math.dist(points[i], points[k])
            for i, k in itertools.combinations(range(len(points)), 2)
            if len({labels[a], labels[i], labels[k]}) == 3
        ]
        if positives and others:
            hinges.append(max(0.0, other_margin + max(positives) - min(others)))
    return slow_triplet(points, labels, margin) + mean(hinges)


def slow_contrastive(points: list[list[float]], labels: list[int], margin: float) -> float:
    """Mean over pairs that still cost something, for each of the two kinds."""
    points = [[x / math.hypot(*point) for x in point] for point in points]
    positive, negative = [], []
    for i, k in itertools.combinations(range(len(points)), 2):
        distance = math.dist(points[i], points[k])
        (positive if labels[i] == labels[k] else negative).append(
            distance if labels[i] == labels[k] else margin - distance
        )
    return mean([x for x in positive if x > 0]) + mean([x for x in negative if x > 0])


@given(labels=LABELS, seed=st.integers(0, 999), margin=st.sampled_from([None, 0.0, 0.3, 1.0]))
@settings(max_examples=40, deadline=None)
def test_triplet_equals_plain_loops(labels: list[int], seed: int, margin: float | None) -> None:
    embeddings, tensor = batch(labels, seed)
    expected = slow_triplet(embeddings.tolist(), labels, margin)
    assert BatchHardTripletLoss(margin)(embeddings, tensor).item() == pytest.approx(expected)


@given(labels=LABELS, seed=st.integers(0, 999), margins=st.sampled_from([(0.3, 0.15), (1.0, 1.0), (0.2, 0.0)]))
@settings(max_examples=40, deadline=None)
def test_quadruplet_equals_plain_loops(labels: list[int], seed: int, margins: tuple[float, float]) -> None:
    embeddings, tensor = batch(labels, seed)
    expected = slow_quadruplet(embeddings.tolist(), labels, *margins)
    assert QuadrupletLoss(*margins)(embeddings, tensor).item() == pytest.approx(expected)


@given(labels=LABELS, seed=st.integers(0, 999), margin=st.sampled_from([0.3, 1.0, 2.0]))
@settings(max_examples=40, deadline=None)
def test_contrastive_equals_plain_loops(labels: list[int], seed: int, margin: float) -> None:
    embeddings, tensor = batch(labels, seed)
    expected = slow_contrastive(embeddings.tolist(), labels, margin)
    assert ContrastiveLoss(margin)(embeddings, tensor).item() == pytest.approx(expected)


@pytest.mark.parametrize("seed", range(3))
def test_contrastive_equals_the_library(seed: int) -> None:
    embeddings, labels = batch([0, 0, 1, 1, 2, 3, 3, 3], seed)
    theirs = library.ContrastiveLoss(pos_margin=0.0, neg_margin=1.2)
    assert ContrastiveLoss(1.2)(embeddings, labels).item() == pytest.approx(theirs(embeddings, labels).item())


def test_quadruplet_by_hand() -> None:
    """Vehicle 0 at 0 and 1, vehicle 1 at 3, vehicle 2 at 3.5; margins 3 and 1.

    A: d(a, p) = 1, nearest negatives at 3 and 2: hinges 1 and 2, mean 1.5. B: the pair (3, 3.5) is 0.5 apart: hinge
    1 + 1 - 0.5 = 1.5 twice. Vehicles 1 and 2 have no positive. Sum 3."""
    embeddings = torch.tensor([[0.0], [1.0], [3.0], [3.5]])
    assert QuadrupletLoss(3.0, 1.0)(embeddings, torch.tensor([0, 0, 1, 2])).item() == pytest.approx(3.0)


@pytest.mark.parametrize("loss", ALL, ids=name_of)
@pytest.mark.parametrize("labels", [[], [5], [1, 2, 3]], ids=["empty", "single", "no positive"])
def test_without_a_valid_tuple_the_loss_can_still_be_differentiated(loss: nn.Module, labels: list[int]) -> None:
    embeddings = (2 * torch.eye(4)[: len(labels)]).requires_grad_()  # apart by more than the margin
    value = loss(embeddings, torch.tensor(labels, dtype=torch.int64))
    value.backward()
    assert value.item() == 0.0
    assert embeddings.grad is not None
    assert (embeddings.grad == 0).all()


@pytest.mark.parametrize("loss", ALL, ids=name_of)
def test_one_vehicle_alone_gives_a_finite_loss(loss: nn.Module) -> None:
    embeddings = torch.randn(4, 3, generator=torch.Generator().manual_seed(0), requires_grad=True)
    value = loss(embeddings, torch.zeros(4, dtype=torch.int64))
    value.backward()
    assert value.isfinite()
    assert embeddings.grad is not None
    assert embeddings.grad.isfinite().all()


@pytest.mark.parametrize("loss", ALL, ids=name_of)
@pytest.mark.parametrize("size", [8, 32], ids=["8 rows", "32 rows"])  # cdist changes its way above 25 rows
def test_gradients_are_finite_for_identical_pictures(loss: nn.Module, size: int) -> None:
    embeddings = torch.ones(size, 5).mul(0.3).requires_grad_()
    loss(embeddings, torch.arange(size) % 4).backward()
    assert embeddings.grad is not None
    assert embeddings.grad.isfinite().all()


@pytest.mark.parametrize("loss", PLAIN, ids=name_of)
def test_gradient_equals_finite_differences(loss: nn.Module) -> None:
    embeddings, labels = batch([0, 0, 1, 1, 2, 2], seed=7)
    assert torch.autograd.gradcheck(lambda x: loss(x, labels), embeddings.requires_grad_())


@pytest.mark.parametrize("loss", ALL, ids=name_of)
def test_half_precision_gives_a_float32_loss(loss: nn.Module) -> None:
    embeddings, labels = batch([0, 0, 1, 1, 2, 2], seed=8)
    half = embeddings.bfloat16()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        value = loss(half, labels)
    assert value.dtype == torch.float32
    assert value.item() == pytest.approx(loss(half.float(), labels).item())


def test_small_distances_are_exact_in_a_large_batch() -> None:
    """1e-4 apart at a norm of 10: |x|^2 + |y|^2 - 2 x.y would leave no correct digit of the distance in float32."""
    embeddings = torch.zeros(40, 2)
    embeddings[:, 0] = 10.0
    embeddings[1, 1] = 1e-4
    embeddings.requires_grad_()
    distance = pairwise_distance(embeddings)[0, 1]
    distance.backward()
    assert distance.item() == pytest.approx(1e-4)
    assert embeddings.grad is not None
    assert embeddings.grad[1].tolist() == pytest.approx([0.0, 1.0])
    assert embeddings.grad[0].tolist() == pytest.approx([0.0, -1.0])


def test_registry_builds_each_loss_with_its_options() -> None:
    triplet = build_metric_loss("triplet", margin=None)
    assert isinstance(triplet, BatchHardTripletLoss)
    assert triplet.margin is None
    assert isinstance(build_metric_loss("quadruplet", margin=1.0, other_margin=0.5), QuadrupletLoss)
    assert isinstance(build_metric_loss("contrastive"), ContrastiveLoss)
    embeddings = torch.randn(4, 3, requires_grad=True)
    nothing = build_metric_loss("none")(embeddings, torch.tensor([0, 0, 1, 1]))
    nothing.backward()
    assert nothing.item() == 0.0
    with pytest.raises(ValueError, match=r"'centre'; known: adasp, circle, contrastive, none, quadruplet, triplet"):
        build_metric_loss("centre")


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("triplet", {"margin": -0.1}),
        ("quadruplet", {"margin": -0.1}),
        ("quadruplet", {"margin": 0.1, "other_margin": 0.2}),
        ("contrastive", {"margin": 0.0}),
        ("circle", {"margin": 1.0}),
        ("circle", {"scale": 0.0}),
        ("adasp", {"temperature": 0.0}),
    ],
)
def test_values_out_of_range_are_refused(name: str, options: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=r"margin|temperature"):
        build_metric_loss(name, **options)
