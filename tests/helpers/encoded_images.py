"""Small image files of every format, whole or with odd parts, for tests of decoding."""

import io
import struct
import zlib

import numpy as np
from PIL import Image

from app.images.decode import open_image, upright_rgb

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
    with open_image(data) as file:
        return np.asarray(upright_rgb(file))


def exif(*entries, orientation=6, order="<"):
    """Exif data with one directory: entries are (tag, type, count, four bytes), then the orientation."""
    rows = [struct.pack(f"{order}HHL", *entry[:3]) + entry[3] for entry in entries]
    if orientation is not None:
        rows.append(struct.pack(f"{order}HHLHH", 0x0112, 3, 1, orientation, 0))
    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(f"{order}L", 8)
    return b"Exif\0\0" + head + struct.pack(f"{order}H", len(rows)) + b"".join(rows) + bytes(4)


def chunk(name, data):
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def tiff(*more):
    """The scene as TIFF with these further entries, sorted in among its own."""
    data = encoded("TIFF")
    start = struct.unpack_from("<L", data, 4)[0]
    count = struct.unpack_from("<H", data, start)[0]
    rows = [data[start + 2 + 12 * k : start + 14 + 12 * k] for k in range(count)]
    rows = sorted([*rows, *more], key=lambda row: struct.unpack_from("<H", row)[0])
    new = struct.pack("<H", len(rows)) + b"".join(rows) + bytes(4)
    return data[:4] + struct.pack("<L", len(data)) + data[8:] + new
