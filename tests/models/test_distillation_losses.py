"""Distillation losses against their definitions and by identities."""

import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from models.losses import (
    AttentionDistillationLoss,
    BidirectionalDistillationLoss,
    DistanceDistillationLoss,
    FeatureDistillationLoss,
)

# each loss with the shape of its two inputs behind the batch
ALL = [
    pytest.param(BidirectionalDistillationLoss(), (5,), id="logits"),
    pytest.param(FeatureDistillationLoss(), (5,), id="features"),
    pytest.param(DistanceDistillationLoss(), (5,), id="distances"),
    pytest.param(AttentionDistillationLoss(), (3, 4, 4), id="attention"),
]


def pair(shape: tuple[int, ...], seed: int, n: int = 4) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    first, second = torch.randn(2, n, *shape, generator=generator, dtype=torch.float64)
    return first, second


def slow_softmax(row: list[float], temperature: float) -> list[float]:
    exponentials = [math.exp(z / temperature) for z in row]
    return [x / sum(exponentials) for x in exponentials]


def slow_kl(p: list[float], q: list[float]) -> float:
    return sum(a * math.log(a / b) for a, b in zip(p, q, strict=True))


@given(seed=st.integers(0, 999), temperature=st.sampled_from([0.5, 1.0, 4.0, 20.0]))
@settings(max_examples=20, deadline=None)
def test_bidirectional_equals_the_definition(seed: int, temperature: float) -> None:
    vehicle, plate = pair((5,), seed)
    total = 0.0
    for z1, z2 in zip((3 * vehicle).tolist(), (3 * plate).tolist(), strict=True):
        g1, g2 = slow_softmax(z1, temperature), slow_softmax(z2, temperature)
        total += 0.5 * temperature**2 * slow_kl(g1, g2) + 0.5 * temperature**2 * slow_kl(g2, g1)
    loss = BidirectionalDistillationLoss(temperature)(3 * vehicle, 3 * plate)
    assert loss.item() == pytest.approx(total / len(vehicle), rel=1e-6, abs=1e-9)


def test_bidirectional_equals_torch_kl_with_probabilities_as_target() -> None:
    vehicle, plate = pair((5,), seed=1)
    g1, g2 = F.softmax(vehicle / 4, dim=1), F.softmax(plate / 4, dim=1)
    forward = F.kl_div(g2.log(), g1, reduction="batchmean")
    backward = F.kl_div(g1.log(), g2, reduction="batchmean")
    assert BidirectionalDistillationLoss(4.0)(vehicle, plate).item() == pytest.approx((8 * (forward + backward)).item())


def test_bidirectional_tends_to_squared_logit_differences_as_it_softens() -> None:
    """For T -> infinity, T^2 KL -> sum_c ((z1 - z2)_c - their mean)^2 / (2 C) in either direction."""
    vehicle, plate = pair((5,), seed=2)
    difference = vehicle - plate
    centred = difference - difference.mean(dim=1, keepdim=True)
    expected = centred.square().sum(dim=1).mean().item() / (2 * 5)
    # the next term of the series is of the order 1 / T
    assert BidirectionalDistillationLoss(1e4)(vehicle, plate).item() == pytest.approx(expected, rel=1e-3)


def test_bidirectional_ignores_a_shift_of_the_logits_and_survives_large_ones() -> None:
    vehicle, plate = (x.float() for x in pair((5,), seed=3))
    loss = BidirectionalDistillationLoss(2.0)
    assert loss(vehicle + 7, plate - 3).item() == pytest.approx(loss(vehicle, plate).item(), rel=1e-4)
    extreme = torch.tensor([[500.0, 0.0], [0.0, 500.0]], requires_grad=True)
    loss(extreme, extreme.detach().flip(1)).backward()
    assert extreme.grad is not None
    assert extreme.grad.isfinite().all()


def test_feature_distillation_equals_the_cosine() -> None:
    vehicle, plate = pair((5,), seed=4)
    expected = (2 - 2 * F.cosine_similarity(vehicle, plate)).mean().item()
    assert FeatureDistillationLoss()(vehicle, 3 * plate).item() == pytest.approx(expected)


def test_distance_distillation_equals_plain_loops() -> None:
    vehicle, plate = pair((5,), seed=5)
    plate = plate[:, :3] * torch.tensor([0.1, 1.0, 9.0], dtype=torch.float64)  # another length, larger gaps
    pairs = [(i, k) for i in range(4) for k in range(4) if i != k]
    tables = []
    for points in (vehicle.tolist(), plate.tolist()):
        distances = [math.dist(points[i], points[k]) for i, k in pairs]
        tables.append([d * len(distances) / sum(distances) for d in distances])
    gaps = [abs(a - b) for a, b in zip(*tables, strict=True)]
    expected = sum(g * g / 2 if g < 1 else g - 0.5 for g in gaps) / len(gaps)
    assert DistanceDistillationLoss()(vehicle, plate).item() == pytest.approx(expected)


def test_distance_distillation_ignores_scale_and_rotation() -> None:
    vehicle, _ = pair((5,), seed=6)
    rotation = torch.linalg.qr(pair((5,), seed=7, n=5)[0]).Q
    assert DistanceDistillationLoss()(vehicle, 4 * vehicle @ rotation).item() == pytest.approx(0.0, abs=1e-12)


def test_attention_distillation_equals_plain_loops() -> None:
    vehicle, plate = pair((3, 2, 4), seed=8, n=2)
    total = 0.0
    for a1, a2 in zip(vehicle.tolist(), plate.tolist(), strict=True):
        q1, q2 = ([sum(a[c][y][x] ** 2 for c in range(3)) for y in range(2) for x in range(4)] for a in (a1, a2))
        total += sum((u / math.hypot(*q1) - v / math.hypot(*q2)) ** 2 for u, v in zip(q1, q2, strict=True))
    assert AttentionDistillationLoss()(vehicle, plate).item() == pytest.approx(total / 2)


def test_attention_distillation_brings_maps_to_the_coarser_grid() -> None:
    """The energies of a 4 x 4 map are averaged over blocks of 2 x 2 when the other map is 2 x 2."""
    fine, coarse = pair((3, 4, 4), seed=9)[0], pair((6, 2, 2), seed=10)[0]
    energy = fine.square().sum(dim=1).reshape(4, 2, 2, 2, 2).mean(dim=(2, 4))  # blocks (row, column)
    blocks = energy.flatten(1)
    other = coarse.square().sum(dim=1).flatten(1)
    expected = (F.normalize(blocks) - F.normalize(other)).square().sum(dim=1).mean().item()
    assert AttentionDistillationLoss()(fine, coarse).item() == pytest.approx(expected)


@pytest.mark.parametrize(("loss", "shape"), ALL)
def test_identities_of_every_distillation(loss: nn.Module, shape: tuple[int, ...]) -> None:
    """Zero for equal inputs, above zero else, symmetric, and both sides learn."""
    first, second = (x.requires_grad_() for x in pair(shape, seed=11))
    value = loss(first, second)
    assert value.item() > 0
    assert loss(second, first).item() == pytest.approx(value.item())
    assert loss(first, first.clone()).item() == pytest.approx(0.0, abs=1e-12)
    value.backward()
    assert first.grad is not None
    assert second.grad is not None
    assert (first.grad != 0).any()
    assert (second.grad != 0).any()


@pytest.mark.parametrize(("loss", "shape"), ALL)
def test_gradient_equals_finite_differences(loss: nn.Module, shape: tuple[int, ...]) -> None:
    first, second = (x.requires_grad_() for x in pair(shape, seed=12, n=3))
    assert torch.autograd.gradcheck(loss, (first, second))


@pytest.mark.parametrize(("loss", "shape"), ALL)
def test_gradients_are_finite_for_identical_pictures(loss: nn.Module, shape: tuple[int, ...]) -> None:
    first = torch.ones(4, *shape, requires_grad=True)
    second = torch.full((4, *shape), 2.0, requires_grad=True)
    loss(first, second).backward()
    assert first.grad is not None
    assert first.grad.isfinite().all()
    assert second.grad is not None
    assert second.grad.isfinite().all()


@pytest.mark.parametrize(("loss", "shape"), ALL)
@pytest.mark.parametrize("n", [0, 1])
def test_no_and_single_rows(loss: nn.Module, shape: tuple[int, ...], n: int) -> None:
    first, second = (x.requires_grad_() for x in pair(shape, seed=13, n=n))
    value = loss(first, second)
    value.backward()
    assert value.isfinite()
    if n == 0:
        assert value.item() == 0.0


@pytest.mark.parametrize(("loss", "shape"), ALL)
def test_half_precision_gives_a_float32_loss(loss: nn.Module, shape: tuple[int, ...]) -> None:
    first, second = (x.bfloat16() for x in pair(shape, seed=14))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        value = loss(first, second)
    assert value.dtype == torch.float32
    assert value.item() == pytest.approx(loss(first.float(), second.float()).item())


@pytest.mark.parametrize(("loss", "shape"), ALL)
def test_other_numbers_of_rows_are_refused(loss: nn.Module, shape: tuple[int, ...]) -> None:
    first, second = pair(shape, seed=15)
    with pytest.raises(ValueError, match="4"):
        loss(first, second[:3])


def test_features_of_other_lengths_and_a_temperature_of_zero_are_refused() -> None:
    with pytest.raises(ValueError, match=r"one shape, got \(2, 4\) and \(2, 3\)"):
        FeatureDistillationLoss()(torch.ones(2, 4), torch.ones(2, 3))
    with pytest.raises(ValueError, match="temperature"):
        BidirectionalDistillationLoss(0.0)
