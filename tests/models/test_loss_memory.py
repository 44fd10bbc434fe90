"""Metric losses with remembered embeddings against NumPy loops, and what a memory keeps."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from models.losses import BatchHardTripletLoss, CircleLoss, ContrastiveLoss
from models.losses.memory import EmbeddingMemory, Remembered, taken_from

LABELS = st.lists(st.integers(0, 3), min_size=1, max_size=6)
LOSSES = [BatchHardTripletLoss(0.3), BatchHardTripletLoss(None), ContrastiveLoss(1.0), CircleLoss(0.25, 10.0)]


def rows(labels, seed):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(len(labels), 3, generator=generator, dtype=torch.float64), torch.tensor(labels)


def unit(x):
    return x / np.linalg.norm(x)


def pairs(points, labels, memory, memory_labels, value):
    """Of each image of the batch: the values of its positives and of its negatives, remembered ones included."""
    others = [*zip(points, labels, range(len(points)), strict=True)]
    others += [(x, label, None) for x, label in zip(memory, memory_labels, strict=True)]
    for a, anchor in enumerate(points):
        found = [(label == labels[a], value(anchor, x)) for x, label, place in others if place != a]
        yield [v for same, v in found if same], [v for same, v in found if not same]


def slow(loss, *sets):
    if isinstance(loss, ContrastiveLoss):
        found = list(pairs(*sets, lambda x, y: np.linalg.norm(unit(x) - unit(y))))
        pulls = [d for positives, _ in found for d in positives if d > 0]
        pushes = [loss.margin - d for _, negatives in found for d in negatives if d < loss.margin]
        return sum(sum(each) / len(each) for each in (pulls, pushes) if each)
    values = []
    if isinstance(loss, BatchHardTripletLoss):
        for positives, negatives in pairs(*sets, lambda x, y: np.linalg.norm(x - y)):
            if positives and negatives:
                gap = max(positives) - min(negatives)
                values.append(math.log1p(math.exp(gap)) if loss.margin is None else max(0.0, loss.margin + gap))
    else:
        m, scale = loss.margin, loss.scale
        for positives, negatives in pairs(*sets, lambda x, y: unit(x) @ unit(y)):
            if positives and negatives:
                far = sum(math.exp(-scale * max(0, 1 + m - s) * (s - 1 + m)) for s in positives)
                values.append(math.log1p(far * sum(math.exp(scale * max(0, s + m) * (s - m)) for s in negatives)))
    return sum(values) / len(values) if values else 0.0


@pytest.mark.parametrize("loss", LOSSES, ids=lambda loss: type(loss).__name__)
@given(labels=LABELS, remembered=LABELS, seed=st.integers(0, 999))
@settings(max_examples=25, deadline=None)
def test_remembered_embeddings_are_others_and_no_anchors(loss, labels, remembered, seed):
    (embeddings, tensor), memory = rows(labels, seed), Remembered(*rows(remembered, seed + 1))
    expected = slow(loss, embeddings.numpy(), labels, memory.embeddings.numpy(), remembered)
    assert loss(embeddings, tensor, memory).item() == pytest.approx(expected)


@pytest.mark.parametrize("loss", LOSSES, ids=lambda loss: type(loss).__name__)
def test_an_empty_memory_is_no_memory(loss):
    embeddings, labels = rows([0, 0, 1, 1], 3)
    empty = Remembered(torch.zeros(0, 3), torch.zeros(0, dtype=torch.int64))
    assert loss(embeddings, labels, empty).item() == loss(embeddings, labels).item()


def test_a_memory_keeps_the_newest_of_each_branch():
    memory, seen = EmbeddingMemory(5, 0.0), []
    for step in range(4):
        embeddings, labels = rows([step, step + 1], step)
        before = memory.exchange("vehicle", embeddings.requires_grad_(), labels)
        expected = [label for pair in seen for label in pair][-5:]
        assert ([] if before is None else before.labels.tolist()) == expected
        assert before is None or not before.embeddings.requires_grad
        seen.append(labels.tolist())
    assert memory.exchange("plate", *rows([7, 8], 0)) is None


def test_a_memory_goes_on_where_it_was_and_comes_out_of_the_state():
    first, second = EmbeddingMemory(3, 0.0), EmbeddingMemory(3, 0.0)
    embeddings, labels = rows([4, 5, 6, 4], 0)
    first.exchange("vehicle", embeddings, labels)
    state = {"layer/exp_avg": np.zeros(2, np.float32), **first.state()}
    second.begin(taken_from(state))
    assert list(state) == ["layer/exp_avg"]
    held = second.exchange("vehicle", embeddings, labels)
    assert held.labels.tolist() == [5, 6, 4]
    assert held.labels.dtype == torch.int64
    torch.testing.assert_close(held.embeddings, embeddings[1:].float())
    second.begin({})
    assert second.exchange("vehicle", embeddings, labels) is None


def test_a_memory_is_kept_but_not_used_in_the_warm_up():
    memory, (embeddings, labels) = EmbeddingMemory(8, 0.5), rows([0, 1], 0)
    memory.exchange("vehicle", embeddings, labels)
    memory.progress = 0.49
    assert memory.exchange("vehicle", embeddings, labels) is None
    memory.progress = 0.5
    assert len(memory.exchange("vehicle", embeddings, labels).labels) == 4


def test_nothing_is_kept_of_batches_that_nothing_is_learnt_from():
    memory = EmbeddingMemory(8, 0.0)
    with torch.no_grad():
        assert memory.exchange("vehicle", *rows([0, 1], 0)) is None
    assert memory.state() == {}
