"""Images of any depth as eight bits of R, G and B, the way up they were taken.

The one place that opens image files. Whatever Pillow makes of a damaged file (SyntaxError, struct.error, zlib.error,
MemoryError, ...) leaves it as `UnreadableImageError`.
"""

import io
import os
import stat
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from app.images.files import database_of
from app.images.lmdb import read_value
from app.images.metadata import TooCostlyError, orientation, split
from models.errors import FedVehicleReidError

FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "TIFF", "GIF", "PPM", "JPEG2000")
"""What is opened, by Pillow's names. Some of its other formats start programs (EPS), and no camera writes them."""
MAX_PIXELS = 2**27
"""Pixels of an image, checked before it is decoded: 11,585 x 11,585."""
MAX_BYTES = 2**29
"""Bytes of an image file: as many pixels without compression fit into it."""

# Pillow's own, higher limit is an error as well; its warning before that would go to the service's log.
warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)
_SLOW_BYTES = {"bmp_rle": 2**20, "ppm": 2**20}  # in a file that only a decoder written in Python can read
_SLOW_TEXT = 2**16  # Pillow searches the comments of a PPM in text anew from its start
_DEEP = ("I", "F")  # how the modes of Pillow begin that hold more than eight bits a value
_DARK, _BRIGHT = 0.5, 99.5  # percentiles that become black and white
_SAMPLED = 500_000  # values that the percentiles are taken of
_ROWS = 256  # rows in work at once: in float32 a whole image would take four times what it takes in the file
_COLOURLESS = 4.0  # grey levels between the channels of a place
_COLOURED_SHARE = 5.0  # per cent of the places that may have colour, such as the time written into a frame
_TURNED = "fed-vehicle-reid orientation"  # key of Image.info
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}  # Exif 2.32, 4.6.4: what brings an image of this orientation the right way up


class UnreadableImageError(FedVehicleReidError, OSError, ValueError):
    """An image that is there and cannot be decoded: no image, damaged, cut off, too large."""


def open_image(
    source: Path | bytes, *, formats: tuple[str, ...] = FORMATS, most_pixels: int = MAX_PIXELS
) -> Image.Image:
    """The image of a file, of its content, or of a place in a database (see `app.images.lmdb`), not yet decoded.

    To be closed by the caller. `size` is that of the file, before it is turned. Raises UnreadableImageError for one of
    another format or with more pixels or bytes than may be, OSError if there is none or it cannot be read, ImportError
    for a database without the package lmdb."""
    data = source if isinstance(source, bytes) else _content(source)
    with _decoding():
        turned, pixels = split(data)
        try:
            file = Image.open(io.BytesIO(pixels), formats=formats)
        except UnidentifiedImageError as error:
            raise UnreadableImageError(f"not an image ({', '.join(formats)})") from error
        except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
            raise UnreadableImageError(f"more than {most_pixels} pixels") from error
    if file.width * file.height > most_pixels:
        file.close()
        raise UnreadableImageError(f"{file.width} x {file.height} pixels, more than {most_pixels}")
    with _decoding():
        _require_fast_decoder(file, len(data))
    file.info[_TURNED] = turned
    return file


def image_file(path: Path) -> Path:
    """The file that holds the image: its own, or that of the database."""
    return path if database_of(path) is None else path.with_name(path.name.partition("#")[0])


def upright_size(path: Path) -> tuple[int, int]:
    """Width and height of the upright image, by the file's header alone. Raises the errors of `open_image`."""
    with open_image(path) as file:
        return file.size[::-1] if file.info[_TURNED] >= 5 else file.size


def upright_rgb(file: Image.Image, *, at_least: tuple[int, int] | None = None) -> Image.Image:
    """An open image in mode "RGB", turned as its camera was held.

    One channel is repeated, a fourth one (transparency) is left out. Values of 16 or 32 bits in one channel, as thermal
    cameras write them, are stretched from the image's own darkest half per cent to its brightest: a scene takes up a
    small part of the range.

    Args:
        at_least: a JPEG is decoded at a half, a quarter or an eighth of its size, if that leaves this width and height.

    Raises UnreadableImageError for a file that is cut off or damaged, for values that are not numbers and for several
    channels of 16 bits, of which Pillow would drop the lower eight."""
    if len(file.getbands()) > 1 and any(";16" in str(tile[-1]) for tile in getattr(file, "tile", ())):
        raise UnreadableImageError("several channels of 16 bits; one of 16, or several of 8, can be read")
    turn = _TURNS.get(file.info[_TURNED] if _TURNED in file.info else _told(file))
    with _decoding():
        if at_least is not None:
            file.draft("RGB", at_least)
        file.load()
        image = file if turn is None else file.transpose(turn)
        return _stretched(image) if image.mode.startswith(_DEEP) else image.convert("RGB")


def file_content(path: Path) -> bytes:
    """The bytes of an image file. Raises UnreadableImageError for a pipe, a device and a file that is too large."""
    with open(path, "rb", opener=_open_at_once) as file:
        about = os.fstat(file.fileno())
        if not stat.S_ISREG(about.st_mode):
            raise UnreadableImageError(f"not a regular file: {path}")
        if about.st_size > MAX_BYTES:
            raise UnreadableImageError(f"more than {MAX_BYTES // 2**20} MiB")
        return file.read(about.st_size)


def _open_at_once(path: str, flags: int) -> int:
    """A file descriptor, without waiting for somebody who writes to a pipe."""
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


def _content(path: Path) -> bytes:
    database = database_of(path)
    return file_content(path) if database is None else read_value(*database)


def _require_fast_decoder(file: Image.Image, size: int) -> None:
    """Raise TooCostlyError for a large file that only a decoder written in Python can read."""
    for name in {str(tile[0]) for tile in getattr(file, "tile", ())} & set(Image.DECODERS):
        if size > (most := _SLOW_BYTES.get(name, _SLOW_TEXT)):
            raise TooCostlyError(f"{file.format} of this kind ({name}) with more than {most} bytes; save it as PNG")


@contextmanager
def _decoding() -> Iterator[None]:
    """Whatever a decoder raises for bytes that it does not like, as UnreadableImageError."""
    try:
        yield
    except UnreadableImageError:
        raise
    except Exception as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise UnreadableImageError(f"cannot be read: {reason}") from error


def _told(file: Image.Image) -> int:
    """The orientation of an image that Pillow opened; it turns a TIFF by itself."""
    if file.format == "TIFF":
        return 1
    exif, xmp = (file.info.get(key, b"") for key in ("exif", "xmp"))
    return orientation(*([value] if isinstance(value, bytes) else [] for value in (exif, xmp)))


def _stretched(image: Image.Image) -> Image.Image:
    """A deep image in one channel as one of mode "RGB"."""
    values = np.asarray(image)
    some = values.ravel()[:: max(1, values.size // _SAMPLED)].astype(np.float32)
    low, high = np.percentile(some, [_DARK, _BRIGHT])
    scale = 255.0 / max(float(high - low), 1e-6)
    grey = np.empty(values.shape, np.uint8)
    for start in range(0, len(values), _ROWS):
        rows = values[start : start + _ROWS].astype(np.float32)
        if not np.isfinite(rows).all():
            raise UnreadableImageError("holds values that are not finite numbers")
        grey[start : start + _ROWS] = np.clip((rows - low) * scale, 0, 255).round()
    return Image.fromarray(grey).convert("RGB")


def is_grey(image: Image.Image) -> bool:
    """Whether an image in mode "RGB" has no colour, as those of infrared cameras have none.

    Judged at 32 x 32 places, of which a few may be coloured."""
    small: NDArray[np.float32] = np.asarray(image.resize((32, 32), Image.Resampling.BOX), np.float32)
    chroma = small.max(axis=2) - small.min(axis=2)
    return bool(np.percentile(chroma, 100 - _COLOURED_SHARE) <= _COLOURLESS)
