"""Distillation of spatial attention (Zagoruyko and Komodakis, ICLR 2017, arXiv:1612.03928, Eq. 2)."""

import torch.nn.functional as F
from torch import Tensor, nn

from models.precision import at_least_float32


class AttentionDistillationLoss(nn.Module):
    """Both networks shall respond at the same positions of their image.

    L = mean over the batch of |Q1 / |Q1| - Q2 / |Q2||^2, Q = vec(sum over channels of A^2), A a feature map. The
    paper compares maps of one size and does not square the norm; here maps of different sizes are averaged to the
    coarser grid first. Symmetric, both networks learn. Note that a plate's map shows the plate, not the vehicle:
    positions correspond between two crops of one vehicle only as far as the crops do.
    """

    def forward(self, vehicle_maps: Tensor, plate_maps: Tensor) -> Tensor:
        """Map feature maps (N, C, h, w) and (N, C', h', w') to a scalar in [0, 2]; zero, differentiable, if N = 0.

        Raises ValueError if the numbers of rows differ."""
        if len(vehicle_maps) != len(plate_maps):
            raise ValueError(f"numbers of rows differ: {len(vehicle_maps)} and {len(plate_maps)}")
        if not len(vehicle_maps):
            return (at_least_float32(vehicle_maps).sum() + at_least_float32(plate_maps).sum()) * 0.0
        height, width = (min(a, b) for a, b in zip(vehicle_maps.shape[2:], plate_maps.shape[2:], strict=True))
        q1, q2 = (_attention(maps, (height, width)) for maps in (vehicle_maps, plate_maps))
        return (q1 - q2).square().sum(dim=1).mean()


def _attention(maps: Tensor, grid: tuple[int, int]) -> Tensor:
    """Map feature maps (N, C, h, w) to L2-normalised attention (N, grid height x grid width)."""
    energy = at_least_float32(maps).square().sum(dim=1, keepdim=True)  # (N, 1, h, w)
    return F.normalize(F.adaptive_avg_pool2d(energy, grid).flatten(1))
