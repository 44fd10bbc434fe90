"""Losses of readers against their definitions: every alignment of a text, every position."""

import itertools
import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from models.losses import CtcLoss, PositionLoss


def read(path):
    """Repeats joined, then blanks out."""
    return [number for number, _ in itertools.groupby(path) if number]


def slow_ctc(logits, texts):
    """Mean over texts of -ln of the summed probability of all paths that read as the text, by its characters."""
    total = 0.0
    for row, text in zip(logits.softmax(2).tolist(), texts, strict=True):
        paths = itertools.product(range(len(row[0])), repeat=len(row))
        fitting = [math.prod(row[frame][n] for frame, n in enumerate(path)) for path in paths if read(path) == text]
        total += -math.log(sum(fitting)) / len(text) if fitting else 0.0
    return total / len(texts)


@given(st.lists(st.lists(st.integers(1, 2), min_size=1, max_size=4), min_size=1, max_size=3), st.integers(0, 2**31 - 1))
def test_ctc_sums_over_all_alignments(texts, seed):
    """Of four frames; a text that does not fit, such as 1111, counts 0."""
    logits = torch.randn(len(texts), 4, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    logits.requires_grad_()
    loss = CtcLoss()(logits, texts)
    assert loss.item() == pytest.approx(slow_ctc(logits.detach(), texts), abs=1e-9)
    loss.backward()
    assert torch.isfinite(logits.grad).all()


def test_gradients_of_ctc_are_those_of_finite_differences():
    logits = torch.randn(2, 5, 3, dtype=torch.float64, requires_grad=True, generator=torch.Generator().manual_seed(0))
    assert torch.autograd.gradcheck(lambda x: CtcLoss()(x, [[1, 2], [2, 2]]), logits)


def test_positions_count_up_to_the_end():
    logits = torch.randn(2, 4, 5, generator=torch.Generator().manual_seed(0))
    texts = [[3, 1], [2, 4, 1, 3]]
    scores = F.log_softmax(logits, 2)
    wanted = [(0, 0, 3), (0, 1, 1), (0, 2, 0), (1, 0, 2), (1, 1, 4), (1, 2, 1), (1, 3, 3)]  # no room for the second end
    expected = -sum(scores[row, place, number].item() for row, place, number in wanted) / len(wanted)
    assert PositionLoss()(logits, texts).item() == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("loss", [CtcLoss(), PositionLoss()])
def test_texts_that_cannot_be_learnt_are_refused(loss):
    with pytest.raises(ValueError, match="2 rows of scores"):
        loss(torch.zeros(2, 4, 3), [[1], []])
    with pytest.raises(ValueError, match="2 rows of scores"):
        loss(torch.zeros(2, 4, 3), [[1]])


def test_a_text_longer_than_the_positions_is_refused():
    with pytest.raises(ValueError, match="a text of 3 characters, and 2 positions"):
        PositionLoss()(torch.zeros(1, 2, 3), [[1, 2, 1]])
