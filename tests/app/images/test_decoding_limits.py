"""Files that would keep a decoder busy for minutes are refused, and none that an encoder writes is among them."""

import io
import struct

import numpy as np
import pytest
from encoded_images import chunk, decoded, encoded, scene
from PIL import Image

from app.images.decode import UnreadableImageError
from app.register.errors import ImageRefusedError
from app.register.photos import take_in


def saved(kind, image=None, **options):
    file = io.BytesIO()
    (image or scene()).save(file, kind, **options)
    return file.getvalue()


def with_segments(number, marker=0xE5, data=b""):
    jpeg = encoded("JPEG")
    return jpeg[:2] + (b"\xff" + bytes([marker]) + struct.pack(">H", 2 + len(data)) + data) * number + jpeg[2:]


def with_chunks(number, name, data=b""):
    png = encoded("PNG")
    at = png.index(b"IDAT") - 4
    return png[:at] + chunk(name, data) * number + png[at:]


def with_scans(number, between=b""):
    """A progressive JPEG whose last scan, a few bytes, comes again and again."""
    jpeg = saved("JPEG", progressive=True)
    at = jpeg.rindex(b"\xff\xda")
    return jpeg[:at] + (jpeg[at:-2] + between) * number + jpeg[-2:]


def webp(number):
    data = saved("WEBP")
    data = data + (b"EXIF" + bytes(4)) * number
    return data[:4] + struct.pack("<L", len(data) - 8) + data[8:]


def directory(strips, big=False, tag=273, kind=4):
    """A grey TIFF of 64 x 64 pixels that claims so many strips."""
    rows = [(256, 4, 1, 64), (257, 4, 1, 64), (258, 3, 1, 8), (259, 3, 1, 1), (262, 3, 1, 1), (277, 3, 1, 1)]
    rows += [(273, 4, 1, 16), (278, 4, 1, 64), (279, 4, 1, 4096)]
    rows = sorted([row for row in rows if row[0] != tag] + [(tag, kind, strips, 16)])
    pixels = bytes(4 * max(strips, 4096))
    start = 16 + len(pixels)
    if big:
        entries = b"".join(struct.pack("<HHQQ", *row) for row in rows)
        return (
            b"II+\0\x08\0\0\0" + struct.pack("<Q", start) + pixels + struct.pack("<Q", len(rows)) + entries + bytes(8)
        )
    entries = b"".join(struct.pack("<HHLL", *row) for row in rows)
    return b"II*\0" + struct.pack("<L8x", start) + pixels + struct.pack("<H", len(rows)) + entries + bytes(4)


def ppm(form, top, side):
    return b"%b %d %d %d\n" % (form, side, side, top)


END_IN_COMMENT = b"\xff\xfe\x00\x04\xff\xd9"  # an end of the image that is none
COSTLY = {
    **{f"JPEG {marker:x}": with_segments(1100, marker) for marker in (0xDB, 0xE0, 0xE1, 0xE5, 0xFE)},
    **{f"PNG {name.decode()}": with_chunks(1100, name) for name in (b"IDAT", b"tEXt", b"eXIf", b"abCd")},
    "WebP": webp(1100),
    "scans": with_scans(33),
    "scans behind a comment": with_scans(33, END_IN_COMMENT),
    "strips": directory(200_000),
    "strips of a BigTIFF": directory(200_000, big=True),
    "channels": directory(200_000, tag=258, kind=3),
    "BMP runs": None,
    "PPM in text": ppm(b"P3", 255, 300) + b"#\n" * 40_000,
    "PPM of another maximum": ppm(b"P6", 254, 700) + bytes(3 * 700 * 700),
}


def costly(name):
    if name != "BMP runs":
        return COSTLY[name]
    body = b"\1\5" * 600_000
    info = struct.pack("<LllHHLLllLL", 40, 2000, 2000, 1, 8, 1, len(body), 0, 0, 256, 0)
    return b"BM" + struct.pack("<LHHL", 1078 + len(body), 0, 0, 1078) + info + bytes(1024) + body


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", COSTLY)
def test_a_file_that_costs_far_more_than_its_pixels_is_refused(name):
    with pytest.raises(UnreadableImageError, match=r"parts in|scans of one|directory of|kind .* with more than"):
        decoded(costly(name))
    with pytest.raises(ImageRefusedError, match=r"^gate: "):
        take_in(costly(name), "gate")


def test_what_encoders_and_telephones_write_is_read():
    photo = Image.fromarray(np.random.default_rng(0).integers(0, 256, (600, 800, 3), np.uint8))
    progressive = saved("JPEG", photo, progressive=True, quality=95)
    film = progressive + b"\0\0\0\x18ftypmp42" + b"\xff\xda\0\x08" * 5000  # a motion photo: an MP4 behind the image
    rows = saved("TIFF", photo, compression="tiff_lzw", strip_size=2400)  # a strip a row
    comments = with_segments(100, 0xFE, b"x" * 1000)
    many = saved("PNG", Image.fromarray(np.random.default_rng(0).integers(0, 256, (2000, 2000), np.uint8)))
    assert many.count(b"IDAT") > 30
    cmyk = saved("JPEG", photo.convert("CMYK"), progressive=True)
    assert cmyk.count(b"\xff\xda") > progressive.count(b"\xff\xda") == 10
    for data in (film, rows, comments, many, cmyk, with_scans(22), directory(1), directory(1, big=True)):
        assert min(decoded(data).shape[:2]) >= 16


def test_a_thermal_camera_s_own_maximum_is_stretched_as_any_other():
    """640 x 512 values of 14 bits, of which the darkest becomes black and the brightest white."""
    values = np.linspace(1000, 9000, 640 * 512).reshape(512, 640).astype(">u2")
    image = np.asarray(decoded(b"P5 640 512 16383\n" + values.tobytes()))
    assert image[0, 0, 0] == 0
    assert image[-1, -1, 0] == 255
    assert abs(int(image[256, 0, 0]) - 127) <= 2
