"""Online augmentation: seeded, of the same size, off where it is switched off, and equal to torchvision's."""

from dataclasses import fields
from pathlib import Path
from typing import Annotated

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import functional as reference

from app.core.sample import Sample
from app.data import augment
from app.data.augment import Augmentation
from app.data.crops import ImageReader
from app.data.cross_modal_batches import CrossModalBatches
from app.data.dual_batches import DualBatches
from app.settings.augment import AugmentSettings, Part
from app.settings.checks import SettingsError
from app.settings.equalise import EqualiseSettings
from app.settings.section import Share, section

OFF = {"flip": 0.0, "shift": 0.0, "rotate": 0.0, "zoom": 0.0, "colour": 0.0, "grey": 0.0, "blur": 0.0, "erase": 0.0}
PICTURES = torch.randint(0, 256, (6, 3, 24, 32), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)


def changed(seed=0, pictures=PICTURES, **parts):
    return Augmentation(AugmentSettings(**{**OFF, **parts}))(pictures.clone(), torch.Generator().manual_seed(seed))


def test_switched_off_it_changes_nothing():
    assert torch.equal(changed(), PICTURES)


def test_a_certain_flip_mirrors():
    assert torch.equal(changed(flip=1.0), PICTURES.flip(3))


def test_one_channel_of_a_picture_stands_in_all_and_an_infrared_one_stays():
    found = changed(channel=1.0)
    assert torch.equal(found, found[:, :1].expand_as(found))
    taken = [[torch.equal(new[0], channel) for channel in old] for new, old in zip(found, PICTURES, strict=True)]
    assert all(sum(each) == 1 for each in taken)
    assert len({each.index(True) for each in taken}) > 1
    infrared = PICTURES[:, :1].expand_as(PICTURES)
    assert torch.equal(changed(pictures=infrared, channel=1.0), infrared)


def test_a_flip_of_one_half_mirrors_some_and_leaves_the_others():
    found = changed(flip=0.5)
    mirrored = (found == PICTURES.flip(3)).all(dim=3).all(dim=2).all(dim=1)
    same = (found == PICTURES).all(dim=3).all(dim=2).all(dim=1)
    assert (mirrored ^ same).all()
    assert 0 < mirrored.sum() < len(PICTURES)


@pytest.mark.parametrize(
    "part",
    [{"shift": 0.3}, {"rotate": 30.0}, {"zoom": 0.3}, {"colour": 0.5}, {"blur": 1.0}, {"erase": 1.0}, {"channel": 1.0}],
)
def test_each_part_changes_every_picture_and_depends_on_the_seed_alone(part):
    first = changed(1, **part)
    assert (first.shape, first.dtype) == (PICTURES.shape, torch.uint8)
    assert all(not torch.equal(new, old) for new, old in zip(first, PICTURES, strict=True))
    torch.manual_seed(5)  # the global generator has no say
    assert torch.equal(first, changed(1, **part))
    assert not torch.equal(first, changed(2, **part))


def test_pictures_of_a_batch_are_changed_each_in_its_own_way():
    alike = PICTURES[:1].expand(6, -1, -1, -1)
    for part in ({"shift": 0.3}, {"rotate": 30.0}, {"zoom": 0.3}, {"colour": 0.5}, {"blur": 1.0}, {"erase": 1.0}):
        found = changed(1, alike, **part)
        assert len({picture.numpy().tobytes() for picture in found}) == 6, part


def test_a_picture_without_colour_is_torchvisions_greyscale():
    expected = reference.rgb_to_grayscale(PICTURES, num_output_channels=3)
    assert ((changed(grey=1.0).int() - expected.int()).abs() <= 1).all()  # its weights have four digits
    lost = (changed(grey=0.5) == changed(grey=1.0)).flatten(1).all(dim=1)
    assert 0 < lost.sum() < len(PICTURES)
    assert torch.equal(changed(grey=0.5)[~lost], PICTURES[~lost])


def test_an_erased_rectangle_is_grey():
    found = changed(erase=1.0)
    for new, old in zip(found, PICTURES, strict=True):
        grey = (new == 127).all(dim=0)
        assert 0.01 < grey.float().mean() < 0.3
        rows, columns = grey.any(dim=1), grey.any(dim=0)
        assert grey.sum() == rows.sum() * columns.sum()  # a full rectangle
        assert torch.equal(new[:, ~grey], old[:, ~grey])


class Fixed(augment.Draws):
    """Draws that are known: the high end of each range, and everything chosen."""

    def uniform(self, low, high):  # noqa: ARG002
        return torch.full((self.count,), float(high))


@pytest.fixture
def at_the_high_end(monkeypatch):
    monkeypatch.setattr(augment, "Draws", Fixed)


SMOOTH = reference.gaussian_blur(PICTURES, [9, 9], [3.0, 3.0])  # interpolations of two libraries differ on noise


@pytest.mark.usefixtures("at_the_high_end")
@pytest.mark.parametrize("part", [{"rotate": 20.0}, {"zoom": 0.25}, {"shift": 0.25}])
def test_moves_equal_torchvision(part):
    """Torchvision turns clockwise for a positive angle and shifts to the right and down; here the picture is looked up
    the other way round. Both round once: one grey level."""
    found = changed(pictures=SMOOTH, **part).float()
    shift = part.get("shift", 0.0)
    expected = reference.affine(
        SMOOTH.float(),
        angle=part.get("rotate", 0.0),
        translate=[-shift * 32, -shift * 24],
        scale=1 + part.get("zoom", 0.0),
        shear=[0.0, 0.0],
        interpolation=InterpolationMode.BILINEAR,
        fill=127.0,
    )
    inside = (slice(None), slice(None), slice(2, -2), slice(2, -2))
    different = (found - expected).abs()[inside]
    assert different.median() <= 0.51
    assert different.quantile(0.85) <= 1.0  # the rim of what comes in from outside is blended differently


@pytest.mark.usefixtures("at_the_high_end")
def test_colours_equal_torchvision():
    expected = PICTURES.float() / 255
    for change in (reference.adjust_brightness, reference.adjust_contrast, reference.adjust_saturation):
        expected = change(expected, 1.3)
    # Torchvision's luma is 0.2989, 0.587, 0.114: below a tenth of a grey level. Rounding adds a half.
    assert ((changed(colour=0.3).float() - 255 * expected).abs() <= 0.8).all()


@pytest.mark.usefixtures("at_the_high_end")
def test_the_blur_equals_torchvision():
    expected = reference.gaussian_blur(PICTURES.float(), [5, 5], [1.5, 1.5])
    assert ((changed(blur=1.0).float() - expected).abs() <= 0.51).all()  # rounding


def _inverted(batch, settings, draw):
    return (255 - batch).where(draw.chosen(settings.invert), batch)


@section("train.augment")
class WithInversion(AugmentSettings):
    """As if one more line stood in `AugmentSettings`, and nothing else were written."""

    invert: Annotated[Share, Part(_inverted)] = 0.0


@pytest.mark.parametrize("stream", [DualBatches, CrossModalBatches])
def test_one_declaration_gives_setting_default_check_and_effect(stream, tmp_path):
    samples = []
    for number in range(8):
        values = np.random.default_rng(number).integers(0, 256, (16, 16, 3), dtype=np.uint8)
        Image.fromarray(values).save(tmp_path / f"{number}.png")
        samples.append(Sample(tmp_path / f"{number}.png", number // 2, number % 2))

    def images(augment):
        pictures = ImageReader((16, 16), None, 1)
        batches = stream(
            samples,
            pictures,
            pids_per_batch=2,
            images_per_pid=2,
            seed=0,
            augment=augment,
            equalise=EqualiseSettings(),
        )
        return getattr(batches[0], "vehicles" if stream is DualBatches else "images")

    assert torch.equal(images(WithInversion(**OFF, invert=1.0)), 255 - images(WithInversion(**OFF)))
    with pytest.raises(SettingsError, match=r"train\.augment\.invert must be at most 1; got 2"):
        WithInversion(invert=2.0)


def test_no_other_file_names_a_part():
    """A part that a batch or a task had to name would be a second place to edit."""
    root = Path(__file__).parents[3]
    names = {each.name for each in fields(AugmentSettings)} - {"plate_drop"}  # of a sample, not of its image
    for path in [*root.glob("app/data/*_batches.py"), *root.glob("app/tasks/*.py"), root / "app/settings/sections.py"]:
        text = path.read_text(encoding="utf-8")
        assert not [n for n in names if f'"{n}"' in text or f"augment.{n}" in text], path
