"""Softmax cross-entropy with label smoothing (Szegedy et al., CVPR 2016, arXiv:1512.00567, Sec. 7)."""

import torch.nn.functional as F
from torch import Tensor, nn

from models.precision import at_least_float32


class CrossEntropyLoss(nn.Module):
    """L = - mean over the batch of sum_c q_c log softmax(z)_c, q = (1 - smoothing) [c = label] + smoothing / C.

    Args:
        label_smoothing: in [0, 1). Raises ValueError outside.
    """

    classifier_kind = "linear"
    scale = 1.0

    def __init__(self, label_smoothing: float = 0.0) -> None:
        super().__init__()
        if not 0 <= label_smoothing < 1:
            raise ValueError(f"label_smoothing must lie in [0, 1), got {label_smoothing}")
        self.label_smoothing = label_smoothing

    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Map logits (N, C) and labels (N,) to a scalar; zero, still differentiable, if N = 0."""
        logits = at_least_float32(logits)
        if not len(labels):
            return logits.sum() * 0.0
        return F.cross_entropy(logits, labels, label_smoothing=self.label_smoothing)
