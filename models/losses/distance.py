"""Euclidean distances between the rows of a batch, exact where rows coincide."""

import torch
from torch import Tensor

from models.precision import at_least_float32


def pairwise_distance(embeddings: Tensor) -> Tensor:
    """Map embeddings (N, D) to distances (N, N), at least in float32.

    Differences are taken before squaring: the faster |x|^2 + |y|^2 - 2 x.y, which `cdist` prefers from 26 rows on,
    loses all digits of a small distance. The gradient at distance 0, where none exists, is 0."""
    embeddings = at_least_float32(embeddings)
    return torch.cdist(embeddings, embeddings, compute_mode="donot_use_mm_for_euclid_dist")


def same_label(labels: Tensor) -> Tensor:
    """Map labels (N,) to a mask (N, N) of equal labels, the diagonal included."""
    return labels[:, None] == labels[None, :]


def off_diagonal(size: int, device: torch.device) -> Tensor:
    """Return a mask (size, size), True but for the diagonal."""
    return ~torch.eye(size, dtype=torch.bool, device=device)
