"""Classification losses against plain loops and against pytorch-metric-learning."""

import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from pytorch_metric_learning import losses as library
from torch import Tensor, nn

from models.losses import ArcFaceLoss, CosFaceLoss, CrossEntropyLoss, FocalLoss, build_classification_loss


def name_of(loss: nn.Module) -> str:
    return type(loss).__name__


ALL = [CrossEntropyLoss(), CrossEntropyLoss(0.1), FocalLoss(), FocalLoss(0.5), ArcFaceLoss(), CosFaceLoss()]


def scores_and_labels(seed: int, n: int = 6, c: int = 5) -> tuple[Tensor, Tensor]:
    """Float64 scores in (-1, 1), valid as logits and as cosines."""
    generator = torch.Generator().manual_seed(seed)
    scores = 1.9 * torch.rand(n, c, generator=generator, dtype=torch.float64) - 0.95
    return scores, torch.randint(c, (n,), generator=generator)


def slow_softmax(row: list[float]) -> list[float]:
    exponentials = [math.exp(x) for x in row]
    return [x / sum(exponentials) for x in exponentials]


@given(seed=st.integers(0, 999), smoothing=st.sampled_from([0.0, 0.1, 0.5]))
@settings(max_examples=20, deadline=None)
def test_cross_entropy_equals_the_definition(seed: int, smoothing: float) -> None:
    logits, labels = scores_and_labels(seed)
    total = 0.0
    for row, label in zip((4 * logits).tolist(), labels.tolist(), strict=True):
        for c, p in enumerate(slow_softmax(row)):
            total -= ((1 - smoothing) * (c == label) + smoothing / len(row)) * math.log(p)
    assert CrossEntropyLoss(smoothing)(4 * logits, labels).item() == pytest.approx(total / len(labels))


@given(seed=st.integers(0, 999), gamma=st.sampled_from([0.0, 0.5, 1.0, 2.0, 5.0]))
@settings(max_examples=20, deadline=None)
def test_focal_equals_the_definition(seed: int, gamma: float) -> None:
    logits, labels = scores_and_labels(seed)
    total = 0.0
    for row, label in zip((4 * logits).tolist(), labels.tolist(), strict=True):
        p = slow_softmax(row)[label]
        total -= (1 - p) ** gamma * math.log(p)
    assert FocalLoss(gamma)(4 * logits, labels).item() == pytest.approx(total / len(labels))


@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0])
def test_focal_gradient_is_finite_for_certain_and_for_hopeless_pictures(gamma: float) -> None:
    logits = torch.tensor([[200.0, 0.0, 0.0], [-200.0, 0.0, 0.0]], requires_grad=True)
    loss = FocalLoss(gamma)(logits, torch.zeros(2, dtype=torch.int64))
    loss.backward()
    # certain: 0; hopeless: p = e^-200 / 2, -log p = 200 + log 2
    assert loss.item() == pytest.approx((200 + math.log(2)) / 2)
    assert logits.grad is not None
    assert logits.grad.isfinite().all()


def test_focal_with_one_label_is_zero() -> None:
    logits = torch.randn(3, 1, requires_grad=True)
    loss = FocalLoss()(logits, torch.zeros(3, dtype=torch.int64))
    loss.backward()
    assert loss.item() == 0.0
    assert logits.grad is not None
    assert logits.grad.isfinite().all()


@given(seed=st.integers(0, 999), margin=st.sampled_from([0.0, 0.3, 0.5, 1.2]))
@settings(max_examples=20, deadline=None)
def test_arcface_equals_the_definition_by_angles(seed: int, margin: float) -> None:
    cosines, labels = scores_and_labels(seed)
    total = 0.0
    for row, label in zip(cosines.tolist(), labels.tolist(), strict=True):
        angle = math.acos(row[label])
        shifted = math.cos(angle + margin) if angle + margin <= math.pi else row[label] - margin * math.sin(margin)
        total -= math.log(slow_softmax([10 * (shifted if c == label else x) for c, x in enumerate(row)])[label])
    assert ArcFaceLoss(margin, 10.0)(cosines, labels).item() == pytest.approx(total / len(labels))


@given(seed=st.integers(0, 999), margin=st.sampled_from([0.0, 0.35, 1.0]))
@settings(max_examples=20, deadline=None)
def test_cosface_equals_the_definition(seed: int, margin: float) -> None:
    cosines, labels = scores_and_labels(seed)
    total = 0.0
    for row, label in zip(cosines.tolist(), labels.tolist(), strict=True):
        total -= math.log(slow_softmax([10 * (x - margin * (c == label)) for c, x in enumerate(row)])[label])
    assert CosFaceLoss(margin, 10.0)(cosines, labels).item() == pytest.approx(total / len(labels))


@pytest.mark.parametrize("seed", range(5))
def test_margin_losses_equal_the_library_with_the_same_rows(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    embeddings, rows = torch.randn(8, 4, generator=generator), torch.randn(5, 4, generator=generator)
    labels = torch.randint(5, (8,), generator=generator)
    cosines = F.normalize(embeddings) @ F.normalize(rows).T
    arcface = library.ArcFaceLoss(5, 4, margin=math.degrees(0.5), scale=30)
    cosface = library.CosFaceLoss(5, 4, margin=0.35, scale=30)
    for ours, theirs in ((ArcFaceLoss(), arcface), (CosFaceLoss(), cosface)):
        theirs.W.data = rows.T.clone()
        # float32 cosines times a scale of 30, and the library's way over acos
        assert ours(cosines, labels).item() == pytest.approx(theirs(embeddings, labels).item(), rel=1e-5, abs=1e-5)


@pytest.mark.parametrize("cosine", [1.0, -1.0])
def test_arcface_gradient_is_finite_at_angles_0_and_pi(cosine: float) -> None:
    cosines = torch.tensor([[cosine, 0.2]], requires_grad=True)
    ArcFaceLoss()(cosines, torch.tensor([0])).backward()
    assert cosines.grad is not None
    assert cosines.grad.isfinite().all()


def test_arcface_falls_as_the_cosine_of_the_label_rises() -> None:
    cosines = torch.linspace(-1, 1, 101)
    loss = [ArcFaceLoss()(torch.tensor([[c, 0.2]]), torch.tensor([0])).item() for c in cosines]
    assert loss == sorted(loss, reverse=True)


@pytest.mark.parametrize("loss", ALL, ids=name_of)
def test_gradient_equals_finite_differences(loss: nn.Module) -> None:
    scores, labels = scores_and_labels(3)
    assert torch.autograd.gradcheck(lambda x: loss(x, labels), scores.requires_grad_())


@pytest.mark.parametrize("loss", ALL, ids=name_of)
def test_half_precision_gives_a_float32_loss(loss: nn.Module) -> None:
    scores, labels = scores_and_labels(4)
    half = scores.bfloat16()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        value = loss(half, labels)
    assert value.dtype == torch.float32
    assert value.item() == pytest.approx(loss(half.float(), labels).item())


@pytest.mark.parametrize("loss", ALL, ids=name_of)
def test_an_empty_batch_gives_zero_that_can_be_differentiated(loss: nn.Module) -> None:
    scores = torch.zeros(0, 5, requires_grad=True)
    value = loss(scores, torch.zeros(0, dtype=torch.int64))
    value.backward()
    assert value.item() == 0.0


def test_registry_builds_each_loss_with_its_options() -> None:
    loss = build_classification_loss("arcface", margin=0.2, scale=16.0)
    assert isinstance(loss, ArcFaceLoss)
    assert (loss.margin, loss.scale, loss.classifier_kind) == (0.2, 16.0, "cosine")
    kinds = {name: build_classification_loss(name).classifier_kind for name in ("cross_entropy", "focal", "cosface")}
    assert kinds == {"cross_entropy": "linear", "focal": "linear", "cosface": "cosine"}
    with pytest.raises(ValueError, match=r"'sphereface'; known: arcface, cosface, cross_entropy, focal"):
        build_classification_loss("sphereface")
    with pytest.raises(TypeError, match="gamma"):
        build_classification_loss("cross_entropy", gamma=2)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("cross_entropy", {"label_smoothing": 1.0}),
        ("focal", {"gamma": -1.0}),
        ("arcface", {"margin": -0.1}),
        ("arcface", {"scale": 0.0}),
        ("cosface", {"margin": -0.1}),
        ("cosface", {"scale": -1.0}),
    ],
)
def test_values_out_of_range_are_refused(name: str, options: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(options))):
        build_classification_loss(name, **options)
