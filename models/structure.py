"""The structure of an image in place of its colours: what visible and infrared images of one object share.

A hot bonnet is bright in thermal infrared whatever its paint: intensities of the two modalities have no relation, and
even the sign of an edge may change. Where edges lie and how they are directed stays. The maps are those from which
histograms of oriented gradients are counted (Dalal and Triggs, CVPR 2005), with the angle doubled, so that an edge and
its negative are the same (structure tensor: Bigun and Granlund, ICCV 1987).
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.precision import at_least_float32

_AROUND = 17  # pixels, side of the neighbourhood whose mean gradient is 1
_FLOOR = 0.3  # of the image's mean gradient: flat parts stay flat
_LEAST = 1e-6


class StructureMaps(nn.Module):
    """From images (N, 3, H, W) to three maps of the same size: m / s, m cos 2a / s, m sin 2a / s.

    m is the length and a the direction of the gradient of the mean channel, smoothed over 3 x 3 pixels; s the mean of m
    over 17 x 17 pixels plus 0.3 times its mean over the image. An image, its negative, and the same with another
    brightness or contrast have the same maps."""

    def forward(self, images: Tensor) -> Tensor:
        """Map (N, 3, H, W) to (N, 3, H, W) in the images' type; both sides at least 2 pixels."""
        grey = at_least_float32(images).mean(dim=1, keepdim=True)
        smooth = F.avg_pool2d(_bordered(grey), 3, stride=1)
        bordered = _bordered(smooth)
        across = bordered[..., 1:-1, 2:] - bordered[..., 1:-1, :-2]
        down = bordered[..., 2:, 1:-1] - bordered[..., :-2, 1:-1]
        root = (across.square() + down.square() + _LEAST**2).sqrt()
        length = root - _LEAST  # 0 where the image is flat
        around = F.avg_pool2d(length, _AROUND, stride=1, padding=_AROUND // 2, count_include_pad=False)
        scale = around + _FLOOR * length.mean(dim=(2, 3), keepdim=True) + _LEAST
        doubled = torch.cat([(across.square() - down.square()) / root, 2 * across * down / root], dim=1)
        return (torch.cat([length, doubled], dim=1) / scale).to(images.dtype)


class StructureLayout(nn.Module):
    """Where an image has edges, and of which direction: means of `StructureMaps` over 8 x 8 cells, 192 values.

    Nothing of it is learnt. It tells vehicles of one pose apart, as in aligned photographs of two modalities; images
    of another view have another layout. The cells are normalised one by one, as blocks of histograms of oriented
    gradients are (Dalal and Triggs, CVPR 2005, Sec. 6.4)."""

    cells = 8
    _floor = 0.5  # of the mean length of all cells: those without an edge stay short

    def __init__(self) -> None:
        super().__init__()
        self.maps = StructureMaps()

    def forward(self, images: Tensor) -> Tensor:
        """Map (N, 3, H, W) to L2-normalised rows (N, 192), float32; zero for a blank image."""
        means = F.adaptive_avg_pool2d(at_least_float32(self.maps(at_least_float32(images))), self.cells)
        lengths = means.square().sum(dim=1, keepdim=True).sqrt()
        scale = lengths + self._floor * lengths.mean(dim=(2, 3), keepdim=True) + _LEAST
        return F.normalize((means / scale).flatten(1))


def behind_structure(stem: nn.Module) -> nn.Sequential:
    """The stem with `StructureMaps` before its parts, which keep their names."""
    whole = nn.Sequential()
    for name, part in [("structure", StructureMaps()), *stem.named_children()]:
        whole.add_module(name, part)
    return whole


def _bordered(maps: Tensor) -> Tensor:
    """With its outermost pixels repeated once on each side."""
    return F.pad(maps, (1, 1, 1, 1), mode="replicate")
