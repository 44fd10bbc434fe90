"""Uploads: what is decoded, what is refused by name, what is kept of it."""

import io
import math
import struct
import zlib

import numpy as np
import pytest
from PIL import Image
from registers import photo

from app.core.sample import Box
from app.register.errors import BoxError, ImageRefusedError
from app.register.photos import KEPT_SIDE, Photo, Photos, take_in


def encoded(image, kind="JPEG", **options):
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def bomb(width, height):
    """A PNG of a few bytes that says that it is huge."""

    def chunk(name, data):
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0")) + chunk(b"IEND", b"")


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "not an image"),
        (b"%PDF-1.7 nothing", "not an image"),
        (encoded(photo(0).image)[:900], "cannot be read"),
        (encoded(photo(0).image, "PNG")[:900], "cannot be read"),
        (bomb(100_000, 100_000), "pixels"),
        (bomb(9000, 6000), "pixels, more than 50000000"),
        (bomb(12_000, 12_000), "50000000"),
        (bomb(20_000, 20_000), "more than 50000000 pixels"),
        (encoded(photo(0).image, "GIF"), "not an image"),
        (encoded(Image.new("RGB", (4000, 4))), "show no vehicle"),
        (b"x" * (32 * 2**20 + 1), "more than 32 MiB"),
    ],
    ids=[
        "empty",
        "no picture",
        "half a JPEG",
        "half a PNG",
        "bomb",
        "too large",
        "larger",
        "still larger",
        "GIF",
        "a line",
        "too many bytes",
    ],
)
def test_what_is_refused_names_the_file(data, reason):
    with pytest.raises(ImageRefusedError, match=f"^gate.jpg: .*{reason}"):
        take_in(data, "gate.jpg")


@pytest.mark.parametrize("mode", ["L", "1", "P", "RGBA", "CMYK", "RGB"])
def test_every_mode_becomes_three_colours(mode):
    image = photo(1).image.convert(mode)
    assert take_in(encoded(image, "TIFF"), "x").image.mode == "RGB"


def test_a_thermal_picture_of_sixteen_bits_is_taken_in():
    warm = 29_000 + 10 * np.asarray(photo(1).image.convert("L"), np.uint16)
    grey = np.asarray(take_in(encoded(Image.fromarray(warm), "PNG"), "x").image)
    assert (grey.min(), grey.max()) == (0, 255)


def test_a_large_picture_is_made_smaller_and_its_boxes_with_it():
    taken = take_in(encoded(Image.new("RGB", (3200, 1000))), "x")
    assert taken.image.size == (KEPT_SIDE, 500)
    assert taken.box(Box(100, 20, 300, 60)) == Box(50, 10, 150, 30)
    with pytest.raises(ImageRefusedError, match="outside"):
        taken.box(Box(3300, 0, 10, 10))


def test_a_box_is_cut_to_the_picture():
    taken = take_in(encoded(Image.new("RGB", (3200, 1000))), "x")  # kept at half the size
    assert taken.inside(Box(-100, 900, 200, 1e300)) == Box(0, 900, 100, 100)
    assert taken.box(Box(-100, 900, 200, 1e300)) == Box(0, 450, 50, 50)
    assert taken.inside(Box(0, 0, 13_000, 13_000)) == Box(0, 0, 3200, 1000)
    assert taken.inside(None) is None


@pytest.mark.parametrize(
    ("box", "reason"),
    [
        ((0, 0, 0, 9), "more than 0"),
        ((0, 0, 9, -1), "more than 0"),
        ((math.nan, 0, 9, 9), "finite"),
        ((0, 0, math.inf, 9), "finite"),
        ((0, 0, 9, -math.inf), "finite"),
        ((1e300, 0, 1e300, 9), "outside the image of 48 x 40"),
        ((-1e308, -1e308, 9, 9), "outside the image"),
        ((47.5, 0, 9, 9), "outside the image"),
    ],
)
def test_a_box_that_shows_nothing_is_refused(box, reason):
    with pytest.raises(BoxError, match=reason):
        Photo(Image.new("RGB", (48, 40)), 1.0).inside(Box(*box))


def test_a_picture_is_kept_upright_without_what_the_camera_wrote(tmp_path):
    exif = Image.Exif()
    exif[0x0112], exif[0x010F] = 6, "Camera of A. Resident"  # turned by a quarter; maker
    exif.get_ifd(0x8825)[1] = "N"  # a place
    image = Image.new("RGB", (40, 20), "white")
    image.paste("black", (0, 0, 20, 20))  # its left half, which is at the top once it is upright
    data = encoded(image, exif=exif, quality=95)
    assert b"Resident" in data
    photos = Photos(tmp_path / "pictures")
    name = photos.keep(take_in(data, "x"))
    kept = photos.path(name)
    assert b"Resident" not in kept.read_bytes()
    with Image.open(kept) as again:
        assert again.size == (20, 40)
        assert not again.getexif()
        assert again.getpixel((10, 5))[0] < 60 < 200 < again.getpixel((10, 35))[0]
    assert kept.stat().st_mode & 0o077 == 0
    assert photos.folder.stat().st_mode & 0o077 == 0


def test_names_lead_nowhere_else(tmp_path):
    photos = Photos(tmp_path / "pictures")
    for name in ("../register.sqlite", "/etc/passwd", "a.jpg", f"{'0' * 32}.png", f"{'0' * 32}.jpg/..", ""):
        with pytest.raises(ValueError, match="not an image of the register"):
            photos.path(name)


def test_a_full_disk_leaves_nothing_behind(tmp_path, monkeypatch):
    photos = Photos(tmp_path / "pictures")

    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Image.Image, "save", full)
    with pytest.raises(OSError, match="No space left"):
        photos.keep(Photo(photo(0).image, 1.0))
    assert list(photos.folder.iterdir()) == []


@pytest.mark.parametrize("orientation", [1, 6])
def test_a_large_jpeg_is_decoded_small_and_shows_the_same(orientation):
    """Against Pillow's decoding at full size; 6: the camera was turned."""
    coarse = Image.fromarray(np.random.default_rng(0).integers(0, 256, (30, 40, 3), dtype=np.uint8))
    image = coarse.resize((4001, 3001), Image.Resampling.BICUBIC)
    exif = Image.Exif()
    exif[0x0112] = orientation
    file = io.BytesIO()
    image.save(file, "JPEG", quality=95, exif=exif)
    taken = take_in(file.getvalue(), "x")
    turned = image.transpose(Image.Transpose.ROTATE_270) if orientation == 6 else image
    assert taken.image.size == ((1600, 1200) if orientation == 1 else (1200, 1600))
    assert taken.scale == pytest.approx(1600 / 4001)
    expected = np.asarray(turned.resize(taken.image.size, Image.Resampling.LANCZOS), np.int16)
    # What JPEG and another filter leave, in levels of 256.
    assert np.abs(np.asarray(taken.image, np.int16) - expected).mean() < 1.5
