"""Focal loss over C labels (Lin et al., ICCV 2017, arXiv:1708.02002, Eq. 4)."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.precision import at_least_float32


class FocalLoss(nn.Module):
    """Cross-entropy in which images that are already recognised weigh little.

    L = - mean over the batch of (1 - p)^gamma log p, p = softmax(z) at the label. The paper has sigmoids and divides
    by the number of assigned anchors; here one label of C is right and every image counts.

    Args:
        gamma: 0 is plain cross-entropy. Raises ValueError if negative.
    """

    classifier_kind = "linear"
    scale = 1.0

    def __init__(self, gamma: float = 2.0) -> None:
        super().__init__()
        if gamma < 0:
            raise ValueError(f"gamma must not be negative, got {gamma}")
        self.gamma = gamma

    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Map logits (N, C) and labels (N,) to a scalar; zero, still differentiable, if N = 0 or C = 1."""
        if not len(labels) or logits.shape[1] == 1:
            return at_least_float32(logits).sum() * 0.0
        log_p = F.log_softmax(at_least_float32(logits), dim=1)  # (N, C)
        target = F.one_hot(labels, log_p.shape[1]).bool()
        # log(1 - p) from the other labels: 1 - p itself rounds to 0 as p nears 1, where gamma < 1 has no gradient.
        log_rest = torch.logsumexp(log_p.masked_fill(target, float("-inf")), dim=1)  # (N,)
        return -(torch.exp(self.gamma * log_rest) * log_p[target]).mean()
