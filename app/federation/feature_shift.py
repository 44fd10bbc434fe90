"""Shift of a network's features by training: the coefficient of FedPav's cosine-distance weighting."""

from torch import Tensor

PROBES = 64
"""Images to measure."""


def cosine_shift(before: Tensor, after: Tensor) -> float:
    """Half the mean cosine distance of normalised features (N, D), in (0, 1] (Zhuang et al., 2020); of no feature, as
    if nothing had moved."""
    if not len(before):
        return 1e-6
    return float((0.5 * (1 - (before * after).sum(dim=1))).mean().clamp(1e-6, 1.0))
