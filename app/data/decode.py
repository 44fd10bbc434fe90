"""Pictures of any depth as eight bits of R, G and B, the way up they were taken."""

import io
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from app.data.word_database import database_of, read_value

_DEEP = ("I", "F")  # how the modes of Pillow begin that hold more than eight bits a value
_DARK, _BRIGHT = 0.5, 99.5  # percentiles that become black and white
_SAMPLED = 500_000  # values that the percentiles are taken of
_ROWS = 256  # rows in work at once: in float32 a whole picture would take four times what it takes in the file
_COLOURLESS = 4.0  # grey levels between the channels of a place
_COLOURED_SHARE = 5.0  # per cent of the places that may have colour, such as the time written into a frame


def open_picture(path: Path) -> Image.Image:
    """The picture of a file, or of a place in a database (see `app.data.word_database`), to be closed by the caller.

    Raises OSError if there is none or it cannot be read, ImportError for a database without the package lmdb."""
    if (database := database_of(path)) is None:
        return Image.open(path)
    return Image.open(io.BytesIO(read_value(*database)))


def picture_file(path: Path) -> Path:
    """The file that holds the picture: its own, or that of the database."""
    return path if database_of(path) is None else path.with_name(path.name.partition("#")[0])


def upright_rgb(file: Image.Image) -> Image.Image:
    """An open picture in mode "RGB", turned as its camera was held.

    One channel is repeated, a fourth one (transparency) is left out. Values of 16 or 32 bits in one channel, as thermal
    cameras write them, are stretched from the picture's own darkest half per cent to its brightest: a scene takes up a
    small part of the range. Raises OSError for a file that is cut off, ValueError for values that are not numbers and
    for several channels of 16 bits, of which Pillow would drop the lower eight."""
    if len(file.getbands()) > 1 and any(";16" in str(tile[-1]) for tile in getattr(file, "tile", ())):
        raise ValueError("several channels of 16 bits; one of 16, or several of 8, can be read")
    image = ImageOps.exif_transpose(file)
    if not image.mode.startswith(_DEEP):
        return image.convert("RGB")
    values = np.asarray(image)
    some = values.ravel()[:: max(1, values.size // _SAMPLED)].astype(np.float32)
    low, high = np.percentile(some, [_DARK, _BRIGHT])
    scale = 255.0 / max(float(high - low), 1e-6)
    grey = np.empty(values.shape, np.uint8)
    for start in range(0, len(values), _ROWS):
        rows = values[start : start + _ROWS].astype(np.float32)
        if not np.isfinite(rows).all():
            raise ValueError("holds values that are not finite numbers")
        grey[start : start + _ROWS] = np.clip((rows - low) * scale, 0, 255).round()
    return Image.fromarray(grey).convert("RGB")


def is_grey(image: Image.Image) -> bool:
    """Whether a picture in mode "RGB" has no colour, as those of infrared cameras have none.

    Judged at 32 x 32 places, of which a few may be coloured."""
    small: NDArray[np.float32] = np.asarray(image.resize((32, 32), Image.Resampling.BOX), np.float32)
    chroma = small.max(axis=2) - small.min(axis=2)
    return bool(np.percentile(chroma, 100 - _COLOURED_SHARE) <= _COLOURLESS)
