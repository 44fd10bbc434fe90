"""Contrastive loss (Hadsell et al., CVPR 2006) over all pairs of a batch."""

import torch.nn.functional as F
from torch import Tensor, nn

from models.losses.distance import off_diagonal, pairwise_distance, same_label
from models.losses.memory import Remembered, with_memory
from models.precision import at_least_float32


class ContrastiveLoss(nn.Module):
    """Pull pairs of a vehicle together, push pairs of two vehicles beyond a margin.

    L = mean over P of d + mean over Q of (margin - d); d in [0, 2] is the Euclidean distance of L2-normalised
    embeddings, P the pairs of one vehicle with d > 0, Q the pairs of two vehicles with d < margin. The paper squares
    both terms, sums and does not normalise; this is the form of pytorch-metric-learning, whose pull does not fade as
    a pair comes close. (That package takes seconds to import, which each message to a deployed client would pay.)

    Args:
        margin: least distance of two vehicles, in (0, 2]. Raises ValueError outside.
    """

    def __init__(self, margin: float = 1.0) -> None:
        super().__init__()
        if not 0 < margin <= 2:
            raise ValueError(f"margin must lie in (0, 2], got {margin}")
        self.margin = margin

    def forward(self, embeddings: Tensor, labels: Tensor, memory: Remembered | None = None) -> Tensor:
        """Map embeddings (N, D) and labels (N,) to a scalar; zero, still differentiable, if P and Q are empty.
        Embeddings of `memory` make further pairs with those of the batch, and none with each other."""
        others, other_labels = with_memory(at_least_float32(embeddings), labels, memory)
        normalised = F.normalize(others)
        dist = pairwise_distance(normalised[: len(labels)], normalised)  # (N, N + M)
        same = same_label(labels, other_labels)
        pull = dist[same & off_diagonal(len(labels), labels.device, len(other_labels))]
        push = F.relu(self.margin - dist[~same])
        loss = dist.sum() * 0.0
        for costs in (pull, push):
            if (costs > 0).any():
                loss = loss + costs[costs > 0].mean()
        return loss
