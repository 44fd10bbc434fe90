"""Thumbnails: small JPEGs of the register's images, made at first use and kept below the images.

A thumbnail has at most `MOST_BYTES`, so that a page of fifty is light on a phone. Whoever may see an image may see its
thumbnail, and it goes with the image.
"""

import contextlib
import io
import re
from pathlib import Path

from PIL import Image

from app.core.files import replacing
from app.images.decode import file_content, open_image, upright_rgb

MOST_BYTES = 5_000
_FOLDER = "small"
_FORMS = ((192, 75), (192, 60), (176, 45), (144, 40), (112, 35), (80, 30))  # longer side and quality, the best first
_NAME = re.compile(r"\.?([0-9a-f]{32}\.jpg)(?:\.\d+\.tmp)?")


def thumbnail_path(image: Path) -> Path:
    """The file of an image's thumbnail."""
    return image.parent / _FOLDER / image.name


def thumbnail(image: Path) -> bytes:
    """The thumbnail of an image, made and kept if it was not there.

    Raises FileNotFoundError without the image, UnreadableImageError for a damaged one. Where none can be kept, as on a
    full disk, the thumbnail is made each time."""
    path = thumbnail_path(image)
    with contextlib.suppress(OSError):
        return path.read_bytes()
    content = _small_jpeg(file_content(image))
    with contextlib.suppress(OSError):
        path.parent.mkdir(exist_ok=True, mode=0o700)
        with replacing(path) as temporary:
            temporary.touch(mode=0o600)
            temporary.write_bytes(content)
        if not image.exists():  # it was forgotten meanwhile
            path.unlink(missing_ok=True)
    return content


def drop_stale(folder: Path) -> int:
    """Delete thumbnails whose image is gone, as after a process that was killed while it forgot one; their number.

    Args:
        folder: of the images.
    """
    dropped = 0
    for path in (folder / _FOLDER).glob("*"):
        match = _NAME.fullmatch(path.name)
        if match and not (folder / match[1]).exists():
            path.unlink(missing_ok=True)
            dropped += 1
    return dropped


def _small_jpeg(content: bytes) -> bytes:
    longest = _FORMS[0][0]
    with open_image(content, formats=("JPEG",)) as file:
        image = upright_rgb(file, at_least=(longest, longest))
    data = b""
    for side, quality in _FORMS:
        small = image.copy()
        small.thumbnail((side, side), Image.Resampling.LANCZOS)
        buffer = io.BytesIO()
        small.save(buffer, "JPEG", quality=quality, optimize=True)
        data = buffer.getvalue()
        if len(data) <= MOST_BYTES:
            break
    return data
