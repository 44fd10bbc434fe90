"""Synthetic scenes: whole photographs of a car park with several vehicles, as input of a detector."""

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from app.core.sample import Box
from app.synthetic.background import draw_scene
from app.synthetic.camera import Camera, draw_camera
from app.synthetic.projection import draw_pose
from app.synthetic.render import Rendered, Renderer
from app.synthetic.vehicle import draw_vehicle

Image = NDArray[np.uint8]
_MOST = 6  # vehicles in a scene
_SIDES = (0.18, 0.95)  # of a vehicle's image, as shares of the scene's side
_RENDERED = 256  # pixels that a vehicle is rendered at
_VISIBLE = {"vehicle": 0.4, "plate": 0.9}  # least share that others leave uncovered
_BACKGROUNDS = 48
_NIGHT = 0.2  # share of scenes that an infrared camera takes


@dataclass(frozen=True)
class Scene:
    """A square image (S, S, 3), blue-green-red, and its labels.

    Args:
        plates_known: whether all plates that can be read are in `plates`; not if photographs were pasted in.
    """

    image: Image
    vehicles: tuple[Box, ...]
    plates: tuple[Box, ...]
    plates_known: bool


class SceneRenderer:
    """Renders scenes; the same number gives the same scene.

    Args:
        size: side S in pixels.
        seed: of vehicles and car parks.
        photographs: images of one real vehicle each, blue-green-red, to paste in beside the rendered ones.
    """

    def __init__(self, size: int, seed: int, photographs: Sequence[Image] = ()) -> None:
        self.size = size
        self.seed = seed
        self.photographs = photographs
        self._renderer = Renderer(_RENDERED, keep=_BACKGROUNDS)
        self._backgrounds: OrderedDict[int, tuple[Camera, Image]] = OrderedDict()

    def scene(self, number: int) -> Scene:
        """Scene `number`, from 0."""
        rng = np.random.default_rng([12, self.seed, number])
        camera, frame = self._background(int(rng.integers(2**20)) % (4 * _BACKGROUNDS))
        image = _crop(frame, self.size, rng)
        owner = np.zeros(image.shape[:2], np.int16)  # the number of the vehicle whose pixel it is
        pasted = bool(self.photographs) and rng.random() < 0.6
        count = int(rng.integers(0 if number % 8 == 0 else 1, _MOST + 1))
        found: list[tuple[Box, NDArray[np.bool_], Box | None]] = []
        for side in sorted(rng.uniform(*_SIDES, count) ** 1.5):  # far ones first
            use_photograph = pasted and rng.random() < 0.7
            crop, mask, vehicle, plate = (
                self._photograph(side, rng, camera.infrared) if use_photograph else self._drawn(side, camera, rng)
            )
            found.append(_paste(image, owner, crop, mask, vehicle, plate, len(found) + 1, rng))
        vehicles, plates = [], []
        for index, (vehicle, solid, plate) in enumerate(found, start=1):
            visible = (owner == index).sum() / max(1, solid.sum())
            inside = _inside(vehicle, self.size)
            if inside is not None and visible >= _VISIBLE["vehicle"]:
                vehicles.append(inside)
            if plate is not None and _uncovered(plate, owner, index) >= _VISIBLE["plate"]:
                plates.append(plate)
        return Scene(image, tuple(vehicles), tuple(plates), not pasted)

    def _background(self, number: int) -> tuple[Camera, Image]:
        if number not in self._backgrounds:
            rng = np.random.default_rng([13, self.seed, number])
            modality = "infrared" if rng.random() < _NIGHT else "visible"
            camera = draw_camera((self.seed, 500 + number, 0), post=int(rng.integers(6)), modality=modality)  # type: ignore[arg-type]
            self._backgrounds[number] = camera, draw_scene(camera, parked=False)
            if len(self._backgrounds) > _BACKGROUNDS:
                self._backgrounds.popitem(last=False)
        return self._backgrounds[number]

    def _drawn(self, share: float, camera: Camera, rng: np.random.Generator) -> tuple[Image, Image, Box, Box | None]:
        vehicle = draw_vehicle((self.seed, 500, 0, int(rng.integers(400))))
        pose = draw_pose(camera, rng)
        found: Rendered = self._renderer.render(vehicle, camera, pose, rng, silhouette=True)
        assert found.silhouette is not None
        scale = share * self.size / _RENDERED
        crop, mask = (_resized(each, scale) for each in (found.image, found.silhouette))
        return crop, mask, _scaled(found.vehicle_box, scale), found.plate_box and _scaled(found.plate_box, scale)

    def _photograph(
        self, share: float, rng: np.random.Generator, infrared: bool
    ) -> tuple[Image, Image, Box, Box | None]:
        crop = self.photographs[int(rng.integers(len(self.photographs)))]
        if rng.random() < 0.5:
            crop = np.ascontiguousarray(crop[:, ::-1])
        crop = _resized(crop, share * self.size / max(crop.shape[:2]))
        if infrared:
            crop = cv2.cvtColor(cv2.cvtColor(crop, cv2.COLOR_BGR2GRAY), cv2.COLOR_GRAY2BGR)  # type: ignore[assignment]
        height, width = crop.shape[:2]
        mask = np.full((height, width), 255, np.uint8)
        edge = max(1, round(0.04 * min(height, width)))  # the detector would learn a hard edge
        mask[:edge], mask[-edge:], mask[:, :edge], mask[:, -edge:] = 0, 0, 0, 0
        mask = cv2.GaussianBlur(mask, (0, 0), max(0.5, edge * 0.6))  # type: ignore[assignment]
        return crop, mask, Box(0.0, 0.0, float(width), float(height)), None


def _paste(
    image: Image,
    owner: NDArray[np.int16],
    crop: Image,
    mask: Image,
    vehicle: Box,
    plate: Box | None,
    index: int,
    rng: np.random.Generator,
) -> tuple[Box, NDArray[np.bool_], Box | None]:
    """Put a vehicle's image into the scene; returns its boxes there, and the mask of its pixels."""
    side, (height, width) = image.shape[0], crop.shape[:2]
    left = int(rng.integers(-width // 5, max(1, side - width + width // 5)))
    top = int(rng.integers(-height // 8, max(1, side - height + height // 8)))
    rows, cols = slice(max(0, top), min(side, top + height)), slice(max(0, left), min(side, left + width))
    own = slice(rows.start - top, rows.stop - top), slice(cols.start - left, cols.stop - left)
    weight = mask[own][..., None].astype(np.float32) / 255
    image[rows, cols] = (image[rows, cols] * (1 - weight) + crop[own] * weight).astype(np.uint8)
    solid = mask > 127
    owner[rows, cols][solid[own]] = index
    return _moved(vehicle, left, top), solid, plate and _moved(plate, left, top)


def _uncovered(box: Box, owner: NDArray[np.int16], index: int) -> float:
    """The share of a box that lies in the image and belongs to vehicle `index`."""
    left, top = round(box.left), round(box.top)
    right, bottom = max(left + 1, round(box.left + box.width)), max(top + 1, round(box.top + box.height))
    seen = owner[max(0, top) : max(0, bottom), max(0, left) : max(0, right)] == index
    return float(seen.sum()) / ((right - left) * (bottom - top))


def _crop(frame: Image, side: int, rng: np.random.Generator) -> Image:
    """A square cut of the frame, brought to the side."""
    height, width = frame.shape[:2]
    cut = int(rng.integers(height // 2, height + 1))
    top, left = int(rng.integers(0, height - cut + 1)), int(rng.integers(0, width - cut + 1))
    return cv2.resize(frame[top : top + cut, left : left + cut], (side, side), interpolation=cv2.INTER_AREA)  # type: ignore[return-value]


def _resized(crop: Image, scale: float) -> Image:
    size = (max(2, round(crop.shape[1] * scale)), max(2, round(crop.shape[0] * scale)))
    return cv2.resize(crop, size, interpolation=cv2.INTER_AREA)  # type: ignore[return-value]


def _scaled(box: Box, scale: float) -> Box:
    return Box(*(value * scale for value in box))


def _moved(box: Box, left: float, top: float) -> Box:
    return Box(box.left + left, box.top + top, box.width, box.height)


def _inside(box: Box, side: int) -> Box | None:
    """The part of a box inside the image; None if less than a third of it is."""
    left, top = max(0.0, box.left), max(0.0, box.top)
    width, height = min(side, box.left + box.width) - left, min(side, box.top + box.height) - top
    if width <= 1 or height <= 1 or width * height < box.width * box.height / 3:
        return None
    return Box(left, top, width, height)
