"""Distillation of the distances within a batch (RKD-D: Park et al., CVPR 2019, arXiv:1904.05068)."""

import torch.nn.functional as F
from torch import Tensor, nn

from models.losses.distance import off_diagonal, pairwise_distance
from models.precision import at_least_float32


class DistanceDistillationLoss(nn.Module):
    """Both networks shall see the same images as near or as far.

    L = mean over pairs i != j of h(D1_ij / mean D1 - D2_ij / mean D2), D the Euclidean distances of one network's
    embeddings, h(x) = x^2 / 2 up to |x| = 1 and |x| - 1/2 beyond. The division makes lengths of embeddings and their
    scale irrelevant. Symmetric, both networks learn; the paper has a fixed teacher and a sum.
    """

    def forward(self, vehicle_embeddings: Tensor, plate_embeddings: Tensor) -> Tensor:
        """Map embeddings (N, D) and (N, D') to a scalar; zero, still differentiable, if N < 2.

        Raises ValueError if the numbers of rows differ."""
        if len(vehicle_embeddings) != len(plate_embeddings):
            raise ValueError(f"numbers of rows differ: {len(vehicle_embeddings)} and {len(plate_embeddings)}")
        if len(vehicle_embeddings) < 2:
            return (at_least_float32(vehicle_embeddings).sum() + at_least_float32(plate_embeddings).sum()) * 0.0
        return F.smooth_l1_loss(_relative(vehicle_embeddings), _relative(plate_embeddings))


def _relative(embeddings: Tensor) -> Tensor:
    """Map embeddings (N, D) to the distances of the N (N - 1) ordered pairs over their mean; 0 if all coincide."""
    dist = pairwise_distance(embeddings)[off_diagonal(len(embeddings), embeddings.device)]
    return dist / dist.mean().clamp(min=1e-12)
