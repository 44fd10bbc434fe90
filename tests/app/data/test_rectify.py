"""Plates flattened by their corners, against perspective solved from its equations and against known pictures."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from app.core.sample import Box, Point, Sample
from app.data.crops import ImageCache, ImageReader, cut_as_it_is, cut_image, read_image
from app.data.rectify import rectify

BOX = Box(60, 40, 80, 30)
CORNERS = (Point(60, 40), Point(140, 40), Point(140, 70), Point(60, 70))


def noise(height, width):
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)


def perspective(target, source):
    """The eight numbers with x = (a u + b v + c) / (g u + h v + 1), y = (d u + e v + f) / (...) at four points."""
    rows, values = [], []
    for (u, v), (x, y) in zip(target, source, strict=True):
        rows += [[u, v, 1, 0, 0, 0, -u * x, -v * x], [0, 0, 0, u, v, 1, -u * y, -v * y]]
        values += [x, y]
    return np.linalg.solve(np.array(rows, float), np.array(values, float))


@settings(deadline=None)
@given(st.lists(st.floats(-9, 9, width=16), min_size=8, max_size=8))
def test_every_pixel_comes_from_where_perspective_puts_it(offsets):
    """In a picture whose red is x and whose green is y the flat picture shows where each of its pixels was taken.

    The middle of pixel i is at i + 0.5. Tolerance: half for rounding, and what float32 adds."""
    ramp = np.zeros((120, 200, 3), np.uint8)
    ramp[..., 0], ramp[..., 1] = np.arange(200)[None], np.arange(120)[:, None]
    corners = [Point(x + dx, y + dy) for (x, y), dx, dy in zip(CORNERS, offsets[:4], offsets[4:], strict=True)]
    height, width = 64, 128  # more than the plate has: nothing is averaged
    flat = rectify(ramp, corners, (height, width)).astype(float)
    a, b, c, d, e, f, g, h = perspective([(0, 0), (width, 0), (width, height), (0, height)], corners)
    v, u = np.mgrid[:height, :width] + 0.5
    w = g * u + h * v + 1
    np.testing.assert_allclose(flat[..., 0], (a * u + b * v + c) / w - 0.5, rtol=0, atol=0.51)
    np.testing.assert_allclose(flat[..., 1], (d * u + e * v + f) / w - 0.5, rtol=0, atol=0.51)


def test_a_picture_seen_at_an_angle_comes_back(tmp_path):
    """Pillow draws a smooth plate at an angle; flattened it differs by a few levels from what was drawn."""
    plate = Image.fromarray(noise(5, 12)).resize((120, 50), Image.Resampling.BICUBIC)
    corners = [Point(30, 20), Point(180, 45), Point(170, 120), Point(20, 75)]
    to_plate = perspective(corners, [(0, 0), (120, 0), (120, 50), (0, 50)])
    plate.transform((200, 140), Image.Transform.PERSPECTIVE, to_plate, Image.Resampling.BILINEAR).save(
        tmp_path / "photograph.png"
    )
    found = read_image(tmp_path / "photograph.png", tuple(corners), (50, 120)).numpy().transpose(1, 2, 0)
    difference = np.abs(found.astype(int) - np.asarray(plate).astype(int))[3:-3, 3:-3]  # beside it, it is black
    assert difference.max() <= 12
    assert difference.mean() < 2


def test_an_upright_plate_is_a_cut_and_one_upside_down_is_turned():
    picture = noise(100, 200)
    np.testing.assert_array_equal(rectify(picture, CORNERS, (30, 80)), picture[40:70, 60:140])
    turned = CORNERS[2:] + CORNERS[:2]
    np.testing.assert_array_equal(rectify(picture, turned, (30, 80)), picture[40:70, 60:140][::-1, ::-1])


def test_strokes_are_averaged_and_do_not_vanish():
    """Stripes one pixel wide are grey at 8.25 times less: a warp that samples there shows black and white as well.

    One half of a stripe more or less in 8.25 pixels is 255 * 0.5 / 8.25 = 15.5 levels."""
    stripes = np.zeros((300, 700, 3), np.uint8)
    stripes[:, ::2] = 255
    corners = [Point(20, 20), Point(680, 20), Point(680, 260), Point(20, 260)]
    flat = rectify(stripes, corners, (30, 80))
    np.testing.assert_allclose(flat, 127.5, rtol=0, atol=16)


def test_corners_a_little_beyond_the_picture_are_taken():
    picture = noise(100, 200)
    beyond = [Point(-2, 10), Point(78, 10), Point(78, 40), Point(-2, 40)]
    flat = rectify(picture, beyond, (30, 80))
    np.testing.assert_array_equal(flat[:, 2:], picture[10:40, :78])
    np.testing.assert_array_equal(flat[:, :2], np.repeat(picture[10:40, :1], 2, axis=1))


@pytest.mark.parametrize(
    ("corners", "message"),
    [
        (CORNERS[:3], "four points"),
        ((*CORNERS[:3], Point(math.nan, 70)), "finite"),
        ((Point(60, 40), Point(240, 40), Point(240, 70), Point(60, 70)), "outside the image of 200 x 100 px"),
        ((Point(60, -40), Point(140, -40), Point(140, -10), Point(60, -10)), "outside the image"),
        ((Point(60, 40),) * 4, "enclose no pixel"),
        ((Point(60, 40), Point(140, 40), Point(140, 40.5), Point(60, 40.5)), "enclose no pixel"),
        ((Point(60, 40), Point(100, 40), Point(140, 40), Point(60, 70)), "not convex and clockwise"),  # on a line
        (CORNERS[::-1], "not convex and clockwise"),
        ((CORNERS[0], CORNERS[2], CORNERS[1], CORNERS[3]), "not convex and clockwise"),  # crosses itself
        ((*CORNERS[:2], Point(80, 45), CORNERS[3]), "not convex and clockwise"),  # dented
    ],
)
def test_corners_of_no_plate_are_refused(corners, message):
    with pytest.raises(ValueError, match=message):
        rectify(noise(100, 200), corners, (30, 80))


def test_a_plate_seen_at_a_steep_angle_is_flattened():
    steep = [Point(95, 10), Point(105, 10), Point(180, 90), Point(20, 90)]
    assert rectify(noise(100, 200), steep, (30, 80)).shape == (30, 80, 3)


@pytest.fixture
def photograph(tmp_path):
    Image.fromarray(noise(100, 200)).save(tmp_path / "photograph.png")
    return tmp_path / "photograph.png"


@pytest.mark.parametrize("kept", [False, True])
def test_pictures_are_rectified_where_asked_for(photograph, tmp_path, kept):
    """With files as well, in one folder: neither finds the other's picture."""

    def pictures(rectify):
        return ImageReader(
            (8, 8), (30, 80), 10, ImageCache(tmp_path / "decoded", 10) if kept else None, rectify=rectify
        )

    slanted = (Point(60, 40), Point(140, 50), Point(138, 80), Point(58, 70))
    whole = np.asarray(Image.open(photograph))
    sample = Sample(photograph, 1, 0, plate_boxes=(BOX,), plate_corners=slanted)
    cut = ImageReader((8, 8), (30, 80), 10).plate(Sample(photograph, 1, 0, plate_boxes=(BOX,)))
    for _ in range(2):
        np.testing.assert_array_equal(pictures(False).plate(sample), cut)
        np.testing.assert_array_equal(
            pictures(True).plate(sample).numpy().transpose(1, 2, 0), rectify(whole, slanted, (30, 80))
        )
    np.testing.assert_array_equal(pictures(True).plate(Sample(photograph, 1, 0, plate_boxes=(BOX,))), cut)


def test_one_set_of_pictures_keeps_both_cuts_of_a_file(photograph):
    pictures = ImageReader((30, 80), (30, 80), 10, rectify=True)
    other = (Point(60, 40), Point(140, 50), Point(138, 80), Point(58, 70))
    first, second = (Sample(photograph, 1, 0, plate_boxes=(BOX,), plate_corners=c) for c in (CORNERS, other))
    for _ in range(2):
        assert not np.array_equal(pictures.plate(first), pictures.plate(second))
        assert not np.array_equal(pictures.plate(first), pictures.vehicle(first))


def test_bad_corners_are_named_and_leave_the_vehicle(photograph):
    pictures = ImageReader((8, 8), (30, 80), 10, rectify=True)
    sample = Sample(photograph, 1, 0, plate_boxes=(BOX,), plate_corners=CORNERS[::-1])
    assert pictures.plate(sample) is None
    assert "not convex and clockwise" in pictures.bad[str(photograph)]
    assert pictures.vehicle(sample) is not None


@pytest.mark.parametrize("far", [1e308, 1e200, 1e15, 1e9])
@pytest.mark.parametrize("cut", [cut_as_it_is, lambda image, corners: cut_image(image, corners, (30, 80))])
def test_corners_far_away_are_refused_before_anything_is_of_their_size(cut, far):
    corners = (Point(-far, -far), Point(far, -far), Point(far, far), Point(-far, far))
    with pytest.raises(ValueError, match="lie outside the image of 80 x 60 px"):
        cut(Image.new("RGB", (80, 60)), corners)
