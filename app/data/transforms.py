"""Online augmentation of one training picture."""

from collections.abc import Callable

import torch
from torch import Tensor
from torchvision.transforms import InterpolationMode, v2

_GREY = 127.0


def augmentation(
    *, flip: float, shift: float, rotate: float, zoom: float, colour: float, blur: float, erase: float
) -> Callable[[Tensor], Tensor]:
    """A random change of a picture (3, H, W) uint8; draws from PyTorch's global generator.

    See `AugmentSettings` for the arguments; a part at 0 is left out.
    """
    steps: list[torch.nn.Module] = []
    if flip:
        steps.append(v2.RandomHorizontalFlip(flip))
    if shift or rotate or zoom:
        steps.append(
            v2.RandomAffine(
                rotate,
                translate=(shift, shift),
                scale=(1 - zoom, 1 + zoom),
                interpolation=InterpolationMode.BILINEAR,
                fill=_GREY,
            )
        )
    if colour:
        steps.append(v2.ColorJitter(brightness=colour, contrast=colour, saturation=colour))
    if blur:
        steps.append(v2.RandomApply([v2.GaussianBlur(5, (0.3, 1.5))], blur))
    if erase:
        steps.append(v2.RandomErasing(erase, scale=(0.02, 0.2), value=_GREY))
    return v2.Compose(steps) if steps else _identity


def _identity(picture: Tensor) -> Tensor:
    return picture
