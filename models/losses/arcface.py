"""Additive angular margin loss, ArcFace (Deng et al., CVPR 2019, arXiv:1801.07698, Eq. 3)."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.precision import at_least_float32

_LEAST_SIN2 = 1e-6  # keeps the slope of sin = sqrt(1 - cos^2), which grows without bound towards cos = 1, below 1000


class ArcFaceLoss(nn.Module):
    """Cross-entropy of scaled cosines, with the label's angle enlarged by a margin.

    L = - mean log softmax(s c')_label, c'_j = cos(t_j), but cos(t + m) at the label, t the angle between embedding
    and row. Where t + m > pi the cosine would rise again; there c' = cos(t) - m sin(m), as in the authors' code.

    Args:
        margin: m in radians, in [0, pi / 2].
        scale: s, above 0. The paper has 64 for 85 000 faces; a client has far fewer labels.
    """

    classifier_kind = "cosine"

    def __init__(self, margin: float = 0.5, scale: float = 30.0) -> None:
        super().__init__()
        if not 0 <= margin <= math.pi / 2 or scale <= 0:
            raise ValueError(f"margin must lie in [0, pi / 2] and scale above 0, got {margin} and {scale}")
        self.margin = margin
        self.scale = scale

    def forward(self, cosines: Tensor, labels: Tensor) -> Tensor:
        """Map cosines (N, C) and labels (N,) to a scalar; zero, still differentiable, if N = 0."""
        cosines = at_least_float32(cosines)
        if not len(labels):
            return cosines.sum() * 0.0
        cos = cosines.gather(1, labels[:, None])  # (N, 1)
        sin = (1 - cos.square()).clamp(min=_LEAST_SIN2).sqrt()
        shifted = cos * math.cos(self.margin) - sin * math.sin(self.margin)  # cos(t + m)
        beyond = cos - self.margin * math.sin(self.margin)
        target = torch.where(cos >= math.cos(math.pi - self.margin), shifted, beyond)
        return F.cross_entropy(self.scale * cosines.scatter(1, labels[:, None], target), labels)
