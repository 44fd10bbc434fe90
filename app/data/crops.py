"""Images as tensors: decoded, cut to the vehicle or the plate, of one size, kept in memory while there is room."""

import contextlib
import hashlib
import math
import time
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from app.core.files import replacing
from app.core.sample import Box, Corners, Modality, Sample
from app.data.readers.errors import DataSetError
from app.data.rectify import checked, rectify
from app.data.weather import sample_in_weather
from app.images.decode import image_file, open_image, upright_rgb
from app.settings.load import absolute
from app.settings.sections import DataSettings

Size = tuple[int, int]
"""Height and width in pixels."""

Cut = Box | Corners | None
"""What is taken of an image: a rectangle, the quadrilateral between four corners, or all of it."""


@dataclass(frozen=True)
class VehicleImage:
    """A decoded image of a vehicle in mode "RGB", with the places of vehicle and plate in it.

    Args:
        vehicle_box: in pixels of `image`; None if the image is the vehicle.
        plate: an image of the plate alone, which counts before `plate_box`.
        plate_box: in pixels of `image`; None if it is not known.
    """

    image: Image.Image
    vehicle_box: Box | None = None
    plate: Image.Image | None = None
    plate_box: Box | None = None
    modality: Modality = "visible"

    @property
    def has_plate(self) -> bool:
        """Whether a plate can be cut."""
        return self.plate is not None or self.plate_box is not None


class Crops(NamedTuple):
    """Crops of one vehicle in the sizes of a network, (3, H, W) uint8, R, G, B.

    Fields:
        plate: None if there is none, or the network takes none.
    """

    vehicle: Tensor
    plate: Tensor | None
    modality: Modality


_ABANDONED_SECONDS = 3600.0  # of a temporary file whose process was killed
_PLATE_MARGIN = 0.1  # of the box, on each side: detectors and boxes marked by hand cut characters off


class ImageCache:
    """Decoded images in a folder, one file each: a process that starts for one message need not decode them again.

    An image that was changed since (other size or time) is decoded anew. The folder is its owner's only.

    Args:
        limit_mb: MiB that the folder may hold; beyond it nothing is added.
    """

    def __init__(self, folder: Path, limit_mb: int) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._free = limit_mb * 2**20
        for file in folder.iterdir():
            with contextlib.suppress(FileNotFoundError):  # another process has just renamed it
                state = file.stat()
                if file.name.endswith(".tmp") and time.time() - state.st_mtime > _ABANDONED_SECONDS:
                    file.unlink()
                else:
                    self._free -= state.st_size

    def get(self, path: Path, cut: Cut, size: Size) -> Tensor:
        """As `read_image`, with the same errors."""
        state = image_file(path).stat()
        place = None if cut is None else tuple(cut)
        named = repr((str(path.resolve()), state.st_size, state.st_mtime_ns, place, size))
        file = self.folder / hashlib.sha256(named.encode()).hexdigest()[:32]
        with contextlib.suppress(OSError, ValueError):  # not there, or cut off: decoded below
            return torch.from_numpy(np.fromfile(file, np.uint8).reshape(3, *size))
        image = read_image(path, cut, size)
        if image.nbytes <= self._free:
            self._free -= image.nbytes
            with (
                contextlib.suppress(OSError),
                replacing(file, sync=False) as temporary,
            ):  # a full disk costs time and no more
                temporary.write_bytes(image.numpy().tobytes())
        return image


class ImageReader:
    """Gives the images of samples, (3, H, W) uint8, R, G, B, and remembers which could not be read.

    The caches hold images without weather.

    Args:
        vehicle_size: of the vehicle image.
        plate_size: of the plate image; None if plates are not used.
        cache_mb: MiB of decoded images kept; beyond it images are decoded again.
        files: decoded images of earlier processes; None for none.
        rectify: plates whose corners are known are flattened by them, without a margin.
    """

    def __init__(
        self,
        vehicle_size: Size,
        plate_size: Size | None,
        cache_mb: int,
        files: ImageCache | None = None,
        *,
        rectify: bool = False,
    ) -> None:
        self.vehicle_size = vehicle_size
        self.plate_size = plate_size
        self.files = files
        self.rectify = rectify
        self.bad: dict[str, str] = {}
        self._free = cache_mb * 2**20
        self._cache: dict[tuple[Path, Cut, Size], Tensor] = {}
        self._failed: set[tuple[Path, Cut, Size]] = set()

    def vehicle(self, sample: Sample) -> Tensor | None:
        """The vehicle, or None if the file cannot be read; then `bad` says why."""
        image = self._get(sample.path, sample.vehicle_box, self.vehicle_size)
        return None if image is None else sample_in_weather(image, sample)

    def plate(self, sample: Sample) -> Tensor | None:
        """The plate, or None if there is none, plates are not used, or the file cannot be read."""
        if self.plate_size is None or (place := plate_place(sample, rectify=self.rectify)) is None:
            return None
        image = self._get(*place, self.plate_size)
        return None if image is None else sample_in_weather(image, sample)

    def crops(self, sample: Sample) -> Crops | None:
        """The vehicle with its plate, or None if the vehicle's file cannot be read."""
        vehicle = self.vehicle(sample)
        return None if vehicle is None else Crops(vehicle, self.plate(sample), sample.modality)

    def cut(self, image: VehicleImage) -> Crops:
        """`crops` of a decoded image, equal to those of its file. Raises ValueError for a vehicle box outside it."""
        vehicle = cut_image(image.image, image.vehicle_box, self.vehicle_size)
        return Crops(vehicle, self.cut_plate(image), image.modality)

    def cut_plate(self, image: VehicleImage) -> Tensor | None:
        """`plate` of a decoded image; None also for a plate box outside it."""
        if self.plate_size is None or not image.has_plate:
            return None
        if image.plate is not None:
            return cut_image(image.plate, None, self.plate_size)
        assert image.plate_box is not None
        with contextlib.suppress(ValueError):  # a wrong plate box says nothing of the vehicle
            return cut_image(image.image, with_margin(image.plate_box), self.plate_size)
        return None

    def _get(self, path: Path, cut: Cut, size: Size) -> Tensor | None:
        key = (path, cut, size)
        if key in self._failed:
            return None
        if key in self._cache:
            return self._cache[key]
        try:
            image = self.files.get(path, cut, size) if self.files else read_image(path, cut, size)
        except (OSError, ValueError) as error:  # ValueError: a box outside the image
            self.bad[str(path)] = str(error)
            self._failed.add(key)  # not the path: a wrong plate box says nothing of the vehicle
            return None
        if image.nbytes <= self._free:
            self._free -= image.nbytes
            self._cache[key] = image
        return image


def make_image_reader(
    settings: DataSettings, vehicle: Size, plate: Size | None, *, rectify: bool = False
) -> ImageReader:
    """The images of vehicles and plates in these sizes, kept in memory and files as the settings say."""
    files = ImageCache(absolute(settings.cache_dir), settings.cache_dir_mb) if settings.cache_dir else None
    return ImageReader(vehicle, plate, settings.cache_mb, files, rectify=rectify)


def plate_place(sample: Sample, *, rectify: bool) -> tuple[Path, Cut] | None:
    """The image that shows a sample's plate, and what is taken of it; None without a plate."""
    if rectify and sample.plate_corners is not None:
        return sample.path, sample.plate_corners
    if not sample.has_plate:
        return None
    if sample.plate_path is not None:
        return sample.plate_path, None
    return sample.path, with_margin(sample.plate_boxes[0])


def with_margin(box: Box) -> Box:
    """What is taken of an image for the plate in a box."""
    dx, dy = _PLATE_MARGIN * box.width, _PLATE_MARGIN * box.height
    return Box(box.left - dx, box.top - dy, box.width + 2 * dx, box.height + 2 * dy)


def read_image(path: Path, cut: Cut, size: Size) -> Tensor:
    """Decode, cut to a box or flatten what lies between corners, and resize to (3, *size) uint8.

    Raises OSError for a missing, unreadable or truncated file and the errors of `cut_image`."""
    with open_image(path) as file:
        image = upright_rgb(file)
    return cut_image(image, cut, size)


def cut_image(image: Image.Image, cut: Cut, size: Size) -> Tensor:
    """A part of an image in mode "RGB", resized to (3, *size) uint8.

    Raises ValueError for a box outside the image or corners that `rectify` refuses."""
    if isinstance(cut, Box):
        edges = _inside(image, cut)
        image = image.resize(size[::-1], Image.Resampling.BILINEAR, box=edges)
    elif cut is None:
        image = image.resize(size[::-1], Image.Resampling.BILINEAR)
    else:
        image = Image.fromarray(rectify(np.asarray(image), cut, size))
    return torch.from_numpy(np.asarray(image).transpose(2, 0, 1).copy())


def cut_as_it_is(image: Image.Image, cut: Cut) -> Image.Image:
    """A part of an image in mode "RGB" with the pixels that it has there, for a reader that scales them itself.

    Raises the errors of `cut_image`."""
    if cut is None:
        return image
    if isinstance(cut, Box):
        left, top, right, bottom = _inside(image, cut)
        return image.crop((math.floor(left), math.floor(top), math.ceil(right), math.ceil(bottom)))
    checked(cut, image.width, image.height)  # before sides of any length become a size
    upper, right_side, lower, left_side = (
        math.dist(one, other) for one, other in zip(cut, (*cut[1:], cut[0]), strict=True)
    )
    size = (math.ceil(max(left_side, right_side)), math.ceil(max(upper, lower)))
    return Image.fromarray(rectify(np.asarray(image), cut, size))


def _inside(image: Image.Image, box: Box) -> tuple[float, float, float, float]:
    """Left, top, right and bottom of a box, as far as it lies in an image."""
    left, top = max(0.0, box.left), max(0.0, box.top)
    right, bottom = min(image.width, box.left + box.width), min(image.height, box.top + box.height)
    if right - left < 1 or bottom - top < 1:
        raise DataSetError(f"box {tuple(box)} lies outside the image of {image.width} x {image.height} px")
    return left, top, right, bottom
