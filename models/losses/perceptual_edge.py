"""Perceptual edge loss (Gao et al., MSO, ACM MM 2021)."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.precision import at_least_float32

_LEAST = 8  # pixels of a side, of which a network that halves it three times leaves one
_LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601


class PerceptualEdgeLoss(nn.Module):
    """Lets a stem keep the outlines of what it sees: its features and the image's edges look alike to a network.

    L = sum over stages t of mean over images of |phi_t(f) - phi_t(e)|^2 / (C_t H_t W_t), phi_t the frozen
    perceptual network up to the end of stage t, e the Sobel edge map of the image and f the stem's feature map, as
    one map: the mean over its channels. Both are brought to the size of f, to [0, 1] for each image and to three
    equal channels, as the network takes images. The paper does not say how a map of many channels enters a network
    of three; the mean adds no parameter that could learn the task in place of the stem.

    Args:
        stages: the network in parts, the first taking (N, 3, h, w), each of the others what the one before gives. Its
            parameters are frozen, and it stays in evaluation mode.
        longest: pixels of the longer side of the maps it is given; larger ones are made smaller. 0 leaves them as they
            are. The time it takes grows with the square. No side is let below eight pixels.
    """

    def __init__(self, stages: Sequence[nn.Module], longest: int = 0) -> None:
        super().__init__()
        if not stages:
            raise ValueError("a perceptual network needs at least one stage")
        if longest < 0:
            raise ValueError(f"longest must not be negative, got {longest}")
        self.longest = longest
        self.stages = nn.ModuleList(stages)
        self.stages.requires_grad_(False)
        self.eval()

    def train(self, mode: bool = True) -> "PerceptualEdgeLoss":
        """Stays in evaluation mode: the network is a measure, and must not change."""
        del mode
        return super().train(False)

    def forward(self, feature_map: Tensor, images: Tensor) -> Tensor:
        """Map a stem's output (N, C, h, w) and its images (N, 3, H, W), in any linear scale, to a scalar.

        Raises ValueError for batches of different length."""
        if len(feature_map) != len(images):
            raise ValueError(f"{len(feature_map)} feature maps of {len(images)} images")
        feature_map = at_least_float32(feature_map)
        size = self._size(feature_map.shape[2], feature_map.shape[3])
        # In bfloat16 the smallest and the largest edge would be a hundred steps apart, and maps cannot be resized.
        with torch.autocast(feature_map.device.type, enabled=False):
            first = _three(_resized(feature_map.mean(dim=1, keepdim=True), size))
            with torch.no_grad():
                second = _three(_resized(sobel(at_least_float32(images)), size))
        total = feature_map.new_zeros(())
        for stage in self.stages:
            first = stage(first)
            with torch.no_grad():
                second = stage(second)
            gap = at_least_float32(first) - at_least_float32(second)
            total = total + gap.square().mean()  # over N, C_t, H_t and W_t
        return total

    def _size(self, height: int, width: int) -> tuple[int, int]:
        scale = min(1.0, (self.longest or max(height, width)) / max(height, width))
        return max(_LEAST, round(scale * height)), max(_LEAST, round(scale * width))


def sobel(images: Tensor) -> Tensor:
    """Gradient magnitude (N, 1, H, W) of images (N, 3, H, W), of their grey values; edges of the image repeat."""
    weights = torch.tensor(_LUMA, dtype=images.dtype, device=images.device).view(1, 3, 1, 1)
    grey = F.pad((images * weights).sum(dim=1, keepdim=True), (1, 1, 1, 1), mode="replicate")
    across = torch.tensor([[-1.0, 0, 1], [-2, 0, 2], [-1, 0, 1]], dtype=images.dtype, device=images.device)
    kernels = torch.stack([across, across.T])[:, None]  # (2, 1, 3, 3)
    # The root has no derivative at 0; edges are not differentiated, but a caller might.
    return (F.conv2d(grey, kernels).square().sum(dim=1, keepdim=True) + 1e-12).sqrt()


def _resized(maps: Tensor, size: tuple[int, int]) -> Tensor:
    if maps.shape[2:] == size:
        return maps
    return F.interpolate(maps, size, mode="bilinear", antialias=True)


def _three(one: Tensor) -> Tensor:
    """A map (N, 1, h, w) scaled to [0, 1] for each image, in three channels."""
    low, high = one.amin(dim=(2, 3), keepdim=True), one.amax(dim=(2, 3), keepdim=True)
    return ((one - low) / (high - low).clamp(min=1e-6)).expand(-1, 3, -1, -1)
