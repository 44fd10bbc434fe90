"""Photograph of a rendered plate: place, light, dirt, blur, night, few pixels, compression."""

from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

from app.synthetic.plates.drawing import RenderedPlate

FloatImage = NDArray[np.float32]  # (H, W, 3), 0 to 255


@dataclass(frozen=True)
class Camera:
    """Photographic conditions of a kind of plate; shares are of images.

    Args:
        heights: smallest and largest height of a crop, in pixels, all sizes between alike on a logarithmic scale.
        tilt: spread of the plate's rotation, degrees.
        margin: smallest and largest margin, shares of the plate's height, below 0 where the crop cuts into the plate.
        grey: share without colour.
        night: share in low light or in infrared light.
        harsh: share with strong blur, noise and compression.
        tint: spread of the light's colour, as a share of each channel.
        beside: largest share of the plate's width that is seen on the left and on the right of it; boxes of detectors
            are widened by a share of their width.
        angle: of shear and perspective; 1 is what crops of plates show."""

    heights: tuple[int, int]
    tilt: float = 3.0
    margin: tuple[float, float] = (-0.05, 0.1)
    grey: float = 0.05
    night: float = 0.15
    harsh: float = 0.3
    tint: float = 0.035
    beside: float = 0.0
    angle: float = 1.0


def photographed(
    rng: np.random.Generator, plate: RenderedPlate, camera: Camera, height: int, enlarged: float
) -> tuple[NDArray[np.uint8], NDArray[np.float64]]:
    """A crop (H, W, 3) of `height` pixels with the plate in it, then enlarged `enlarged` times; and the centres of its
    characters (L, 2), across and down, as shares of the crop's sides."""
    image, unit, centres = _seen(rng, plate, camera, height)
    lit = _lit(rng, image, camera)
    lit = _blurred(rng, lit, camera, unit)
    lit = _sensed(rng, lit, camera)
    finished = _compressed(rng, np.clip(lit, 0, 255).astype(np.uint8), camera)
    if enlarged > 1:
        size = (round(enlarged * image.shape[1]), round(enlarged * height))
        way = cv2.INTER_CUBIC if rng.random() < 0.5 else cv2.INTER_LINEAR
        finished = np.asarray(cv2.resize(finished, size, interpolation=way), np.uint8)
    return finished, centres


def _seen(
    rng: np.random.Generator, plate: RenderedPlate, camera: Camera, height: int
) -> tuple[NDArray[np.uint8], float, NDArray[np.float64]]:
    """The plate turned, sheared and in perspective, cropped to a box like a detector's or an annotator's.

    Beside it a sixteenth of the height of its characters, in pixels: about half the thickness of a stroke. Then the
    places of its characters, as in `photographed`."""
    left, top, right, bottom = plate.plate
    high, wide = bottom - top, right - left
    middle = np.array([(left + right) / 2, (top + bottom) / 2])
    turn = np.deg2rad(rng.normal(0, camera.tilt) * (1.0 if rng.random() < 0.85 else 2.0))
    squeeze, lean = rng.uniform(0.9, 1.28), rng.normal(0, 0.075 * camera.angle)
    rotation = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    linear = rotation @ np.array([[squeeze, lean], [rng.normal(0, 0.02), 1.0]])
    to_view = np.eye(3)
    to_view[:2, :2] = linear
    to_view[2, :2] = rng.normal(0, (0.1 * camera.angle / wide, 0.06 * camera.angle / high))
    from_middle = np.array([[1, 0, -middle[0]], [0, 1, -middle[1]], [0, 0, 1.0]])
    to_view = to_view @ from_middle
    outline, ink = _moved(to_view, plate.plate), _moved(to_view, plate.characters)
    margin = rng.uniform(*camera.margin, 4) * high
    if rng.random() < 0.08:
        margin = margin + rng.uniform(0, 0.25) * high
    if camera.beside:
        margin[[0, 2]] += rng.uniform(0, camera.beside, 2) * wide
    spare = 0.03 * high
    low = np.minimum(outline.min(axis=0) - margin[:2], ink.min(axis=0) - spare)
    far = np.maximum(outline.max(axis=0) + margin[2:], ink.max(axis=0) + spare)
    scale = height / (far[1] - low[1])
    shape = (max(12, round(scale * (far[0] - low[0]))), height)
    to_crop = np.array([[scale, 0, -scale * low[0]], [0, scale, -scale * low[1]], [0, 0, 1.0]])
    crop = cv2.warpPerspective(
        plate.image, to_crop @ to_view, shape, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    )
    centres = _mapped(to_crop @ to_view, plate.centres) / shape
    return np.asarray(crop, np.uint8), scale * plate.character_height / 16, centres


def _moved(matrix: NDArray[np.float64], place: tuple[float, float, float, float]) -> NDArray[np.float64]:
    left, top, right, bottom = place
    return _mapped(matrix, np.array([(left, top), (right, top), (right, bottom), (left, bottom)]))


def _mapped(matrix: NDArray[np.float64], points: NDArray[np.float64]) -> NDArray[np.float64]:
    """Points (N, 2) under a projective map (3, 3)."""
    mapped = np.column_stack([points, np.ones(len(points))]) @ matrix.T
    return np.asarray(mapped[:, :2] / mapped[:, 2:], np.float64)


def _field(rng: np.random.Generator, shape: tuple[int, ...], rows: int, columns: int) -> FloatImage:
    """Smooth noise (H, W), 0 to 1."""
    coarse = rng.random((rows, columns), dtype=np.float32)
    return np.asarray(cv2.resize(coarse, (shape[1], shape[0]), interpolation=cv2.INTER_LINEAR), np.float32)


def _lit(rng: np.random.Generator, image: NDArray[np.uint8], camera: Camera) -> FloatImage:
    """Dirt, shadows, colour and intensity of the light."""
    night = rng.random() < camera.night
    grey = rng.random() < camera.grey or (night and rng.random() < 0.25)
    if grey:
        mixed = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
        image = np.asarray(cv2.merge([mixed, mixed, mixed]), np.uint8)
    scene = image.astype(np.float32)
    shape = scene.shape
    light = np.full(shape[:2], 1.0, np.float32)
    if rng.random() < 0.6:
        light += rng.uniform(0.1, 0.5) * (_field(rng, shape, 2, 3) - 0.5)
    if rng.random() < 0.12:
        light *= _shadow(rng, shape)
    if rng.random() < 0.2:
        dirt = _field(rng, shape, 5, 14) ** 2 * rng.uniform(0.2, 0.6)
        scene += dirt[:, :, None] * (rng.uniform(60, 130) - scene)
    low, gain = (rng.uniform(0, 25), rng.uniform(0.18, 0.6)) if night else (rng.uniform(0, 35), rng.uniform(0.6, 1.1))
    bright = rng.random()
    if bright < 0.14:
        gain = rng.uniform(1.2, 1.8)
    elif bright < 0.24 and not night:
        low, gain = rng.uniform(30, 90), rng.uniform(0.2, 0.55)  # haze, a washed-out image
    tint = np.ones(3, np.float32)
    if not grey:
        tint += rng.normal(0, camera.tint * (1 if rng.random() < 0.85 else 2), 3).astype(np.float32)
    scene *= (gain * light)[:, :, None] * tint
    scene += low
    if rng.random() < (0.3 if night else 0.06):
        scene += _glare(rng, shape)[:, :, None]
    return scene


def _shadow(rng: np.random.Generator, shape: tuple[int, ...]) -> FloatImage:
    """The edge of a shadow across the image."""
    turn = rng.uniform(0, np.pi)
    y, x = np.ogrid[: shape[0], : shape[1]]
    middle = rng.uniform(0.2, 0.8, 2) * shape[:2]
    side = (x - middle[1]) * np.sin(turn) + (y - middle[0]) * np.cos(turn)
    soft = np.clip(0.5 + side / (0.04 * shape[1] + 1), 0, 1)
    return np.asarray(1 - rng.uniform(0.3, 0.65) * soft, np.float32)


def _glare(rng: np.random.Generator, shape: tuple[int, ...]) -> FloatImage:
    """Light of a lamp on the image, brightest at one place."""
    y, x = np.ogrid[: shape[0], : shape[1]]
    middle = rng.uniform(0, 1, 2) * shape[:2]
    reach = rng.uniform(0.3, 1.2) * shape[0]
    away = ((y - middle[0]) / reach) ** 2 + ((x - middle[1]) / (1.8 * reach)) ** 2
    return np.asarray(rng.uniform(40, 140) / (1 + away), np.float32)


def _blurred(rng: np.random.Generator, scene: FloatImage, camera: Camera, unit: float) -> FloatImage:
    """Out of focus, moved, sharpened; `unit` pixels are about half the thickness of a stroke."""
    harsh = rng.random() < camera.harsh
    sigma = rng.uniform(0.4, 1.1) * max(0.65, unit) if harsh else rng.uniform(0, 0.6) * max(0.9, 0.6 * unit)
    if sigma > 0.25:
        scene = np.asarray(cv2.GaussianBlur(scene, (0, 0), sigma), np.float32)
    if not harsh and rng.random() < 0.15:
        length = max(2, round(rng.uniform(1.0, 3.5) * unit))
        kernel = np.full((1, length), 1 / length, np.float32)
        scene = np.asarray(cv2.filter2D(scene, -1, kernel if rng.random() < 0.6 else kernel.T), np.float32)
    if rng.random() < 0.3:
        soft = cv2.GaussianBlur(scene, (0, 0), rng.uniform(0.8, 1.4))
        amount = rng.uniform(0.3, 1.5)
        scene = np.asarray(cv2.addWeighted(scene, 1 + amount, soft, -amount, 0), np.float32)  # a camera's sharpening
    return scene


def _sensed(rng: np.random.Generator, scene: FloatImage, camera: Camera) -> FloatImage:
    spread = rng.exponential(2.5) + (rng.uniform(2, 12) if rng.random() < 0.5 * camera.harsh else 0)
    spread = min(spread, 0.25 * float(scene[::2, ::2].std()))  # in low light a camera suppresses the noise
    if spread < 1:
        return scene
    plane = _noise()
    height, width = scene.shape[:2]
    y = int(rng.integers(0, max(1, plane.shape[0] - height)))
    x = int(rng.integers(0, max(1, plane.shape[1] - width)))
    grain = plane[y : y + height, x : x + width]
    if grain.shape[:2] != (height, width):
        return scene
    grain = grain if rng.random() < 0.5 else grain[:, :, :1]
    return scene + np.float32(spread) * grain


@lru_cache(maxsize=1)
def _noise() -> FloatImage:
    """Grain shared by all images: sampling it anew costs as much as rendering the plate."""
    return np.random.default_rng(0).standard_normal((320, 1024, 3), dtype=np.float32)


def _compressed(rng: np.random.Generator, image: NDArray[np.uint8], camera: Camera) -> NDArray[np.uint8]:
    if rng.random() < 0.25:
        return image
    quality = int(rng.uniform(30, 65) if rng.random() < camera.harsh else rng.uniform(60, 96))
    _, data = cv2.imencode(".jpg", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, quality])
    return np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR_RGB), np.uint8)
