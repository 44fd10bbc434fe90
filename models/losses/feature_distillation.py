"""Distillation between the embeddings of two networks (FitNets: Romero et al., ICLR 2015, arXiv:1412.6550)."""

import torch.nn.functional as F
from torch import Tensor, nn

from models.errors import NetworkError
from models.precision import at_least_float32


class FeatureDistillationLoss(nn.Module):
    """L = mean over the batch of |u - v|^2 = 2 - 2 cos(u, v), u and v the L2-normalised embeddings of one image.

    Symmetric, both networks learn. The paper's hint loss has a fixed teacher, a learnt layer between the two lengths
    and no normalisation; here both embeddings must have one length, and only their direction is compared by.
    """

    def forward(self, vehicle_embeddings: Tensor, plate_embeddings: Tensor) -> Tensor:
        """Map embeddings (N, D) twice to a scalar in [0, 4]; zero, still differentiable, if N = 0.

        Raises ValueError if shapes differ: give both branches the same reduction."""
        u, v = at_least_float32(vehicle_embeddings), at_least_float32(plate_embeddings)
        if u.shape != v.shape:
            raise NetworkError(
                f"feature distillation needs embeddings of one shape, got {tuple(u.shape)} and {tuple(v.shape)}; "
                "reduce both branches to one length"
            )
        squared = (F.normalize(u) - F.normalize(v)).square().sum(dim=1)  # (N,)
        return squared.sum() / max(len(squared), 1)
