"""Limits on the parts of an image file that take time and hold few pixels, or none.

Files of less than a megabyte kept a decoder busy for minutes: by millions of empty segments, by thousands of scans over
one image, by a directory of millions of strips, or through one of Pillow's decoders that are written in Python.
"""

import re
import struct
from collections.abc import Container

from PIL import Image

from models.errors import FedVehicleReidError

MOST_SCANS = 32
"""Of a progressive JPEG; libjpeg writes 10 for three components, and 18 for four."""
_FEW_PARTS, _BYTES_OF_A_PART = (
    1000,
    1024,
)  # PNG encoders cut the pixels into pieces of 8 KiB, JPEG segments have up to 64
_MOST_VALUES = 2**17  # in the directory of a TIFF: places and lengths of its strips, of every row and channel
_MARKER = re.compile(rb"\xff+[^\x00\xff]")
_SLOW_BYTES = {"bmp_rle": 2**20, "ppm": 2**20}
_SLOW_TEXT = 2**16  # Pillow searches the comments of a PPM in text anew from its start


class TooCostlyError(FedVehicleReidError, ValueError):
    """A file whose decoding would take far longer than that of an image of its size."""


def require_few_parts(number: int, size: int) -> None:
    """Raise TooCostlyError for more segments or chunks than a file of `size` bytes is cut into."""
    if number > _FEW_PARTS + size // _BYTES_OF_A_PART:
        raise TooCostlyError(f"over {number - 1} parts in {size} bytes")


def require_few_scans(data: bytes, at: int) -> None:
    """Raise TooCostlyError for a JPEG of too many scans, the first of which begins at `at`: each goes over the whole
    image, however few bytes it has."""
    scans, parts = 0, 0
    while (found := _MARKER.search(data, at)) is not None and data[found.end() - 1] != 0xD9:  # the image's end
        marker, at = data[found.end() - 1], found.end()
        if marker == 0x01 or 0xD0 <= marker <= 0xD8:  # nothing that has a length
            continue
        parts += 1
        scans += marker == 0xDA
        if scans > MOST_SCANS:
            raise TooCostlyError(f"over {MOST_SCANS} scans of one image")
        require_few_parts(parts, len(data))
        at += struct.unpack_from(">H", data, at)[0] if at + 2 <= len(data) else 2


def require_small_directory(data: bytes, pixel_tags: Container[int]) -> None:
    """Raise TooCostlyError for a TIFF, of 32 or 64 bits, whose first directory has more values than an image needs.

    Args:
        pixel_tags: that a decoder reads value by value; of all others it copies the bytes, which are in the file once.
    """
    order, big = "<" if data[:2] == b"II" else ">", data[2:4] in (b"+\0", b"\0+")
    start_form, number_form, entry_form = (
        f"{order}{form}" for form in (("Q", "Q", "HHQ8x") if big else ["L", "H", "HHL4x"])
    )
    size = struct.calcsize(entry_form)
    try:
        start = struct.unpack_from(start_form, data, 8 if big else 4)[0]
        end = start + struct.calcsize(number_form) + size * struct.unpack_from(number_form, data, start)[0]
    except struct.error:  # cut off, for the decoder to refuse
        return
    values, others = 0, 0
    for at in range(start + struct.calcsize(number_form), min(end, len(data) - size + 1), size):
        tag, _, count = struct.unpack_from(entry_form, data, at)
        values, others = (values + count, others) if tag in pixel_tags else (values, others + count)
        if values > _MOST_VALUES or others > len(data):
            raise TooCostlyError(f"a directory of {values + others} values and more")


def require_fast_decoder(file: Image.Image, size: int) -> None:
    """Raise TooCostlyError for a large file that only a decoder written in Python can read."""
    for name in {str(tile[0]) for tile in getattr(file, "tile", ())} & set(Image.DECODERS):
        if size > (most := _SLOW_BYTES.get(name, _SLOW_TEXT)):
            raise TooCostlyError(f"{file.format} of this kind ({name}) with more than {most} bytes; save it as PNG")
