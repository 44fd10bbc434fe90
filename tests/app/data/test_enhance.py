"""Enhancement of pictures: what each kind does, and that it is the seed's alone."""

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from app.data.augment import Augmentation
from app.data.enhance import enhanced
from app.settings.augment import AugmentSettings
from app.settings.equalise import KINDS

STILL = dict.fromkeys(("flip", "shift", "rotate", "zoom", "colour", "grey", "blur", "erase"), 0.0)


def picture(height=60, width=80):
    """A colour ramp with a bright square."""
    rows, columns = np.mgrid[0:height, 0:width]
    values = np.stack([columns * 2, rows * 3, np.full_like(rows, 90)])
    values[:, 20:40, 30:50] = 240
    return torch.from_numpy(values.clip(0, 255).astype(np.uint8))


@pytest.mark.parametrize("kind", KINDS)
def test_a_kind_changes_the_picture_and_nothing_else(kind):
    before = picture()
    one, same, other = (enhanced(before, [kind], np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert one.shape == before.shape
    assert one.dtype == torch.uint8
    assert torch.equal(one, same)
    assert not torch.equal(one, other)
    assert not torch.equal(one, before)
    assert torch.equal(before, picture())


@given(st.sampled_from(KINDS), st.integers(1, 256), st.integers(1, 40), st.booleans(), st.integers(0, 10_000))
@settings(max_examples=150, deadline=None)
@example("blur", 256, 4, True, 0)
@example("blur", 256, 4, True, 3)
def test_pictures_of_any_shape(kind, length, width, upright, seed):
    shape = (3, length, width) if upright else (3, width, length)
    assert enhanced(torch.full(shape, 100, dtype=torch.uint8), [kind], np.random.default_rng(seed)).shape == shape


def test_an_infrared_picture_stays_without_colour():
    grey = picture()[:1].expand(3, -1, -1).contiguous()
    for seed in range(10):
        changed = enhanced(grey, KINDS, np.random.default_rng(seed), infrared=True)
        assert torch.equal(changed[0], changed[1])
        assert torch.equal(changed[1], changed[2])


def test_night_is_darker_and_rain_has_less_contrast():
    before = picture().float()
    nights = [enhanced(picture(), ["night"], np.random.default_rng(s)).float() for s in range(5)]
    assert all(night.mean() < 0.8 * before.mean() for night in nights)
    flat = torch.zeros(3, 60, 80, dtype=torch.uint8)
    flat[:, :, 40:] = 200
    for seed in range(5):
        wet = enhanced(flat, ["rain"], np.random.default_rng(seed)).float()
        assert wet[:, :, 40:].median() - wet[:, :, :40].median() < 185


def test_online_rain_and_night_change_as_many_pictures_as_asked_for():
    batch = picture().expand(400, -1, -1, -1).contiguous()
    changed = Augmentation(AugmentSettings(**STILL, rain=0.25))(batch, torch.Generator().manual_seed(0))
    touched = sum(not torch.equal(before, after) for before, after in zip(batch, changed, strict=True))
    assert 60 <= touched <= 140  # 100 expected, four standard deviations of 8.7 and a little
    again = Augmentation(AugmentSettings(**STILL, rain=0.25))(batch, torch.Generator().manual_seed(0))
    assert torch.equal(changed, again)
