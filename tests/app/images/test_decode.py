"""Images of one and four channels, and of more than eight bits."""

import cv2
import numpy as np
import pytest
from PIL import Image

from app.images.decode import is_grey, upright_rgb

RAMP = np.linspace(0, 1, 60 * 80).reshape(60, 80)


def read(image, path, **options):
    image.save(path, **options)
    with Image.open(path) as file:
        return np.asarray(upright_rgb(file)).astype(int)


def test_one_channel_is_repeated_and_a_fourth_is_left_out(tmp_path):
    grey = (RAMP * 255).astype(np.uint8)
    found = read(Image.fromarray(grey), tmp_path / "one.png")
    np.testing.assert_array_equal(found, np.repeat(grey[..., None], 3, axis=2))
    four = np.dstack([grey, grey[::-1], 255 - grey, np.zeros_like(grey)])  # wholly transparent
    np.testing.assert_array_equal(read(Image.fromarray(four, "RGBA"), tmp_path / "four.png"), four[..., :3])


@pytest.mark.parametrize("kind", ["png", "tiff"])
def test_sixteen_bits_are_stretched_over_the_pictures_own_range(tmp_path, kind):
    """Linear between percentiles 0.5 and 99.5: half of the ramp is half of 255, and its ends are black and white."""
    thermal = (29_000 + 1_000 * RAMP).astype(np.uint16)  # kelvin / 100 of a warm evening
    thermal[0, 0] = 65_535  # one dead pixel does not darken the rest
    found = read(Image.fromarray(thermal), tmp_path / f"deep.{kind}")
    expected = np.clip((RAMP - 0.005) / 0.99, 0, 1) * 255
    assert np.abs(found[..., 0] - expected)[1:].max() < 1.5  # a thousand steps of the ramp, and rounding
    assert found[0, 0].tolist() == [255] * 3


def test_floating_point_and_flat_pictures(tmp_path):
    found = read(Image.fromarray((-3 + RAMP).astype(np.float32)), tmp_path / "float.tiff")
    assert (found[0, 0, 0], found[-1, -1, 0]) == (0, 255)
    assert not read(Image.fromarray(np.full((20, 20), 7, np.uint16)), tmp_path / "flat.png").any()
    broken = np.full((20, 20), np.nan, np.float32)
    with pytest.raises(ValueError, match="not finite"):
        read(Image.fromarray(broken), tmp_path / "nan.tiff")


def test_several_channels_of_sixteen_bits_are_refused(tmp_path):
    deep = np.random.default_rng(0).integers(7000, 9000, (20, 30, 3)).astype(np.uint16)
    for kind in ("png", "tiff"):
        cv2.imwrite(str(tmp_path / f"deep.{kind}"), deep)
        with Image.open(tmp_path / f"deep.{kind}") as file, pytest.raises(ValueError, match="channels of 16 bits"):
            upright_rgb(file)


def test_a_large_deep_picture_is_stretched_row_by_row(tmp_path):
    """Several blocks of rows give what one gives."""
    thermal = np.random.default_rng(0).integers(20_000, 24_000, (700, 50)).astype(np.uint16)
    found = read(Image.fromarray(thermal), tmp_path / "tall.png")[..., 0]
    low, high = np.percentile(thermal, [0.5, 99.5])
    assert np.abs(found - np.clip((thermal - low) / (high - low), 0, 1) * 255).max() <= 0.6  # rounding, and float32


def test_a_time_stamp_does_not_make_a_night_picture_a_coloured_one():
    night = np.random.default_rng(0).integers(0, 256, (540, 960, 1), dtype=np.uint8).repeat(3, axis=2)
    night[500:530, 20:400] = (255, 220, 0)
    assert is_grey(Image.fromarray(night))


def test_a_grey_picture_stays_grey_as_jpeg(tmp_path):
    rng = np.random.default_rng(0)
    grey = rng.integers(0, 256, (90, 120), dtype=np.uint8)
    Image.fromarray(np.repeat(grey[..., None], 3, axis=2)).save(tmp_path / "grey.jpg", quality=60)
    with Image.open(tmp_path / "grey.jpg") as file:
        assert is_grey(upright_rgb(file))
    coloured = np.repeat(grey[..., None], 3, axis=2)
    coloured[30:60, 40:80, 0] = 200  # a red car by a grey wall
    assert not is_grey(Image.fromarray(coloured))
