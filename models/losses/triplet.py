"""Batch-hard triplet loss (Hermans et al., 2017, arXiv:1703.07737, Sec. 2)."""

import torch.nn.functional as F
from torch import Tensor, nn

from models.losses.distance import off_diagonal, pairwise_distance, same_label
from models.losses.memory import Remembered, with_memory


class BatchHardTripletLoss(nn.Module):
    """Hinge, or its soft form, on the hardest positive and the hardest negative of each anchor.

    L = mean over a in A of h(max_p d(a, p) - min_n d(a, n)), d Euclidean, A = the anchors with a positive and a
    negative in the batch, h(x) = max(0, margin + x), or log(1 + e^x) for a soft margin. The paper sums over a full
    batch; a mean over A suits partial ones.

    Args:
        margin: least gap, in units of d; None for the soft margin. Raises ValueError if negative.
    """

    def __init__(self, margin: float | None = 0.3) -> None:
        super().__init__()
        if margin is not None and margin < 0:
            raise ValueError(f"margin must not be negative, got {margin}")
        self.margin = margin

    def forward(self, embeddings: Tensor, labels: Tensor, memory: Remembered | None = None) -> Tensor:
        """Map embeddings (N, D) and labels (N,) to a scalar; zero, still differentiable, if A is empty. Embeddings of
        `memory` are further positives and negatives, and no anchors."""
        others, other_labels = with_memory(embeddings, labels, memory)
        dist = pairwise_distance(embeddings, others)  # (N, N + M)
        same = same_label(labels, other_labels)
        positive = same & off_diagonal(len(labels), labels.device, len(other_labels))
        valid = positive.any(dim=1) & (~same).any(dim=1)  # (N,), membership of A
        if not valid.any():
            return dist.sum() * 0.0
        hardest_p = dist.masked_fill(~positive, float("-inf"))[valid].amax(dim=1)
        hardest_n = dist.masked_fill(same, float("inf"))[valid].amin(dim=1)
        gap = hardest_p - hardest_n
        return (F.softplus(gap) if self.margin is None else F.relu(self.margin + gap)).mean()
