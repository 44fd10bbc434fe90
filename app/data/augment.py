"""Online augmentation of a training batch: one operation for all of its images, random for each.

torchvision's transforms change one image at a time, which took longer than a small network took to learn from it.
"""

import math
from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from app.data.enhance import enhanced
from app.data.weather import in_weather
from app.settings.augment import AugmentSettings, effects_of
from app.settings.weather import WEATHERS

ChangeImage = Callable[[Tensor, np.random.Generator, bool], Tensor]
"""From an image, a generator and whether it is infrared to the changed image."""

_GREY = 127.0
_KERNEL = 5  # side of the blur, pixels
_ERASED_SHARE, _ERASED_RATIO = (0.02, 0.2), (0.3, 3.3)  # Zhong et al., 2020, arXiv:1708.04896, with smaller areas
_LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601


class Augmentation:
    """A random change of each image of a batch; the changes are declared in `app.settings.augment`.

    Args:
        settings: a part at 0 is left out.
        plates: whether the images are plates, which some parts leave as they are.
    """

    def __init__(self, settings: AugmentSettings, *, plates: bool = False) -> None:
        self.settings = settings
        self.effects = effects_of(settings, plates=plates)

    def __call__(self, images: Tensor, generator: Generator) -> Tensor:
        """Images (N, 3, H, W) uint8 to as many of the same size; draws from `generator` alone."""
        draw = Draws(len(images), generator)
        batch = images.float()
        for effect in self.effects:
            batch = effect(batch, self.settings, draw)
        return batch.round().clamp(0, 255).to(torch.uint8)


class Draws:
    """Random numbers of a batch, one an image, and operations on it."""

    def __init__(self, count: int, generator: Generator) -> None:
        self.count = count
        self.generator = generator

    def uniform(self, low: float, high: float) -> Tensor:
        """(N,) in low..high."""
        return low + (high - low) * torch.rand(self.count, generator=self.generator)

    def chosen(self, probability: float) -> Tensor:
        """(N, 1, 1, 1) bool."""
        return (torch.rand(self.count, generator=self.generator) < probability).view(-1, 1, 1, 1)

    def moved(self, batch: Tensor, shift: float, rotate: float, zoom: float) -> Tensor:
        """Rotate by up to `rotate` degrees, zoom and shift by up to these shares; grey comes in from outside."""
        angle = self.uniform(-math.radians(rotate), math.radians(rotate))
        scale = self.uniform(1 - zoom, 1 + zoom)
        cos, sin = angle.cos() / scale, angle.sin() / scale
        across, down = (2 * self.uniform(-shift, shift) for _ in range(2))  # the sides are 2 long in the grid
        tall = batch.shape[2] / batch.shape[3]  # a turn of an image that is not square stays a turn
        rows = [torch.stack([cos, sin * tall, across], 1), torch.stack([-sin / tall, cos, down], 1)]
        grid = F.affine_grid(torch.stack(rows, 1), list(batch.shape), align_corners=False)
        return F.grid_sample(batch - _GREY, grid, align_corners=False) + _GREY

    def recoloured(self, batch: Tensor, strength: float) -> Tensor:
        """Brightness, then contrast around the image's mean luma, then saturation."""
        brightness, contrast, saturation = (
            self.uniform(1 - strength, 1 + strength).view(-1, 1, 1, 1) for _ in range(3)
        )
        batch = (batch * brightness).clamp(0, 255)
        mean = _luma(batch).mean(dim=(2, 3), keepdim=True)
        batch = (mean + contrast * (batch - mean)).clamp(0, 255)
        luma = _luma(batch)
        return (luma + saturation * (batch - luma)).clamp(0, 255)

    def colourless(self, batch: Tensor) -> Tensor:
        """The luma of each image in all of its channels."""
        return _luma(batch).expand_as(batch)

    def one_channel(self, batch: Tensor) -> Tensor:
        """One channel of each image in all of its channels."""
        chosen = torch.randint(batch.shape[1], (self.count,), generator=self.generator)
        return batch[torch.arange(self.count), chosen][:, None].expand_as(batch)

    def blurred(self, batch: Tensor, sigmas: Tensor) -> Tensor:
        """A Gaussian blur with a standard deviation of its own, (N,) pixels, for each image."""
        count, channels, height, width = batch.shape
        distance = torch.arange(_KERNEL) - _KERNEL // 2
        kernel = torch.exp(-0.5 * (distance / sigmas[:, None]) ** 2)  # (N, _KERNEL)
        kernel = (kernel / kernel.sum(dim=1, keepdim=True)).repeat_interleave(channels, dim=0)
        half = _KERNEL // 2
        padded = F.pad(batch, (half, half, half, half), mode="reflect")
        padded = padded.reshape(1, count * channels, height + 2 * half, -1)
        across = F.conv2d(padded, kernel[:, None, None, :], groups=count * channels)
        both = F.conv2d(across, kernel[:, None, :, None], groups=count * channels)
        return both.reshape(count, channels, height, width)

    def rectangles(self, batch: Tensor) -> Tensor:
        """(N, 1, H, W) bool: one rectangle in each image."""
        height, width = batch.shape[2:]
        area = height * width * self.uniform(*_ERASED_SHARE)
        ratio = self.uniform(*(math.log(side) for side in _ERASED_RATIO)).exp()
        tall = (area * ratio).sqrt().clamp(1, height)
        wide = (area / ratio).sqrt().clamp(1, width)
        top = (height - tall) * self.uniform(0, 1)
        left = (width - wide) * self.uniform(0, 1)
        rows = torch.arange(height)[None, :] + 0.5  # centres of the pixels
        columns = torch.arange(width)[None, :] + 0.5
        inside_rows = (rows >= top[:, None]) & (rows < (top + tall)[:, None])
        inside_columns = (columns >= left[:, None]) & (columns < (left + wide)[:, None])
        return inside_rows[:, None, :, None] & inside_columns[:, None, None, :]

    def weathered(self, batch: Tensor, kind: str, probability: float) -> Tensor:
        """Some images in rain or at night, as `app.data.enhance` draws it."""
        return self._one_by_one(
            batch, probability, lambda image, rng, infrared: enhanced(image, [kind], rng, infrared=infrared)
        )

    def in_any_weather(self, batch: Tensor, probability: float) -> Tensor:
        """Some images, each in one kind of weather of `app.data.weather`."""
        return self._one_by_one(
            batch,
            probability,
            lambda image, rng, infrared: in_weather(image, str(rng.choice(WEATHERS)), rng, infrared=infrared),
        )

    def _one_by_one(self, batch: Tensor, probability: float, change: ChangeImage) -> Tensor:
        chosen = self.chosen(probability).flatten()
        rng = np.random.default_rng(int(torch.randint(2**62, (), generator=self.generator)))
        changed = batch.clone()
        for place in torch.nonzero(chosen).flatten().tolist():
            image = batch[place].to(torch.uint8)
            colourless = bool((image[0] == image[1]).all() and (image[1] == image[2]).all())
            changed[place] = change(image, rng, colourless).float()
        return changed


def _luma(batch: Tensor) -> Tensor:
    weights = torch.tensor(_LUMA).view(1, 3, 1, 1)
    return (batch * weights).sum(dim=1, keepdim=True)
