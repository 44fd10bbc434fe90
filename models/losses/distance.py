"""Distances and cosines between the rows of a batch, and masks of its pairs."""

import torch
import torch.nn.functional as F
from torch import Tensor

from models.precision import at_least_float32


def pairwise_distance(embeddings: Tensor, others: Tensor | None = None) -> Tensor:
    """Map embeddings (N, D) to Euclidean distances (N, N), or (N, M) to `others` (M, D), at least in float32, exact
    where rows coincide.

    Differences are taken before squaring: the faster |x|^2 + |y|^2 - 2 x.y, which `cdist` prefers from 26 rows on,
    loses all digits of a small distance. The gradient at distance 0, where none exists, is 0."""
    rows = at_least_float32(embeddings)
    columns = rows if others is None or others is embeddings else at_least_float32(others)
    return torch.cdist(rows, columns, compute_mode="donot_use_mm_for_euclid_dist")


def cosine_similarity(embeddings: Tensor, others: Tensor) -> Tensor:
    """Map embeddings (N, D) and (M, D) to cosines (N, M), at least in float32; 0 for a row of zeros."""
    first, second = F.normalize(at_least_float32(embeddings)), F.normalize(at_least_float32(others))
    with torch.autocast(first.device.type, enabled=False):  # else products in half precision
        return first @ second.T


def same_label(labels: Tensor, others: Tensor | None = None) -> Tensor:
    """Map labels (N,) to a mask (N, N) of equal labels, the diagonal included, or (N, M) for those of `others` (M,)."""
    return labels[:, None] == (labels if others is None else others)[None, :]


def off_diagonal(size: int, device: torch.device, columns: int | None = None) -> Tensor:
    """Return a mask (size, size) or (size, columns), True but for the diagonal."""
    return ~torch.eye(size, size if columns is None else columns, dtype=torch.bool, device=device)
