"""Images that a register takes in and keeps: decoded, bounded, encoded anew without the camera's metadata.

A photograph of a vehicle comes with what belongs to it: boxes, a plate, a modality.
"""

import contextlib
import io
import math
import re
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor, Future, wait
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image

from app.core.files import replacing
from app.core.sample import Box, Modality
from app.images.decode import UnreadableImageError, file_content, open_image, upright_rgb
from app.register.errors import BoxError, ImageRefusedError, ImageTooLargeError, RegisterError, UncertainError
from app.register.records import NewView
from app.register.thumbnails import drop_stale, thumbnail_path

if TYPE_CHECKING:
    from app.data.crops import VehicleImage
    from app.register.detect import Framed

MAX_BYTES = 32 * 2**20
MAX_PIXELS = 50_000_000  # 8,660 x 5,773: more than phones give
MIN_SIDE, KEPT_SIDE = 8, 1600  # pixels: what is smaller shows nothing; of the longer side that is kept
_FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "TIFF")
_QUALITY = 95
_MODALITIES: dict[str, Modality | None] = {"auto": None, "visible": "visible", "infrared": "infrared"}
_NAME = re.compile(r"[0-9a-f]{32}\.jpg")
_TEMPORARY = re.compile(r"\.[0-9a-f]{32}\.jpg\.\d+\.tmp")  # of app.core.files.replacing


@dataclass(frozen=True)
class Photo:
    """A decoded image: upright, R, G, B, at most `KEPT_SIDE` pixels a side.

    Args:
        scale: its pixels for one of the file's; boxes in the file are scaled by it.
    """

    image: Image.Image
    scale: float

    def inside(self, box: Box | None) -> Box | None:
        """The part of a box that lies in the image, all in pixels of the file.

        Raises BoxError for numbers that are not finite, a side that is not above 0, and a box with less than one kept
        pixel in the image."""
        if box is None:
            return None
        if not all(map(math.isfinite, box)):
            raise BoxError(f"box {tuple(box)}: left, top, width and height must be finite numbers")
        if box.width <= 0 or box.height <= 0:
            raise BoxError(f"box {tuple(box)}: width and height must be more than 0")
        width, height = self.image.width / self.scale, self.image.height / self.scale
        left, top = max(0.0, box.left), max(0.0, box.top)
        right, bottom = min(width, box.left + box.width), min(height, box.top + box.height)
        if min(right - left, bottom - top) * self.scale < 1:
            raise BoxError(f"box {tuple(box)} lies outside the image of {width:.0f} x {height:.0f} pixels")
        return Box(left, top, right - left, bottom - top)

    def box(self, box: Box | None) -> Box | None:
        """`inside`, in pixels of this image. Raises BoxError as it does."""
        if (cut := self.inside(box)) is None:
            return None
        return Box(*(value * self.scale for value in cut))


@dataclass(frozen=True)
class StoredPhoto(Photo):
    """A photo as its file in the register shows it.

    Args:
        content: bytes of the file; `image` is what they decode to.
    """

    content: bytes


def as_stored(photo: Photo) -> StoredPhoto:
    """The photo after its encoding, decoded once from memory. A network embeds these pixels as it will
    embed the file when the active model changes."""
    content = _jpeg(photo)
    with open_image(content, formats=("JPEG",)) as file:
        return StoredPhoto(upright_rgb(file), photo.scale, content)


def take_in(data: bytes, name: str) -> Photo:
    """Decode a file.

    Raises ImageRefusedError naming it: no image, too large or too small, cut off."""
    if len(data) > MAX_BYTES:
        raise ImageTooLargeError(f"{name}: more than {MAX_BYTES // 2**20} MiB")
    try:
        with open_image(data, formats=_FORMATS, most_pixels=MAX_PIXELS) as file:
            if min(file.size) < MIN_SIDE:
                raise ImageRefusedError(f"{name}: {file.width} x {file.height} pixels show no vehicle")
            longest = max(file.size)
            upright = upright_rgb(file, at_least=_enough(file.size))
    except UnreadableImageError as error:
        raise ImageRefusedError(f"{name}: {error}") from error
    if longest <= KEPT_SIDE:
        return Photo(upright, 1.0)
    scale = KEPT_SIDE / max(upright.size)
    size = (max(1, round(upright.width * scale)), max(1, round(upright.height * scale)))
    return Photo(upright.resize(size, Image.Resampling.LANCZOS), KEPT_SIDE / longest)


def _enough(size: tuple[int, int]) -> tuple[int, int] | None:
    """Width and height that must be decoded of a larger image; None for all of it."""
    scale = KEPT_SIDE / max(size)
    # A fifth above what is kept: the last step is left to the better filter.
    return (math.ceil(1.2 * scale * size[0]), math.ceil(1.2 * scale * size[1])) if scale < 1 else None


def require_small(path: Path) -> None:
    """Raise ImageTooLargeError for a file of more bytes than an image may have."""
    if path.stat().st_size > MAX_BYTES:
        raise ImageTooLargeError(f"{path}: more than {MAX_BYTES // 2**20} MiB")


def read_photo(path: Path) -> Photo:
    """`take_in` of a file. Raises FileNotFoundError, and ImageRefusedError as `take_in` does."""
    require_small(path)
    try:
        return take_in(file_content(path), str(path))
    except UnreadableImageError as error:
        raise ImageRefusedError(str(error)) from error


class Photos:
    """The folder of the images, readable by its owner only. Names are the register's own, without meaning.

    `doubtful` are images of changes of which it is not known whether the database kept them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.doubtful: set[str] = set()
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)

    def keep(self, photo: Photo) -> str:
        """Write an image; it is on the disk when its name is returned. Raises OSError on a full disk."""
        name = f"{uuid.uuid4().hex}.jpg"
        with replacing(self.folder / name) as temporary:
            temporary.touch(mode=0o600)
            temporary.write_bytes(photo.content if isinstance(photo, StoredPhoto) else _jpeg(photo))
        return name

    def path(self, name: str) -> Path:
        """The path of an image. Raises ValueError for a name of another form."""
        if not _NAME.fullmatch(name):
            raise ValueError(f"not an image of the register: {name!r}")
        return self.folder / name

    def drop(self, names: Iterable[str]) -> None:
        """Delete images with their thumbnails; missing ones are skipped."""
        for name in names:
            for path in (self.path(name), thumbnail_path(self.path(name))):  # in this order, see `thumbnail`
                path.unlink(missing_ok=True)

    def drop_all_but(self, names: set[str], before: float) -> int:
        """Delete images without a row in the register, written before a time in seconds; their number."""
        dropped = 0
        for path in self.folder.iterdir():
            with contextlib.suppress(FileNotFoundError):
                ours = _NAME.fullmatch(path.name) or _TEMPORARY.fullmatch(path.name)
                if ours and path.name not in names and path.stat().st_mtime < before:
                    path.unlink()
                    dropped += 1
        drop_stale(self.folder)
        return dropped


def _jpeg(photo: Photo) -> bytes:
    file = io.BytesIO()
    # From the pixels alone: Pillow would keep the file's metadata about place and camera.
    Image.frombytes("RGB", photo.image.size, photo.image.tobytes()).save(file, "JPEG", quality=_QUALITY)
    return file.getvalue()


@dataclass(frozen=True)
class VehiclePhoto:
    """One photograph of one vehicle, as a user gives it.

    Args:
        vehicle_box: in pixels of `photo`; None if it shows the vehicle alone.
        plate: a photograph of the plate alone; None if there is none.
        plate_box: where the plate is in `photo`; None if it is not known.
        modality: None lets it be seen from the image.
        whole: the photograph shows the vehicle alone, however it looks; nothing is searched for.
    """

    photo: Photo
    vehicle_box: Box | None = None
    plate: Photo | None = None
    plate_box: Box | None = None
    modality: Modality | None = "visible"
    whole: bool = False

    def as_stored(self) -> "VehiclePhoto":
        """The same with the pixels that are kept."""
        return replace(self, photo=as_stored(self.photo), plate=self.plate and as_stored(self.plate))


def parse_box(text: str) -> Box | None:
    """A box from "left,top,width,height"; None from "". Raises BoxError for another text."""
    if not text:
        return None
    try:
        left, top, width, height = (float(word) for word in text.split(","))
    except ValueError as error:
        raise BoxError(f"not left,top,width,height: {text[:80]!r}") from error
    return Box(left, top, width, height)


def parse_modality(text: str) -> Modality | None:
    """ "visible", "infrared", or None from "auto". Raises RegisterError for another text."""
    if text not in _MODALITIES:
        raise RegisterError(f"modality must be one of {', '.join(_MODALITIES)}; got {text[:80]!r}")
    return _MODALITIES[text]


def make_vehicle_photos(
    photos: Sequence[Photo],
    plates: Sequence[Photo],
    boxes: Sequence[Box | None],
    plate_boxes: Sequence[Box | None],
    modality: Modality | None = None,
    whole: bool = False,
) -> list[VehiclePhoto]:
    """Photographs with what belongs to each, in their order; what is not given at all is empty. Boxes are cut to their
    photographs before anything is made of them.

    Raises RegisterError where numbers differ, or without a photograph, BoxError as `Photo.inside` does."""
    if not photos:
        raise RegisterError("there is no photo")
    for name, given in (("plate photos", plates), ("boxes", boxes), ("plate boxes", plate_boxes)):
        if given and len(given) != len(photos):
            raise RegisterError(f"{len(given)} {name} for {len(photos)} photos")
    return [
        VehiclePhoto(
            photo,
            vehicle_box=photo.inside(boxes[number]) if boxes else None,
            plate=plates[number] if plates else None,
            plate_box=photo.inside(plate_boxes[number]) if plate_boxes else None,
            modality=modality,
            whole=whole,
        )
        for number, photo in enumerate(photos)
    ]


@contextmanager
def written_beside(
    photos: Photos, writers: Executor, framed: "Sequence[Framed]", images: "Sequence[VehicleImage]"
) -> Iterator[Callable[[], list[NewView]]]:
    """Photos that are written to the register's folder while the block computes; they go again if the block raises.
    After an UncertainError they stay, noted as doubtful: the row that names them may have been kept.

    Yields a function that waits until they are on the disk and gives them as views without vectors. A block that
    commits a row must have called it before. It raises OSError where a photo cannot be written.

    Args:
        images: of `framed`.
    """
    writes: list[list[Future[str]]] = [
        [
            writers.submit(photos.keep, photo)
            for photo in (each.vehicle_photo.photo, each.vehicle_photo.plate)
            if photo is not None
        ]
        for each in framed
    ]

    def views() -> list[NewView]:
        names = [[write.result() for write in own] for own in writes]
        return [
            NewView(own[0], {}, image.vehicle_box, own[1] if len(own) > 1 else None, image.plate_box, image.modality)
            for own, image in zip(names, images, strict=True)
        ]

    try:
        yield views
    except BaseException as error:
        all_writes = [write for own in writes for write in own]
        wait(all_writes)
        names = [write.result() for write in all_writes if write.exception() is None]
        if isinstance(error, UncertainError):
            photos.doubtful.update(names)
        else:
            photos.drop(names)
        raise
