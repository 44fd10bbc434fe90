"""Damaged images end in one error, whatever the decoder makes of them; huge ones before they are decoded."""

import contextlib
import io
import os
import struct
import threading
import zlib

import numpy as np
import pytest
from encoded_images import KINDS, chunk, decoded, encoded, exif, scene, tiff
from PIL import Image

from app.core.sample import Sample
from app.data.crops import ImageReader
from app.images.decode import UnreadableImageError, open_image
from app.register.errors import ImageRefusedError
from app.register.photos import read_photo, take_in


def bombs():
    header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    png = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0")) + chunk(b"IEND", b"")
    jpeg = bytearray(encoded("JPEG"))
    at = jpeg.index(b"\xff\xc0") + 5
    jpeg[at : at + 4] = b"\xff\xdc\xff\xdc"
    large = tiff()
    start = struct.unpack_from("<L", large, 4)[0]
    rows = {struct.unpack_from("<H", large, start + 2 + 12 * k)[0]: start + 2 + 12 * k for k in range(9)}
    large = bytearray(large)
    for tag in (256, 257):
        struct.pack_into("<HHLL", large, rows[tag], tag, 4, 1, 200_000)
    vp8x = b"VP8X" + struct.pack("<L", 10) + bytes(4) + b"\xfe\x3f\0" * 2
    webp = b"RIFF" + struct.pack("<L", 4 + len(vp8x)) + b"WEBP" + vp8x
    return {"PNG": png, "JPEG": bytes(jpeg), "TIFF": bytes(large), "WEBP": webp, "PPM": b"P6 99999 99999 255\n\0"}


@pytest.mark.parametrize("kind", bombs())
def test_nothing_is_allocated_for_an_image_that_only_says_it_is_huge(kind):
    import resource

    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(UnreadableImageError, match=r"pixels|cannot be read|not an image"):
        decoded(bombs()[kind])
    with pytest.raises(ImageRefusedError, match=r"^gate: "):
        take_in(bombs()[kind], "gate")
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200_000  # kB; any of them decoded takes GB


def changed(data, rng):
    """A file with a few bytes changed, mostly in its head, cut off, or with bytes put in or taken out."""
    data = bytearray(data)
    head = min(len(data), int(rng.choice([40, 200, len(data)])))
    for at in rng.integers(0, head, rng.integers(1, 7)):
        data[at] = rng.choice([0, 0xFF, 0x80, rng.integers(256), data[at] ^ (1 << rng.integers(8))])
    if rng.random() < 0.15:
        del data[rng.integers(len(data)) :]
    if rng.random() < 0.15:
        at = rng.integers(head)
        data[at:at] = rng.bytes(rng.integers(1, 9))
    if rng.random() < 0.15:
        at = rng.integers(head)
        del data[at : at + rng.integers(1, 9)]
    return bytes(data)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", [*KINDS, "GIF", "BMP", "PPM", "JPEG2000", "deep TIFF", "LZW"])
def test_changed_bytes_give_an_image_or_the_one_error(kind):
    rng = np.random.default_rng(len(kind))
    file = io.BytesIO()
    if kind == "deep TIFF":
        Image.fromarray(np.asarray(scene().convert("L"), np.float32)).save(file, "TIFF")
    elif kind == "LZW":
        scene().convert("P").save(file, "TIFF", compression="tiff_lzw")
    else:
        options = {} if kind in ("GIF", "BMP", "PPM") else {"exif": exif()}
        scene().save(file, kind, **KINDS.get(kind, {}), **({} if kind == "JPEG2000" else options))
    good, outcomes = file.getvalue(), {True: 0, False: 0}
    for _ in range(300 if "TIFF" in kind else 1500):  # a changed size of a TIFF is decoded, at length
        data = changed(good, rng)
        said = None
        try:
            image = decoded(data)
        except UnreadableImageError as error:
            said = str(error)
        outcomes[said is None] += 1
        assert (image.dtype, image.shape[2:]) == (np.uint8, (3,)) if said is None else said.isprintable() and said
        with contextlib.suppress(ImageRefusedError):
            take_in(data, "gate")
    assert min(outcomes.values()) > 20, outcomes  # both happened often


@pytest.mark.parametrize(
    "raised", [SyntaxError, struct.error, KeyError, OverflowError, MemoryError, zlib.error, RecursionError, TypeError]
)
def test_whatever_a_decoder_raises_is_skipped_and_named(raised, tmp_path, monkeypatch):
    """Both while a file is opened and while it is decoded, with a message that says something."""
    (tmp_path / "a.jpg").write_bytes(encoded("JPEG"))

    def fail(*_, **__):
        raise raised

    for place in ("PIL.JpegImagePlugin.JpegImageFile._open", "PIL.ImageFile.ImageFile.load"):
        with monkeypatch.context() as patch:
            patch.setattr(place, fail)
            pictures = ImageReader((24, 16), None, 0)
            assert pictures.vehicle(Sample(tmp_path / "a.jpg", 0, 0)) is None
            assert list(pictures.bad) == [str(tmp_path / "a.jpg")]
            assert all(pictures.bad.values())
            with pytest.raises(ImageRefusedError, match=r"^gate: "):
                take_in(encoded("JPEG"), "gate")


def test_a_file_is_no_program(tmp_path):
    """Pillow hands PostScript to an interpreter, whatever the file is called."""
    (tmp_path / "a.jpg").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 20 20\n%%EndComments\nshowpage\n")
    with Image.open(tmp_path / "a.jpg") as file:
        assert file.format == "EPS"
    with pytest.raises(UnreadableImageError, match="not an image"):
        open_image(tmp_path / "a.jpg")


def test_a_file_too_large_to_be_an_image_is_not_read(tmp_path):
    with (tmp_path / "a.jpg").open("wb") as file:
        file.truncate(2**40)  # takes no room
    with pytest.raises(UnreadableImageError, match="more than 512 MiB"):
        open_image(tmp_path / "a.jpg")


@pytest.mark.parametrize("read", [open_image, read_photo])
@pytest.mark.parametrize("name", ["pipe.jpg", "link.jpg", "/dev/null"])
def test_what_is_no_regular_file_is_not_waited_for(read, name, tmp_path):
    """A pipe that nobody writes to would be waited for without an end."""
    os.mkfifo(tmp_path / "pipe.jpg")
    (tmp_path / "link.jpg").symlink_to("pipe.jpg")
    found = []

    def run():
        with pytest.raises((OSError, ImageRefusedError), match="not a regular file") as error:
            read(tmp_path / name)
        found.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(5)
    assert found
