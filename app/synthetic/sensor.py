"""Effects of lens, weather, sensor and compression on an image."""

import math

import cv2
import numpy as np
from numpy.typing import NDArray

from app.synthetic.camera import Camera
from app.synthetic.projection import Floats

Image = NDArray[np.uint8]


def tone(image: Image, camera: Camera, exposure: float) -> Image:
    """Saturation, white balance, contrast, gamma and fog in one table for each channel."""
    if not camera.infrared and camera.saturation < 0.97:
        grey = cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_BGR2GRAY), cv2.COLOR_GRAY2BGR)
        cv2.addWeighted(image, camera.saturation, grey, 1 - camera.saturation, 0, dst=image)
    ramp = np.arange(256) / 255.0
    table = np.empty((1, 256, 3), np.uint8)
    for channel, gain in enumerate(camera.gains):
        value = np.clip(ramp * gain * camera.level * exposure, 0, None) ** camera.gamma
        value = 0.5 + (value - 0.5) * camera.contrast
        if camera.weather == "fog":
            value = 0.7 * value + 0.3 * (0.45 if camera.infrared else 0.74)
        table[0, :, channel] = np.clip(value * 255, 0, 255)
    return cv2.LUT(image, table)  # type: ignore[return-value]


def add_rain(image: Image, rng: np.random.Generator) -> None:
    """Thin bright streaks, in place."""
    size = image.shape[0]
    layer = np.zeros(image.shape, np.uint8)
    slant = float(rng.uniform(-0.25, 0.25))
    starts = rng.uniform(0, size, (45, 2))
    lengths = rng.uniform(0.03, 0.10, 45) * size
    for (x, y), length in zip(starts.tolist(), lengths.tolist(), strict=True):
        cv2.line(layer, (int(x), int(y)), (int(x + slant * length), int(y + length)), (62, 60, 58), 1, cv2.LINE_AA)
    cv2.add(image, layer, dst=image)


def blur(image: Image, *, defocus: float, motion: float) -> Image:
    """Gaussian blur of `defocus` pixels, then a level smear over `motion` pixels."""
    if defocus >= 0.3:
        image = cv2.GaussianBlur(image, (0, 0), defocus)  # type: ignore[assignment]
    if motion >= 1.2:
        reach = math.ceil((motion - 1) / 2)
        kernel = np.clip((motion + 1) / 2 - abs(np.arange(-reach, reach + 1)), 0, 1)
        image = cv2.sepFilter2D(image, -1, kernel / kernel.sum(), np.ones(1))  # type: ignore[assignment]
    return image


def noise_tile(camera: Camera, size: int) -> NDArray[np.int16]:
    """A field of sensor noise (2 * size, 2 * size, 3); every image takes another window of it."""
    rng = np.random.default_rng([4, *camera.key])
    channels = 1 if camera.infrared else 3
    field = (rng.standard_normal((2 * size, 2 * size, channels), np.float32) * camera.noise).astype(np.int16)
    return np.ascontiguousarray(np.broadcast_to(field, (2 * size, 2 * size, 3)))


def add_noise(image: Image, tile: NDArray[np.int16], rng: np.random.Generator) -> Image:
    """The image plus a random window of `tile`."""
    size = image.shape[0]
    y, x = (int(v) for v in rng.integers(0, size, 2))
    return cv2.add(image, tile[y : y + size, x : x + size], dtype=cv2.CV_8U)  # type: ignore[return-value]


def coarsen(image: Image, native: float) -> Image:
    """The image as if the camera had only `native` pixels across it; unchanged if it has enough."""
    size = image.shape[0]
    few = round(native)
    if few >= size:
        return image
    small = cv2.resize(image, (few, few), interpolation=cv2.INTER_AREA)
    return cv2.resize(small, (size, size), interpolation=cv2.INTER_LINEAR)  # type: ignore[return-value]


def compress(image: Image, quality: int) -> Image:
    """The image after the camera's own JPEG."""
    encoded = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
    return cv2.imdecode(encoded, cv2.IMREAD_COLOR)  # type: ignore[return-value]


def add_glow(image: Image, places: Floats, radius: float, strength: float) -> None:
    """Light that floods its surroundings, in place."""
    quarter = np.zeros((image.shape[0] // 4, image.shape[1] // 4), np.uint8)
    for x, y in places:
        cv2.circle(quarter, (int(x / 4), int(y / 4)), max(1, int(radius / 4)), strength, -1)
    soft = cv2.GaussianBlur(quarter, (0, 0), max(0.6, radius / 10))
    full = cv2.resize(cv2.cvtColor(soft, cv2.COLOR_GRAY2BGR), image.shape[1::-1], interpolation=cv2.INTER_LINEAR)
    cv2.add(image, full, dst=image)
