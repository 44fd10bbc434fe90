"""The alignment loss against plain loops."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from models.losses import AlignmentLoss

FRAMES = 6


def slow_loss(logits, texts, frames):
    """Means of -ln p over frames with a character and over the blank ones of texts whose alignment is known, halved."""
    characters, blanks = [], []
    for row, (text, places) in enumerate(zip(texts, frames, strict=True)):
        if places:
            wanted = dict(zip(places, text, strict=True))
            for frame in range(FRAMES):
                exponents = [math.exp(value) for value in logits[row][frame]]
                loss = -math.log(exponents[wanted.get(frame, 0)] / sum(exponents))
                (characters if frame in wanted else blanks).append(loss)
    means = [sum(losses) / len(losses) for losses in (characters, blanks) if losses]
    return sum(means) / 2


plates = st.lists(st.lists(st.integers(0, FRAMES - 1), unique=True, max_size=FRAMES), min_size=1, max_size=4)


@given(plates, st.integers(0, 2**31 - 1))
def test_it_equals_its_definition(frames, seed):
    generator = torch.Generator().manual_seed(seed)
    frames = [sorted(places) for places in frames]
    texts = [torch.randint(1, 4, (len(p) or 3,), generator=generator).tolist() for p in frames]
    logits = torch.randn(len(frames), FRAMES, 4, dtype=torch.float64, generator=generator).requires_grad_()
    loss = AlignmentLoss()(logits, texts, frames)
    assert loss.item() == pytest.approx(slow_loss(logits.tolist(), texts, frames), abs=1e-9)
    loss.backward()
    unknown = [row for row, places in enumerate(frames) if not places]
    assert (logits.grad[unknown] == 0).all()


def test_gradients_are_those_of_finite_differences():
    logits = torch.randn(2, FRAMES, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: AlignmentLoss()(x, [[1, 2], [2]], [[0, 3], [5]]), logits)


def test_another_number_of_frames_than_characters_is_refused():
    with pytest.raises(ValueError, match="1 frames of a text of 2 characters"):
        AlignmentLoss()(torch.zeros(1, FRAMES, 3), [[1, 2]], [[0]])
