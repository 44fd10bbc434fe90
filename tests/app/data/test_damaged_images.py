"""Images with odd metadata are read as good ones; damaged ones end in one error, whatever the decoder makes of them."""

import contextlib
import io
import struct
import warnings
import zlib

import numpy as np
import pytest
from PIL import Image, ImageOps, PngImagePlugin

from app.data.decode import UnreadableImageError, open_picture, upright_rgb, upright_size
from app.data.metadata import split
from app.data.pictures import Pictures
from app.data.sample import Sample
from app.registry.errors import PictureRefusedError
from app.registry.photos import take_in

KINDS = {"JPEG": {"quality": 95}, "PNG": {}, "WEBP": {"lossless": True}, "TIFF": {}}


def scene():
    """24 x 16 pixels, of which no turn and no mirror image is like another."""
    rows, columns = np.mgrid[0:16, 0:24]
    return Image.fromarray(np.dstack([rows * 15, columns * 10, np.full_like(rows, 90)]).astype(np.uint8))


def encoded(kind, image=None, **options):
    file = io.BytesIO()
    (image or scene()).save(file, kind, **KINDS[kind], **options)
    return file.getvalue()


def decoded(data):
    with open_picture(data) as file:
        return np.asarray(upright_rgb(file))


def exif(*entries, orientation=6, order="<"):
    """Exif data with one directory: entries are (tag, type, count, four bytes), then the orientation."""
    rows = [struct.pack(f"{order}HHL", *entry[:3]) + entry[3] for entry in entries]
    if orientation is not None:
        rows.append(struct.pack(f"{order}HHLHH", 0x0112, 3, 1, orientation, 0))
    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(f"{order}L", 8)
    return b"Exif\0\0" + head + struct.pack(f"{order}H", len(rows)) + b"".join(rows) + bytes(4)


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
    pictures = Pictures((24, 16), None, 0)
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


def chunk(name, data):
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


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


def tiff(*more):
    """The scene as TIFF with these further entries, sorted in among its own."""
    data = encoded("TIFF")
    start = struct.unpack_from("<L", data, 4)[0]
    count = struct.unpack_from("<H", data, start)[0]
    rows = [data[start + 2 + 12 * k : start + 14 + 12 * k] for k in range(count)]
    rows = sorted([*rows, *more], key=lambda row: struct.unpack_from("<H", row)[0])
    new = struct.pack("<H", len(rows)) + b"".join(rows) + bytes(4)
    return data[:4] + struct.pack("<L", len(data)) + data[8:] + new


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
    with pytest.raises(UnreadableImageError, match=r"pixels|cannot be read|not a picture"):
        decoded(bombs()[kind])
    with pytest.raises(PictureRefusedError, match=r"^gate: "):
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
        with contextlib.suppress(PictureRefusedError):
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
            pictures = Pictures((24, 16), None, 0)
            assert pictures.vehicle(Sample(tmp_path / "a.jpg", 0, 0)) is None
            assert list(pictures.bad) == [str(tmp_path / "a.jpg")]
            assert all(pictures.bad.values())
            with pytest.raises(PictureRefusedError, match=r"^gate: "):
                take_in(encoded("JPEG"), "gate")


def test_a_file_is_no_program(tmp_path):
    """Pillow hands PostScript to an interpreter, whatever the file is called."""
    (tmp_path / "a.jpg").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 20 20\n%%EndComments\nshowpage\n")
    with Image.open(tmp_path / "a.jpg") as file:
        assert file.format == "EPS"
    with pytest.raises(UnreadableImageError, match="not a picture"):
        open_picture(tmp_path / "a.jpg")


def test_a_file_too_large_to_be_an_image_is_not_read(tmp_path):
    with (tmp_path / "a.jpg").open("wb") as file:
        file.truncate(2**40)  # takes no room
    with pytest.raises(UnreadableImageError, match="more than 512 MiB"):
        open_picture(tmp_path / "a.jpg")
