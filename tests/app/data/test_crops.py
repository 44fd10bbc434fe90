"""Images as tensors: what cannot be read is left out and named."""

import numpy as np
import pytest
import torch
from PIL import Image

from app.core.device import normalise
from app.core.sample import Box, Sample
from app.data.crops import ImageCache, ImageReader, read_image
from models.input_statistics import InputStatistics


@pytest.fixture
def picture(tmp_path):
    """20 x 10 pixels: red on the left half, blue on the right, with a green rectangle at (12, 2), 6 x 4."""
    array = np.zeros((10, 20, 3), np.uint8)
    array[:, :10, 0], array[:, 10:, 2] = 200, 100
    array[2:6, 12:18] = (0, 250, 0)
    path = tmp_path / "vehicle.png"
    Image.fromarray(array).save(path)
    return path


def test_channels_stand_first_in_the_order_red_green_blue(picture):
    found = read_image(picture, None, (8, 8))
    assert (found.shape, found.dtype) == ((3, 8, 8), torch.uint8)
    assert found[:, 7, 0].tolist() == [200, 0, 0]
    assert found[:, 7, 7].tolist() == [0, 0, 100]


def test_a_box_is_cut_out_before_resizing(picture):
    inside = read_image(picture, Box(13, 3, 4, 2), (5, 5))
    np.testing.assert_array_equal(inside, torch.tensor([0, 250, 0], dtype=torch.uint8)[:, None, None].expand(3, 5, 5))


def test_a_box_over_the_edge_is_cut_to_the_picture(picture):
    both = [read_image(picture, box, (6, 6)) for box in (Box(-5, -3, 9, 9), Box(0, 0, 4, 6))]
    np.testing.assert_array_equal(*both)


@pytest.mark.parametrize("box", [Box(30, 2, 5, 5), Box(-9, 0, 5, 5), Box(2, 40, 5, 5), Box(3, 3, 0.5, 5)])
def test_a_box_outside_or_below_a_pixel_is_an_error(picture, box):
    with pytest.raises(ValueError, match="lies outside the image of 20 x 10 px"):
        read_image(picture, box, (6, 6))


def test_a_picture_lies_as_its_camera_was_held(tmp_path):
    array = np.zeros((10, 20, 3), np.uint8)
    array[:, :10] = 255
    exif = Image.Exif()
    exif[0x0112] = 6  # turn a quarter clockwise
    Image.fromarray(array).save(tmp_path / "turned.png", exif=exif)
    found = read_image(tmp_path / "turned.png", None, (10, 10))
    assert found[0, 1].min() > 250  # what was left is above
    assert found[0, 8].max() < 5


def broken(kind, folder, good):
    path = folder / f"{kind}.png"
    if kind == "truncated":
        noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
        Image.fromarray(noise).save(path)
        path.write_bytes(path.read_bytes()[:3000])
    elif kind == "truncated_jpeg":
        noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
        Image.fromarray(noise).save(path, "JPEG")
        path.write_bytes(path.read_bytes()[:2000])
    elif kind == "header_only":
        path.write_bytes(good.read_bytes()[:20])
    elif kind == "text":
        path.write_text("no picture")
    elif kind == "empty":
        path.touch()
    elif kind == "folder":
        path.mkdir()
    return path


KINDS = ["missing", "text", "empty", "folder", "truncated", "truncated_jpeg", "header_only"]


@pytest.mark.parametrize("kind", KINDS)
def test_what_cannot_be_read_is_left_out_and_named(kind, picture, tmp_path):
    path = broken(kind, tmp_path, picture)
    pictures = ImageReader((8, 8), (4, 4), 10)
    sample = Sample(path, 1, 0, plate_boxes=(Box(1, 1, 4, 2),))
    assert pictures.vehicle(sample) is None
    assert pictures.plate(sample) is None
    assert list(pictures.bad) == [str(path)]
    assert pictures.bad[str(path)]
    assert pictures.vehicle(Sample(picture, 1, 0)) is not None


def test_a_box_outside_is_named_with_its_picture(picture):
    pictures = ImageReader((8, 8), None, 10)
    assert pictures.vehicle(Sample(picture, 1, 0, vehicle_box=Box(50, 50, 9, 9))) is None
    assert "outside" in pictures.bad[str(picture)]


def test_a_bad_plate_leaves_the_vehicle(picture, tmp_path):
    pictures = ImageReader((8, 8), (4, 4), 10)
    own = Sample(picture, 1, 0, plate_path=broken("text", tmp_path, picture))
    assert pictures.plate(own) is None
    assert pictures.vehicle(own) is not None
    cut = Sample(picture, 1, 0, plate_boxes=(Box(100, 100, 5, 5),))
    assert pictures.plate(cut) is None
    assert pictures.vehicle(cut) is not None, "a plate box outside the picture takes the vehicle with it"


def test_plates_come_from_their_own_picture_or_are_cut_with_a_margin(picture, tmp_path):
    Image.new("RGB", (6, 3), (9, 8, 7)).save(tmp_path / "plate.png")
    pictures = ImageReader((8, 8), (4, 4), 10)
    own = pictures.plate(Sample(picture, 1, 0, plate_path=tmp_path / "plate.png", plate_boxes=(Box(0, 0, 5, 5),)))
    assert own[:, 0, 0].tolist() == [9, 8, 7]
    cut = pictures.plate(Sample(picture, 1, 0, plate_boxes=(Box(12, 2, 6, 4),)))
    np.testing.assert_array_equal(cut, read_image(picture, Box(11.4, 1.6, 7.2, 4.8), (4, 4)))
    assert pictures.plate(Sample(picture, 1, 0)) is None
    assert ImageReader((8, 8), None, 10).plate(Sample(picture, 1, 0, plate_boxes=(Box(12, 2, 6, 4),))) is None


def test_pictures_are_kept_while_there_is_room(picture, monkeypatch):
    reads = []
    original = read_image
    monkeypatch.setattr("app.data.crops.read_image", lambda *args: reads.append(args) or original(*args))
    side = 512  # 0.75 MiB
    pictures, first = ImageReader((side, side), None, 1), Sample(picture, 1, 0)
    second = Sample(picture, 1, 0, vehicle_box=Box(0, 0, 5, 5))
    for _ in range(3):
        pictures.vehicle(first)
        pictures.vehicle(second)
    assert len([box for _, box, _ in reads if box is None]) == 1
    assert len([box for _, box, _ in reads if box is not None]) == 3


def test_a_later_process_finds_decoded_pictures(picture, tmp_path, monkeypatch):
    folder, sample = tmp_path / "decoded", Sample(picture, 1, 0)
    plain = ImageReader((8, 8), None, 10).vehicle(sample)
    np.testing.assert_array_equal(ImageReader((8, 8), None, 10, ImageCache(folder, 10)).vehicle(sample), plain)
    assert folder.stat().st_mode & 0o077 == 0
    with monkeypatch.context() as patch:
        patch.setattr("app.data.crops.read_image", None)
        np.testing.assert_array_equal(ImageReader((8, 8), None, 10, ImageCache(folder, 10)).vehicle(sample), plain)
    # Another side, another box, a changed file and a cut-off copy are decoded.
    assert ImageReader((4, 4), None, 10, ImageCache(folder, 10)).vehicle(sample).shape == (3, 4, 4)
    boxed = Sample(picture, 1, 0, vehicle_box=Box(0, 0, 5, 5))
    np.testing.assert_array_equal(
        ImageReader((8, 8), None, 10, ImageCache(folder, 10)).vehicle(boxed),
        ImageReader((8, 8), None, 10).vehicle(boxed),
    )
    for kept in folder.iterdir():
        kept.write_bytes(kept.read_bytes()[:-1])
    np.testing.assert_array_equal(ImageReader((8, 8), None, 10, ImageCache(folder, 10)).vehicle(sample), plain)
    Image.new("RGB", (20, 20), (9, 8, 7)).save(picture)
    assert ImageReader((8, 8), None, 10, ImageCache(folder, 10)).vehicle(sample)[:, 0, 0].tolist() == [9, 8, 7]


def test_a_full_folder_of_decoded_pictures_takes_no_more(picture, tmp_path):
    files = ImageCache(tmp_path / "decoded", 1)
    for size in range(5, 9):
        assert files.get(picture, Box(0, 0, size, size), (400, 400)).shape == (3, 400, 400)  # 0.46 MiB each
    assert len(list((tmp_path / "decoded").iterdir())) == 2
    assert ImageCache(tmp_path / "decoded", 1)._free < 400 * 400 * 3


def test_a_missing_picture_is_missing_with_and_without_files(tmp_path):
    pictures = ImageReader((8, 8), None, 10, ImageCache(tmp_path / "decoded", 10))
    assert pictures.vehicle(Sample(tmp_path / "none.png", 1, 0)) is None
    assert "No such file" in pictures.bad[str(tmp_path / "none.png")]


def test_normalised_values_follow_the_formula():
    pictures = torch.randint(0, 256, (2, 3, 4, 4), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    mean, std = (0.4, 0.5, 0.6), (0.1, 0.2, 0.3)
    expected = [
        [[(value / 255 - mean[c]) / std[c] for value in picture[c].flatten().tolist()] for c in range(3)]
        for picture in pictures
    ]
    np.testing.assert_allclose(
        normalise(pictures, InputStatistics(mean, std)).reshape(2, 3, 16), expected, rtol=0, atol=2e-6
    )
