"""Large margin cosine loss, CosFace (Wang et al., CVPR 2018, arXiv:1801.09414, Eq. 4)."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.precision import at_least_float32


class CosFaceLoss(nn.Module):
    """Cross-entropy of scaled cosines, with a margin taken off the label's.

    L = - mean log softmax(s c')_label, c'_j = cos(t_j), but cos(t) - m at the label, t the angle between embedding
    and row.

    Args:
        margin: m, not negative.
        scale: s, above 0. The paper has 64 for tens of thousands of faces; a client has far fewer labels.
    """

    classifier_kind = "cosine"

    def __init__(self, margin: float = 0.35, scale: float = 30.0) -> None:
        super().__init__()
        if margin < 0 or scale <= 0:
            raise ValueError(f"margin must not be negative and scale above 0, got {margin} and {scale}")
        self.margin = margin
        self.scale = scale

    def forward(self, cosines: Tensor, labels: Tensor) -> Tensor:
        """Map cosines (N, C) and labels (N,) to a scalar; zero, still differentiable, if N = 0."""
        cosines = at_least_float32(cosines)
        if not len(labels):
            return cosines.sum() * 0.0
        margins = torch.zeros_like(cosines).scatter(1, labels[:, None], self.margin)
        return F.cross_entropy(self.scale * (cosines - margins), labels)
