"""Weather and light in an image of a vehicle: rain, night, fog, blur by motion, glare.

Each is sampled from a generator that the caller seeds. Lengths are shares of the image's sides. A crop has no depth:
fog is as thick in all of its pixels. Fog, motion and glare mix linear light, which sRGB's gamma (2.2) is taken off for.
"""

import hashlib
import math
from collections.abc import Callable
from functools import partial

import numpy as np
import torch
import torch.nn.functional as nnf
from PIL import Image
from torch import Tensor
from torchvision.transforms.v2 import functional as F

from app.core.sample import Sample

Draws = np.random.Generator
LEAST = 4
"""Pixels of a side; a smaller image stays as it is."""
_LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601
_GAMMA = 2.2
_EXTINCTION = 3.912  # ln(1 / 0.02): at the distance of visibility 2 % of the contrast are left (Koschmieder, 1924)
_RAIN_SIZE = (160, 160)  # the same streaks in every size of network, and in an image of a ranked list
_STEPS = 8  # points of a kernel of motion for each of its pixels


def in_weather(image: Tensor, kind: str, rng: Draws, *, infrared: bool = False) -> Tensor:
    """An image (3, H, W) uint8 in one of `WAYS`, of the same size.

    An infrared image stays without colour, and at night as it is: its camera brings its own light, or needs none.
    Raises KeyError for an unknown kind."""
    way = WAYS[kind]
    if min(image.shape[1:]) < LEAST or (infrared and kind == "night"):
        return image
    changed = way(image, rng)
    return F.rgb_to_grayscale(changed, num_output_channels=3) if infrared else changed


def sample_in_weather(image: Tensor, sample: Sample) -> Tensor:
    """An image of a sample in the sample's weather; as it is without one.

    The weather depends on its seed, on the file's name and its folder in the data set, and on the vehicle's box: on no
    other image, and not on where the set lies."""
    if sample.weather is None:
        return image
    root, path = sample.weather.root, sample.path
    if root is not None and path.is_relative_to(root):
        path = path.relative_to(root)  # the folder of an image in the root itself is the set's own
    named = repr((path.parts[-2:], sample.vehicle_box and tuple(sample.vehicle_box)))
    own = int.from_bytes(hashlib.sha256(named.encode()).digest()[:8], "big")
    rng = np.random.default_rng((sample.weather.seed, own))
    return in_weather(image, sample.weather.kind, rng, infrared=sample.modality == "infrared")


def shown_in_weather(image: Image.Image, sample: Sample) -> Image.Image:
    """`sample_in_weather` of a decoded image in mode "RGB"."""
    if sample.weather is None:
        return image
    pixels = torch.from_numpy(np.asarray(image).transpose(2, 0, 1).copy())
    return Image.fromarray(sample_in_weather(pixels, sample).numpy().transpose(1, 2, 0))


def rain(image: Tensor, rng: Draws, size: tuple[int, int] | None = None) -> Tensor:
    """Less contrast, and streaks: noise stretched along the wind's direction.

    Args:
        size: height and width in which the streaks are rendered before they are brought to the image's; None for those
            of the image, of which a larger one is covered more, as a drop is one of its pixels.
    """
    height, width = size or image.shape[1:]
    length = max(5, 2 * int(0.05 * height) + 1)
    drops = torch.from_numpy((rng.random((height, width)) < rng.uniform(0.002, 0.008)).astype(np.float32))
    kernel = torch.zeros(length, length)
    slope = float(rng.uniform(-0.4, 0.4))
    for row in range(length):
        kernel[row, min(max(length // 2 + round((row - length // 2) * slope), 0), length - 1)] = 1.0
    streaks = nnf.conv2d(drops[None, None], kernel[None, None], padding=length // 2)[0].clamp(0, 1)
    if streaks.shape[1:] != image.shape[1:]:
        streaks = nnf.interpolate(streaks[None], tuple(image.shape[1:]), mode="bilinear", antialias=True)[0]
    haze = float(rng.uniform(0.1, 0.3))
    veiled = image.float() * (1 - haze) + 150.0 * haze
    strength = float(rng.uniform(0.3, 0.6))
    return pixels(veiled * (1 - strength * streaks) + 220.0 * strength * streaks)


def night(image: Tensor, rng: Draws) -> Tensor:
    """Little light, of a lamp's colour, with the sensor's noise."""
    values = (image.float() / 255) ** float(rng.uniform(1.1, 1.6)) * float(rng.uniform(0.35, 0.7))
    lamp = torch.tensor([1.0, rng.uniform(0.85, 1.0), rng.uniform(0.65, 0.95)], dtype=torch.float32)
    grey = (values * torch.tensor(_LUMA).view(3, 1, 1)).sum(dim=0, keepdim=True)
    colourless = float(rng.uniform(0.1, 0.5))  # little light, little colour
    values = (values * (1 - colourless) + grey * colourless) * lamp.view(3, 1, 1)
    noise = torch.from_numpy(rng.normal(0, rng.uniform(0.01, 0.03), values.shape).astype(np.float32))
    return pixels((values + noise) * 255)


def fog(image: Tensor, rng: Draws) -> Tensor:
    """A veil of scattered daylight, t J + (1 - t) A, where exp(-3.912 d / V) of the vehicle's light J arrives.

    The vehicle's distance d is 0.1 to 0.35 of the visibility V, such as 10 m of 100 m to 30 m of 85 m, so that t is
    0.25 to 0.68. (Koschmieder, "Theorie der horizontalen Sichtweite", 1924; Narasimhan and Nayar, "Vision and the
    atmosphere", IJCV 48, 2002.) The sensor's noise is not veiled."""
    arrives = math.exp(-_EXTINCTION * float(rng.uniform(0.1, 0.35)))
    sky = float(rng.uniform(0.5, 0.75)) * torch.tensor(rng.uniform(0.95, 1.0, (3, 1, 1)), dtype=torch.float32)
    noise = torch.from_numpy(rng.normal(0, rng.uniform(0.005, 0.015), image.shape).astype(np.float32))
    return pixels(_encoded(arrives * _linear(image) + (1 - arrives) * sky) + 255 * noise)


def motion(image: Tensor, rng: Draws) -> Tensor:
    """Blur of a vehicle that moves by 5 to 12 % of its longer side, nearly level, while the shutter is open."""
    length = max(2.0, float(rng.uniform(0.05, 0.12)) * max(image.shape[1:]))
    kernel = _line(length, math.radians(float(rng.uniform(-20, 20))))
    half = kernel.shape[0] // 2
    padded = nnf.pad(_linear(image)[:, None], (half,) * 4, mode="replicate")
    return pixels(_encoded(nnf.conv2d(padded, kernel[None, None])[:, 0]))


def glare(image: Tensor, rng: Draws) -> Tensor:
    """One or two lamps, or the low sun, in view: their light spreads over the image in the camera's lens.

    It falls with the square of the distance outside of the lamp, as stray light does (Spencer et al., "Physically-based
    glare effects for digital images", SIGGRAPH 1995; Vos, 1984). The exposure goes down, what is too bright is white.
    """
    height, width = image.shape[1:]
    exposure = float(rng.uniform(0.5, 0.9))
    radius = float(rng.uniform(0.03, 0.07)) * max(height, width)
    strength = float(rng.uniform(1.5, 5.0))
    colour = torch.tensor([1.0, rng.uniform(0.9, 1.0), rng.uniform(0.75, 1.0)], dtype=torch.float32)
    first, row = float(rng.uniform(0.0, 1.0)) * width, float(rng.uniform(0.2, 0.8)) * height
    apart = float(rng.uniform(0.3, 0.5)) * width * (1 if first < width / 2 else -1)
    lamps = [first, first + apart][: int(rng.integers(1, 3))]
    rows, columns = torch.arange(height)[:, None] + 0.5, torch.arange(width)[None, :] + 0.5
    spread = torch.zeros(height, width)
    for column in lamps:
        spread += strength / (1 + ((rows - row) ** 2 + (columns - column) ** 2) / radius**2)
    return pixels(_encoded(exposure * _linear(image) + spread * colour.view(3, 1, 1)))


def pixels(values: Tensor) -> Tensor:
    """Values in 0..255 as uint8."""
    return values.round().clamp(0, 255).to(torch.uint8)


def _linear(image: Tensor) -> Tensor:
    return (image.float() / 255) ** _GAMMA


def _encoded(light: Tensor) -> Tensor:
    return 255 * light.clamp(0, 1) ** (1 / _GAMMA)


def _line(length: float, angle: float) -> Tensor:
    """A kernel of odd sides whose values, on a line through its centre, add up to 1; shared between the four pixels
    around each point."""
    half = math.ceil(length / 2) + 1
    kernel = np.zeros((2 * half + 1, 2 * half + 1), np.float64)
    along = np.linspace(-length / 2, length / 2, _STEPS * math.ceil(length) + 1)
    rows, columns = half + along * math.sin(angle), half + along * math.cos(angle)
    top, left = np.floor(rows).astype(int), np.floor(columns).astype(int)
    for down, across in ((0, 0), (0, 1), (1, 0), (1, 1)):
        share = np.abs(1 - down - (rows - top)) * np.abs(1 - across - (columns - left))
        np.add.at(kernel, (top + down, left + across), share)
    return torch.from_numpy((kernel / kernel.sum()).astype(np.float32))


WAYS: dict[str, Callable[[Tensor, Draws], Tensor]] = {
    "rain": partial(rain, size=_RAIN_SIZE),
    "night": night,
    "fog": fog,
    "blur": motion,
    "glare": glare,
}
"""By the names of `app.settings.weather`."""
