"""Enhancement of an image: how the same vehicle looks from a little further round, in rain, at night, half hidden.

Geometry, colour and blur are torchvision's, rain and night those of `app.data.weather`. Kind and strength are sampled
from a generator that the caller seeds.
"""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor
from torchvision.transforms.v2 import functional as F

from app.data.weather import LEAST, Draws, night, pixels, rain

_GREY = [127.0, 127.0, 127.0]
_AT_ONCE = 2  # kinds of enhancement of one image, at most


def enhanced(image: Tensor, kinds: Sequence[str], rng: Draws, *, infrared: bool = False) -> Tensor:
    """An image (3, H, W) uint8 changed in one or two of these kinds, of the same size.

    An infrared image stays without colour. Raises KeyError for an unknown kind."""
    if min(image.shape[1:]) < LEAST:
        return image
    count = min(len(kinds), int(rng.integers(1, _AT_ONCE + 1)))
    for place in rng.permutation(len(kinds))[:count]:
        image = _WAYS[kinds[place]](image, rng)
    if infrared:
        image = F.rgb_to_grayscale(image, num_output_channels=3)
    return image


def _geometry(image: Tensor, rng: Draws) -> Tensor:
    """Another angle: perspective, a small turn, another size and place, sometimes mirrored."""
    height, width = image.shape[1:]
    corners = np.array([[0, 0], [width - 1, 0], [width - 1, height - 1], [0, height - 1]], float)
    moved = corners + rng.uniform(-0.1, 0.1, (4, 2)) * (width, height)
    # Grey would come in from outside; the border's own pixels look more like a camera's.
    pad = [width // 4, height // 4]
    padded = F.pad(image, [pad[0], pad[1], pad[0], pad[1]], padding_mode="edge")
    inside = (corners + pad).round().astype(int).tolist()
    changed = F.perspective(padded, inside, (moved + pad).round().astype(int).tolist())
    changed = F.affine(
        changed,
        angle=float(rng.uniform(-6, 6)),
        translate=[float(rng.uniform(-0.06, 0.06) * width), float(rng.uniform(-0.06, 0.06) * height)],
        scale=float(rng.uniform(0.88, 1.15)),
        shear=[0.0, 0.0],
        interpolation=F.InterpolationMode.BILINEAR,
        fill=_GREY,
    )
    changed = F.crop(changed, pad[1], pad[0], height, width)
    return F.horizontal_flip(changed) if rng.random() < 0.5 else changed


def _colour(image: Tensor, rng: Draws) -> Tensor:
    """Other light: brightness, contrast, saturation and the colour of the light."""
    image = F.adjust_brightness(image, float(rng.uniform(0.6, 1.4)))
    image = F.adjust_contrast(image, float(rng.uniform(0.7, 1.3)))
    image = F.adjust_saturation(image, float(rng.uniform(0.6, 1.4)))
    light = torch.tensor(rng.uniform(0.92, 1.08, (3, 1, 1)), dtype=torch.float32)
    return pixels(image.float() * light)


def _blur(image: Tensor, rng: Draws) -> Tensor:
    """Out of focus, or few pixels made large again."""
    height, width = image.shape[1:]
    if rng.random() < 0.5:
        sigma = float(rng.uniform(0.006, 0.016)) * max(height, width)
        # The border is mirrored, and a narrow image has little to mirror.
        reach = min(int(np.ceil(2 * sigma)), min(height, width) - 1)
        return F.gaussian_blur(image, [2 * reach + 1] * 2, [sigma] * 2)
    share = float(rng.uniform(0.25, 0.6))
    small = F.resize(image, [max(2, round(height * share)), max(2, round(width * share))], antialias=True)
    return F.resize(small, [height, width])


def _occlusion(image: Tensor, rng: Draws) -> Tensor:
    """Something stands in front: a box, or a post from top to bottom."""
    height, width = image.shape[1:]
    tall, wide = (max(2, int(side * rng.uniform(0.2, 0.45))) for side in (height, width))
    if rng.random() < 0.3:
        tall, wide = height, max(2, int(width * rng.uniform(0.05, 0.12)))
    top, left = int(rng.integers(0, height - tall + 1)), int(rng.integers(0, width - wide + 1))
    shade = torch.tensor(rng.uniform(30, 200, (3, 1, 1)), dtype=torch.float32)
    grain = torch.from_numpy(rng.normal(0, 12, (1, tall, wide)).astype(np.float32))
    changed = image.clone()
    changed[:, top : top + tall, left : left + wide] = pixels(shade.mean() * 0.7 + shade * 0.3 + grain)
    return changed


_WAYS: dict[str, Callable[[Tensor, Draws], Tensor]] = {
    "geometry": _geometry,
    "colour": _colour,
    "blur": _blur,
    "rain": rain,
    "night": night,
    "occlusion": _occlusion,
}
