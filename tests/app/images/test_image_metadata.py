"""Images with odd metadata are read as good ones, the right way up."""

import io
import struct
import time
import warnings
import zlib
from contextlib import suppress

import numpy as np
import pytest
from encoded_images import KINDS, chunk, decoded, encoded, exif, scene, tiff
from PIL import Image, ImageOps, PngImagePlugin

from app.core.sample import Sample
from app.data.crops import ImageReader
from app.images.decode import upright_rgb, upright_size
from app.images.metadata import TooCostlyError, split
from app.register.photos import take_in

# By name: what stands beside the orientation. Types: 2 text, 3 short, 4 long, 5 and 10 rationals, 7 undefined.
ODD = {
    "text for a resolution": [(0x011A, 2, 4, b"abc\0")],
    "minus one over zero": [(0x011A, 10, 1, struct.pack("<L", 8)), (0x0128, 3, 1, b"\2\0\0\0")],
    "text for the unit": [(0x0128, 2, 2, b"x\0\0\0")],
    "an offset beyond the end": [(0x010F, 2, 99, struct.pack("<L", 70_000))],
    "a huge count": [(0x010F, 5, 2**32 - 1, struct.pack("<L", 8))],
    "a type that is none": [(0x010F, 999, 1, bytes(4))],
    "a count of none": [(0x010F, 3, 0, bytes(4))],
    "a directory inside that is its own": [(0x8769, 4, 1, struct.pack("<L", 8))],
    "a directory inside beyond the end": [(0x8825, 4, 1, struct.pack("<L", 9**9))],
    "a date that is a number": [(0x0132, 12, 1, struct.pack("<L", 8))],
    "several units": [(0x0128, 3, 2, b"\1\0\2\0")],
    "not text": [(0x010F, 2, 4, b"\xff\xfe\xfd\xfc")],
}


def jpeg_with(*segments):
    """The scene as JPEG with these segments (marker, content) in front of its own."""
    return (
        b"\xff\xd8"
        + b"".join(bytes((0xFF, m)) + struct.pack(">H", len(c) + 2) + c for m, c in segments)
        + encoded("JPEG")[2:]
    )


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("value", range(1, 9))
def test_all_orientations_are_turned_as_pillow_turns_them(kind, value, order):
    written = exif(orientation=value, order=order)
    if kind == "TIFF":
        written = Image.Exif()
        written[0x0112] = value
    data = encoded(kind, exif=written)
    with Image.open(io.BytesIO(data)) as file:
        expected = np.asarray(ImageOps.exif_transpose(file).convert("RGB"))
    np.testing.assert_array_equal(decoded(data), expected)
    assert expected.shape == ((16, 24, 3) if value < 5 else (24, 16, 3))


@pytest.mark.parametrize("odd", ODD.values(), ids=ODD)
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_what_stands_beside_the_orientation_costs_nothing(kind, odd, tmp_path):
    """Turned by Pillow's own transpose of what it decodes without Exif; in training and at the gate alike."""
    with Image.open(io.BytesIO(encoded(kind))) as plain:
        expected = np.asarray(plain.convert("RGB").transpose(Image.Transpose.ROTATE_270))
    data = encoded(kind, exif=exif(*odd))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        np.testing.assert_array_equal(decoded(data), expected)
        np.testing.assert_array_equal(np.asarray(take_in(data, "gate").image), expected)
    (tmp_path / "odd").write_bytes(data)
    pictures = ImageReader((24, 16), None, 0)
    found = pictures.vehicle(Sample(tmp_path / "odd", 0, 0))
    assert found is not None, pictures.bad
    np.testing.assert_array_equal(found.numpy().transpose(1, 2, 0), expected)
    assert upright_size(tmp_path / "odd") == (16, 24)


@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        ((0x0112, 2, 2, b"6\0\0\0"), 1),  # text is no number
        ((0x0112, 3, 1, struct.pack("<HH", 0, 0)), 1),
        ((0x0112, 3, 1, struct.pack("<HH", 9, 0)), 1),
        ((0x0112, 3, 1, struct.pack("<HH", 65535, 0)), 1),
        ((0x0112, 8, 1, struct.pack("<hh", -1, 0)), 1),
        ((0x0112, 4, 1, struct.pack("<L", 8)), 8),
        ((0x0112, 1, 1, b"\3\0\0\0"), 3),
        ((0x0112, 3, 0, bytes(4)), 1),
        ((0x0112, 3, 2, struct.pack("<HH", 6, 7)), 6),  # the first, as Pillow takes it
        ((0x0112, 5, 1, struct.pack("<L", 8)), 1),
        ((0x0112, 3, 9**9, struct.pack("<L", 9**9)), 1),
    ],
)
def test_an_odd_orientation_is_none(entry, expected):
    data = encoded("JPEG", exif=exif(entry, orientation=None))
    assert split(data)[0] == expected
    decoded(data)


@pytest.mark.parametrize("length", range(0, 34))
def test_exif_may_end_anywhere(length):
    data = jpeg_with((0xE1, exif()[:length]))
    assert split(data)[0] == (6 if length >= 28 else 1)  # 6 + 8 + 2 bytes and the ten of the entry that hold the value
    decoded(data)


def test_xmp_and_image_magick_tell_the_orientation_too():
    """Against Pillow's, where the image has no Exif data, or none with an orientation."""
    packet = b'<x:xmpmeta><rdf:Description tiff:Orientation="8"/></x:xmpmeta>'
    plain = decoded(encoded("JPEG"))
    with_xmp = jpeg_with((0xE1, b"http://ns.adobe.com/xap/1.0/\0" + packet))
    both = jpeg_with((0xE1, exif(orientation=3)), (0xE1, b"http://ns.adobe.com/xap/1.0/\0" + packet))
    assert [split(data)[0] for data in (with_xmp, both)] == [8, 3]
    np.testing.assert_array_equal(decoded(with_xmp), np.rot90(plain, 1))
    blob = exif(orientation=5)
    for compressed in (False, True):
        info = PngImagePlugin.PngInfo()
        info.add_text("Raw profile type exif", f"\nexif\n{len(blob):8}\n{blob.hex()}\n", zip=compressed)
        assert split(encoded("PNG", pnginfo=info))[0] == 5
        info = PngImagePlugin.PngInfo()
        info.add_itxt("XML:com.adobe.xmp", packet.decode(), zip=compressed)
        data = encoded("PNG", pnginfo=info)
        with Image.open(io.BytesIO(data)) as file:
            expected = np.asarray(ImageOps.exif_transpose(file))
        np.testing.assert_array_equal(decoded(data), expected)
    data = encoded("WEBP", xmp=packet)
    with Image.open(io.BytesIO(data)) as file:
        np.testing.assert_array_equal(decoded(data), np.asarray(ImageOps.exif_transpose(file)))


@pytest.mark.parametrize(
    "segment",
    [
        (0xE0, b"JFIF\0\1"),
        (0xE0, b"JFIF"),
        (0xE0, b"JFIF\0\1\1\2\0\0\0\0\x09\x09"),
        (0xE2, b"MPF\0"),
        (0xE2, b"MPF\0II*\0" + struct.pack("<LH", 8, 3) + b"\xff" * 40),
        (0xE2, b"MPF\0MM\0*" + struct.pack(">LHHHL4s", 8, 1, 45057, 2, 4, b"four")),
        (0xE2, b"ICC_PROFILE\0"),
        (0xE2, b"ICC_PROFILE\0\0\0nothing"),
        (0xED, b"Photoshop 3.0\0" + b"8BIM\4"),
        (0xED, b"Photoshop 3.0\0" + b"8BIM\3\xed\0\0\0\0\0\2ab"),
        (0xEE, b"Adobe"),
        (0xFE, b""),
        (0xE1, b"http://ns.adobe.com/xap/1.0/\0" + b"\xff" * 50),
    ],
)
def test_no_other_segment_of_a_jpeg_costs_the_image(segment):
    data = jpeg_with(segment)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        np.testing.assert_array_equal(decoded(data), decoded(encoded("JPEG")))
        take_in(data, "gate")


@pytest.mark.parametrize(
    "odd",
    [
        chunk(b"tEXt", b"no separator"),
        chunk(b"zTXt", b"key\0\0not deflated"),
        chunk(b"zTXt", b"key\0\0" + zlib.compress(bytes(2**26))),  # 64 MiB in 64 kB
        chunk(b"iCCP", b"name\0\1odd"),
        chunk(b"pHYs", b"\0"),
        chunk(b"gAMA", b""),
        chunk(b"eXIf", b"\xff\xff\xff"),
        chunk(b"acTL", b"\0\0"),
        chunk(b"gAMA", b"\0\0\1\2")[:-1] + b"?",  # another check sum
    ],
)
def test_no_chunk_beside_the_pixels_costs_a_png(odd):
    data = encoded("PNG")
    end = 8 + 25  # the signature and IHDR
    np.testing.assert_array_equal(decoded(data[:end] + odd + data[end:]), np.asarray(scene()))


@pytest.mark.parametrize("odd", ODD.values(), ids=ODD)
def test_no_tag_beside_the_pixels_costs_a_tiff(odd):
    rows = [struct.pack("<HHL", *entry[:3]) + entry[3] for entry in odd]
    data = tiff(*rows, struct.pack("<HHLHH", 0x0112, 3, 1, 6, 0))
    np.testing.assert_array_equal(decoded(data), np.rot90(np.asarray(scene()), -1))


FORMS = [
    (mode, compression)
    for mode in ("L", "P", "RGBA", "CMYK", "I;16", "F", "YCbCr")
    for compression in ("raw", "tiff_lzw", "tiff_adobe_deflate", "packbits", "jpeg")
    if compression != "jpeg" or mode in ("L", "CMYK", "YCbCr")
]


@pytest.mark.parametrize(("mode", "compression"), [*FORMS, ("1", "group4")])
def test_every_form_of_tiff_is_what_pillow_makes_of_it(mode, compression):
    image = Image.fromarray(np.asarray(scene().convert("L"), np.uint16) * 200) if mode == "I;16" else scene()
    data = encoded("TIFF", image if mode == "I;16" else image.convert(mode), compression=compression)
    with Image.open(io.BytesIO(data)) as file:
        expected = np.asarray(upright_rgb(file))
    np.testing.assert_array_equal(decoded(data), expected)


PROFILE = b"Raw profile type exif\0\0"
SLOW = {
    "Exif headers": lambda: png_with(chunk(b"eXIf", b"Exif\0\0" * 2**18)),
    "profiles that inflate": lambda: png_with(chunk(b"zTXt", PROFILE + zlib.compress(b"\n\n\n" + b"z" * 2**22)) * 200),
    "damaged profiles": lambda: png_with(chunk(b"zTXt", PROFILE + zlib.compress(bytes(2**22))[:-4] + bytes(4)) * 500),
    "XMP that inflates": lambda: png_with(
        chunk(b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + zlib.compress(bytes(2**22))) * 500
    ),
    "segments of Exif data": lambda: jpeg_with(*[(0xE1, b"Exif\0\0" + bytes(65_000))] * 1000),
    "fill bytes": lambda: b"\xff\xd8" + b"\xff" * 2**25 + encoded("JPEG")[2:],
    "XMP of the whole file": lambda: tiff(*[struct.pack("<HHLL", 700, 1, 2**22, 0)] * 2**15) + bytes(2**22),
    "Exif data in WebP": lambda: webp_with(b"EXIF" + struct.pack("<L", 6) + b"Exif\0\0", 2**17),
}


def png_with(chunks):
    data = encoded("PNG")
    return data[:33] + chunks + data[33:]


def webp_with(block, times):
    return encoded("WEBP") + block * times


@pytest.mark.parametrize("made", SLOW.values(), ids=SLOW)
def test_no_metadata_take_long(made):
    """Processor time: under a second, where most of these took 15 s and more when bytes were copied over and over."""
    data = made()
    start = time.process_time()
    with suppress(TooCostlyError):  # more parts than an image has: refused at once
        assert split(data)[0] == 1
    assert time.process_time() - start < 3


@pytest.mark.parametrize("damage", [b"", b"II*\0", b"\xff" * 40, exif(orientation=None)[6:], exif(orientation=9)[6:]])
def test_a_damaged_segment_of_exif_data_hides_no_good_one(damage):
    """A camera's own segment behind one that a program cut off; by Pillow, where the damaged one is not there."""
    good = (0xE1, exif(orientation=6))
    data = jpeg_with((0xE1, b"Exif\0\0" + damage), good)
    assert split(data)[0] == 6
    with Image.open(io.BytesIO(jpeg_with(good))) as file:
        np.testing.assert_array_equal(decoded(data), np.asarray(ImageOps.exif_transpose(file)))
