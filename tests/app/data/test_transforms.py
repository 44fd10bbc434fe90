"""Online augmentation: seeded, of the same size, and off where it is switched off."""

import pytest
import torch

from app.data.transforms import augmentation

OFF = {"flip": 0.0, "shift": 0.0, "rotate": 0.0, "zoom": 0.0, "colour": 0.0, "blur": 0.0, "erase": 0.0}
PICTURE = torch.randint(0, 256, (3, 24, 24), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)


def changed(seed=0, **parts):
    torch.manual_seed(seed)
    return augmentation(**{**OFF, **parts})(PICTURE.clone())


def test_switched_off_it_changes_nothing():
    assert torch.equal(changed(), PICTURE)


def test_a_certain_flip_mirrors():
    assert torch.equal(changed(flip=1.0), PICTURE.flip(2))


@pytest.mark.parametrize(
    "part", [{"shift": 0.3}, {"rotate": 30.0}, {"zoom": 0.3}, {"colour": 0.5}, {"blur": 1.0}, {"erase": 1.0}]
)
def test_each_part_changes_the_picture_and_depends_on_the_seed_alone(part):
    first = changed(1, **part)
    assert (first.shape, first.dtype) == (PICTURE.shape, torch.uint8)
    assert not torch.equal(first, PICTURE)
    assert torch.equal(first, changed(1, **part))
    assert not torch.equal(first, changed(2, **part))


def test_an_erased_rectangle_is_grey():
    found = changed(erase=1.0)
    grey = (found == 127).all(dim=0)
    assert 0.01 < grey.float().mean() < 0.3
    assert torch.equal(found[:, ~grey], PICTURE[:, ~grey])
