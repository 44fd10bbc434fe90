"""Orientation of an encoded image, and the image without what a camera or a program wrote beside its pixels.

Decoders interpret far more of a file than its pixels: resolutions, colour profiles, thumbnails, multi-image indices,
comments. An odd value in any of these makes them refuse a good image. So the orientation is read here, alone, and the
decoder gets only what the pixels need.

An image has few parts for its size. Files of less than a megabyte kept a decoder busy for minutes: by millions of empty
segments, by thousands of scans over one image, by a directory of millions of strips.
"""

import re
import struct
import zlib
from collections.abc import Container, Iterator, Sequence

from app.images.xmp import xmp_orientation
from models.errors import FedVehicleReidError

MOST_SCANS = 32
"""Of a progressive JPEG; libjpeg writes 10 for three components, and 18 for four."""
# PNG encoders cut the pixels into pieces of 8 KiB, JPEG segments have up to 64.
_FEW_PARTS, _BYTES_OF_A_PART = 1000, 1024
_MOST_VALUES = 2**17  # in the directory of a TIFF: places and lengths of its strips, of every row and channel
_MARKER = re.compile(rb"\xff+[^\x00\xff]")
_ORIENTATION = 0x0112
_EXIF_HEADER = b"Exif\0\0"
_XMP_HEADER = b"http://ns.adobe.com/xap/1.0/\0"
_MOST_TEXT = 2**22  # bytes of all XMP, and of all that is compressed, that are looked at in one file
_MOST_INFLATION = 1032  # bytes that deflate (RFC 1951) can make of one
_NO_FILL_BYTE = re.compile(rb"[^\xff]")
_INTEGERS = {1: "B", 3: "H", 4: "L", 6: "b", 8: "h", 9: "l"}  # types of TIFF 6.0, section 2

_JFIF = b"\xff\xe0\x00\x10JFIF\0\x01\x01\0\0\x01\0\x01\0\0"
_PNG_START = b"\x89PNG\r\n\x1a\n"
_PNG_PIXELS = (b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND")
# Sizes, layout, colours and compression (TIFF 6.0, sections 8 and 13 to 22), without which strips cannot be decoded.
_TIFF_PIXELS = {
    *(256, 257, 258, 259, 262, 266, 273, 277, 278, 279, 284, 292, 293, 317, 320, 322, 323, 324, 325, 332, 338, 339),
    *(347, 512, 513, 514, 515, 517, 518, 519, 520, 521, 529, 530, 531, 532),
}


class TooCostlyError(FedVehicleReidError, ValueError):
    """A file whose decoding would take far longer than that of an image of its size."""


def split(data: bytes) -> tuple[int, bytes]:
    """The orientation of a JPEG, PNG, WebP or TIFF file, 1 to 8 as in Exif, and the file without its metadata.

    The orientation is 1 where none is given or it is none of these. What cannot be understood is left as it is, for the
    decoder to refuse. A BigTIFF and a file of another format come back whole, with the orientation 1. Raises
    TooCostlyError for a file of more parts than an image has, which a decoder would be busy with for minutes."""
    if data[:2] == b"\xff\xd8":
        exif, xmp, pixels = _jpeg(data)
    elif data.startswith(_PNG_START):
        exif, xmp, pixels = _png(data)
    elif data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        exif, xmp, pixels = _webp(data)
    elif data[:4] in (b"II+\0", b"MM\0+"):
        _require_small_directory(data, _TIFF_PIXELS)
        return 1, data
    elif data[:4] in (b"II*\0", b"MM\0*"):
        exif, xmp, pixels = _tiff(data)
        _require_small_directory(pixels, _TIFF_PIXELS)
    else:
        return 1, data
    return orientation(exif, xmp), pixels


def orientation(exif: Sequence[bytes], xmp: Sequence[bytes] = ()) -> int:
    """The first valid orientation in blocks of Exif data, or else in XMP; 1 for none."""
    return next((value for value in _orientations(exif, xmp) if value is not None and 1 <= value <= 8), 1)


def _orientations(exif: Sequence[bytes], xmp: Sequence[bytes]) -> Iterator[int | None]:
    yield from map(_exif_orientation, exif)
    left = _MOST_TEXT
    for packet in xmp:
        if left <= 0:
            return
        yield xmp_orientation(packet[:left])
        left -= len(packet)


def _exif_orientation(exif: bytes) -> int | None:
    """The tag's value; None where there is no such tag or its value is no integer."""
    start = 0
    while exif.startswith(_EXIF_HEADER, start):  # some programs write it twice
        start += len(_EXIF_HEADER)
    exif = exif[start:] if start else exif
    order = {b"II": "<", b"MM": ">"}.get(exif[:2])
    if order is None or len(exif) < 8:
        return None
    for tag, kind, count, at in _entries(exif, order, struct.unpack_from(f"{order}L", exif, 4)[0]):
        if tag != _ORIENTATION or kind not in _INTEGERS or not count:
            continue
        code = f"{order}{_INTEGERS[kind]}"
        if count * struct.calcsize(code) > 4:  # the value does not fit into the entry, which tells where it is
            at = struct.unpack_from(f"{order}L", exif, at)[0]
        if at + struct.calcsize(code) <= len(exif):
            return int(struct.unpack_from(code, exif, at)[0])
    return None


def _entries(data: bytes, order: str, start: int) -> Iterator[tuple[int, int, int, int]]:
    """Tag, type, count and place of the value of each entry of a directory, as far as the data go."""
    if start + 2 > len(data):
        return
    for at in range(start + 2, start + 2 + 12 * struct.unpack_from(f"{order}H", data, start)[0], 12):
        if at + 12 > len(data):
            return
        tag, kind, count = struct.unpack_from(f"{order}HHL", data, at)
        yield tag, kind, count, at + 8


def _jpeg(data: bytes) -> tuple[list[bytes], list[bytes], bytes]:
    """Exif, XMP and the segments that a decoder needs: APP0 and APP14 say how the colours are stored.

    Exif data may go on in the next segments; where they cannot be read together, each later one is tried alone."""
    exif, xmp, kept = [], [], [data[:2]]
    at, parts = 2, 0
    while at + 4 <= len(data) and data[at] == 0xFF:
        marker = data[at + 1]
        if marker == 0xFF:  # fill bytes
            found = _NO_FILL_BYTE.search(data, at)
            at = len(data) - 1 if found is None else found.start() - 1
            continue
        if marker == 0xDA or marker == 0x01 or 0xD0 <= marker <= 0xD9:  # the pixels, or nothing that has a length
            break
        _require_few_parts(parts := parts + 1, len(data))
        end = at + 2 + struct.unpack_from(">H", data, at + 2)[0]
        payload = data[at + 4 : end]
        if end < at + 4:
            break
        if marker == 0xE0 and payload.startswith(b"JFIF"):
            kept.append(_JFIF)  # as it should be: its resolution may be none
        elif marker == 0xE1 and payload.startswith(_EXIF_HEADER):
            exif.append(payload[len(_EXIF_HEADER) :])
        elif marker == 0xE1 and payload.startswith(_XMP_HEADER):
            xmp.append(payload[len(_XMP_HEADER) :])
        elif not (0xE0 <= marker <= 0xEF or marker == 0xFE) or (
            marker == 0xEE and payload.startswith(b"Adobe") and len(payload) >= 12
        ):
            kept.append(data[at:end])
        at = end
    _require_few_scans(data, at)
    return [b"".join(exif), *exif[1:]], xmp, b"".join([*kept, data[at:]])


def _png(data: bytes) -> tuple[list[bytes], list[bytes], bytes]:
    """Exif, XMP and the chunks that make the pixels."""
    exif, profiles, xmp, kept = [], [], [], [_PNG_START]
    inflater = _Inflater()
    at, parts = len(_PNG_START), 0
    while at + 12 <= len(data):
        _require_few_parts(parts := parts + 1, len(data))
        length, name = struct.unpack_from(">L4s", data, at)
        end = at + 12 + length
        if end > len(data):
            break
        content = data[at + 8 : end - 4]
        if name in _PNG_PIXELS:
            kept.append(data[at:end])
        elif name == b"eXIf":
            exif.append(content)
        elif name in (b"tEXt", b"zTXt") and content.startswith(b"Raw profile type exif\0"):
            text = content.partition(b"\0")[2]
            profiles.append(_raw_profile(inflater.inflated(text[1:]) if name == b"zTXt" else text))
        elif name == b"iTXt" and content.startswith(b"XML:com.adobe.xmp\0"):
            packed, text = content.partition(b"\0")[2][:1] == b"\1", content.split(b"\0", 1)[1][2:].split(b"\0", 2)[-1]
            xmp.append(inflater.inflated(text) if packed else text)
        at = end
        if name == b"IEND":
            return exif + profiles, xmp, b"".join(kept)
    return exif + profiles, xmp, b"".join([*kept, data[at:]])


def _raw_profile(text: bytes) -> bytes:
    """Exif data that ImageMagick wrote as a text: a name and a length, then hexadecimal digits, in lines."""
    try:
        return bytes.fromhex("".join(text.decode("ascii").split("\n", 3)[3:]))
    except ValueError:
        return b""


class _Inflater:
    """The texts of one file that zlib packed, up to a limit for all of them together."""

    def __init__(self) -> None:
        self._left = _MOST_TEXT

    def inflated(self, data: bytes) -> bytes:
        """What was packed, as far as the limit goes; nothing if it is damaged."""
        if self._left <= 0:
            return b""
        try:
            text = zlib.decompressobj().decompress(data, self._left)
        except zlib.error:
            self._left -= _MOST_INFLATION * len(data)  # at most so much was made before the damage was met
            return b""
        self._left -= len(text)
        return text


def _webp(data: bytes) -> tuple[list[bytes], list[bytes], bytes]:
    """Exif, XMP and the whole file: its decoder looks at the pixels alone."""
    found: dict[bytes, list[bytes]] = {b"EXIF": [], b"XMP ": []}
    at, parts = 12, 0
    while at + 8 <= len(data):
        _require_few_parts(parts := parts + 1, len(data))
        name, length = struct.unpack_from("<4sL", data, at)
        if name in found:
            found[name].append(data[at + 8 : at + 8 + length])
        at += 8 + length + length % 2
    return found[b"EXIF"], found[b"XMP "], data


def _tiff(data: bytes) -> tuple[list[bytes], list[bytes], bytes]:
    """The file as Exif data, its XMP, and the file with another directory, at its end: that of the pixels alone."""
    order = "<" if data[:2] == b"II" else ">"
    if len(data) < 8:
        return [], [], data
    xmp: list[bytes] = []
    kept = []
    for tag, kind, count, at in _entries(data, order, struct.unpack_from(f"{order}L", data, 4)[0]):
        if tag == 700 and kind in (1, 7) and count > 4 and not xmp:  # one: thousands could each be the whole file
            start = struct.unpack_from(f"{order}L", data, at)[0]
            xmp.append(data[start : start + count])
        elif tag in _TIFF_PIXELS:
            kept.append(data[at - 8 : at + 4])
    if not kept or len(data) >= 2**32 - 2**20:
        return [data], xmp, data
    padded = data + b"\0" * (len(data) % 2)  # a directory begins at an even place
    directory = struct.pack(f"{order}H", len(kept)) + b"".join(kept) + struct.pack(f"{order}L", 0)
    return [data], xmp, data[:4] + struct.pack(f"{order}L", len(padded)) + padded[8:] + directory


def _require_few_parts(number: int, size: int) -> None:
    """Raise TooCostlyError for more segments or chunks than a file of `size` bytes is cut into."""
    if number > _FEW_PARTS + size // _BYTES_OF_A_PART:
        raise TooCostlyError(f"over {number - 1} parts in {size} bytes")


def _require_few_scans(data: bytes, at: int) -> None:
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
        _require_few_parts(parts, len(data))
        at += struct.unpack_from(">H", data, at)[0] if at + 2 <= len(data) else 2


def _require_small_directory(data: bytes, pixel_tags: Container[int]) -> None:
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
