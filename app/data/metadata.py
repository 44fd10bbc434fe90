"""Orientation of an encoded image, and the image without what a camera or a program wrote beside its pixels.

Decoders interpret far more of a file than its pixels: resolutions, colour profiles, thumbnails, multi-picture indices,
comments. An odd value in any of these makes them refuse a good image. So the orientation is read here, alone, and the
decoder gets only what the pixels need.
"""

import re
import struct
import zlib
from collections.abc import Iterator

_ORIENTATION = 0x0112
_XMP = re.compile(rb'tiff:Orientation(?:="|>)([0-9])')
_EXIF_HEADER = b"Exif\0\0"
_XMP_HEADER = b"http://ns.adobe.com/xap/1.0/\0"
_MOST_TEXT = 2**22  # bytes of a compressed text that are looked at: an orientation stands near its start
_INTEGERS = {1: "B", 3: "H", 4: "L", 6: "b", 8: "h", 9: "l"}  # types of TIFF 6.0, section 2

_JFIF = b"\xff\xe0\x00\x10JFIF\0\x01\x01\0\0\x01\0\x01\0\0"
_PNG_START = b"\x89PNG\r\n\x1a\n"
_PNG_PIXELS = (b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND")
# Sizes, layout, colours and compression (TIFF 6.0, sections 8 and 13 to 22), without which strips cannot be decoded.
_TIFF_PIXELS = {
    *(256, 257, 258, 259, 262, 266, 273, 277, 278, 279, 284, 292, 293, 317, 320, 322, 323, 324, 325, 332, 338, 339),
    *(347, 512, 513, 514, 515, 517, 518, 519, 520, 521, 529, 530, 531, 532),
}


def split(data: bytes) -> tuple[int, bytes]:
    """The orientation of a JPEG, PNG, WebP or TIFF file, 1 to 8 as in Exif, and the file without its metadata.

    The orientation is 1 where none is given or it is none of these. Never raises: what cannot be understood is left as
    it is, for the decoder to refuse. A BigTIFF and a file of another format come back whole, with the orientation 1."""
    if data[:2] == b"\xff\xd8":
        exif, xmp, pixels = _jpeg(data)
    elif data.startswith(_PNG_START):
        exif, xmp, pixels = _png(data)
    elif data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        exif, xmp, pixels = _webp(data)
    elif data[:4] in (b"II*\0", b"MM\0*"):
        exif, xmp, pixels = _tiff(data)
    else:
        return 1, data
    return orientation(exif, xmp), pixels


def orientation(exif: bytes, xmp: bytes = b"") -> int:
    """The orientation that Exif data, or else XMP, give; 1 for none or a wrong one."""
    found = _exif_orientation(exif)
    if found is None and (match := _XMP.search(xmp)):
        found = int(match[1])
    return found if found is not None and 1 <= found <= 8 else 1


def _exif_orientation(exif: bytes) -> int | None:
    """The tag's value; None where there is no such tag or its value is no integer."""
    while exif.startswith(_EXIF_HEADER):
        exif = exif[len(_EXIF_HEADER) :]
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


def _jpeg(data: bytes) -> tuple[bytes, bytes, bytes]:
    """Exif, XMP and the segments that a decoder needs: APP0 and APP14 say how the colours are stored."""
    exif, xmp, kept = b"", b"", [data[:2]]
    at = 2
    while at + 4 <= len(data) and data[at] == 0xFF:
        marker = data[at + 1]
        if marker == 0xFF:  # a fill byte
            at += 1
            continue
        if marker == 0xDA or marker == 0x01 or 0xD0 <= marker <= 0xD9:  # the pixels, or nothing that has a length
            break
        end = at + 2 + struct.unpack_from(">H", data, at + 2)[0]
        payload = data[at + 4 : end]
        if end < at + 4:
            break
        if marker == 0xE0 and payload.startswith(b"JFIF"):
            kept.append(_JFIF)  # as it should be: its resolution may be none
        elif marker == 0xE1 and payload.startswith(_EXIF_HEADER):
            exif += payload[len(_EXIF_HEADER) :]
        elif marker == 0xE1 and payload.startswith(_XMP_HEADER):
            xmp = xmp or payload
        elif not (0xE0 <= marker <= 0xEF or marker == 0xFE) or (
            marker == 0xEE and payload.startswith(b"Adobe") and len(payload) >= 12
        ):
            kept.append(data[at:end])
        at = end
    return exif, xmp, b"".join([*kept, data[at:]])


def _png(data: bytes) -> tuple[bytes, bytes, bytes]:
    """Exif, XMP and the chunks that make the pixels."""
    exif, profile, xmp, kept = b"", b"", b"", [_PNG_START]
    at = len(_PNG_START)
    while at + 12 <= len(data):
        length, name = struct.unpack_from(">L4s", data, at)
        end = at + 12 + length
        if end > len(data):
            break
        content = data[at + 8 : end - 4]
        if name in _PNG_PIXELS:
            kept.append(data[at:end])
        elif name == b"eXIf":
            exif = exif or content
        elif name in (b"tEXt", b"zTXt") and content.startswith(b"Raw profile type exif\0"):
            profile = profile or _raw_profile(content.partition(b"\0")[2], compressed=name == b"zTXt")
        elif name == b"iTXt" and content.startswith(b"XML:com.adobe.xmp\0"):
            rest = content.partition(b"\0")[2]
            xmp = xmp or (_inflated(rest[2:].split(b"\0", 2)[-1]) if rest[:1] == b"\1" else rest)
        at = end
        if name == b"IEND":
            return exif or profile, xmp, b"".join(kept)
    return exif or profile, xmp, b"".join([*kept, data[at:]])


def _raw_profile(text: bytes, *, compressed: bool) -> bytes:
    """Exif data that ImageMagick wrote as a text: a name and a length, then hexadecimal digits, in lines."""
    try:
        return bytes.fromhex("".join((_inflated(text[1:]) if compressed else text).decode("ascii").split("\n")[3:]))
    except ValueError:
        return b""


def _inflated(data: bytes) -> bytes:
    """What zlib packed, up to a limit; nothing if it is damaged."""
    try:
        return zlib.decompressobj().decompress(data, _MOST_TEXT)
    except zlib.error:
        return b""


def _webp(data: bytes) -> tuple[bytes, bytes, bytes]:
    """Exif, XMP and the whole file: its decoder looks at the pixels alone."""
    found: dict[bytes, bytes] = {}
    at = 12
    while at + 8 <= len(data):
        name, length = struct.unpack_from("<4sL", data, at)
        if name in (b"EXIF", b"XMP "):
            found.setdefault(name, data[at + 8 : at + 8 + length])
        at += 8 + length + length % 2
    return found.get(b"EXIF", b""), found.get(b"XMP ", b""), data


def _tiff(data: bytes) -> tuple[bytes, bytes, bytes]:
    """The file as Exif data, its XMP, and the file with another directory, at its end: that of the pixels alone."""
    order = "<" if data[:2] == b"II" else ">"
    if len(data) < 8:
        return b"", b"", data
    xmp, kept = b"", []
    for tag, kind, count, at in _entries(data, order, struct.unpack_from(f"{order}L", data, 4)[0]):
        if tag == 700 and kind in (1, 7) and count > 4:
            start = struct.unpack_from(f"{order}L", data, at)[0]
            xmp = data[start : start + count]
        elif tag in _TIFF_PIXELS:
            kept.append(data[at - 8 : at + 4])
    if not kept or len(data) >= 2**32 - 2**20:
        return data, xmp, data
    padded = data + b"\0" * (len(data) % 2)  # a directory begins at an even place
    directory = struct.pack(f"{order}H", len(kept)) + b"".join(kept) + struct.pack(f"{order}L", 0)
    return data, xmp, data[:4] + struct.pack(f"{order}L", len(padded)) + padded[8:] + directory
