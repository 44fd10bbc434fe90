"""Quadruplet loss (Chen et al., CVPR 2017, arXiv:1704.01719), batch-hard."""

import torch.nn.functional as F
from torch import Tensor, nn

from models.losses.distance import off_diagonal, pairwise_distance, same_label


class QuadrupletLoss(nn.Module):
    """Triplet hinge, plus a hinge against pairs of two other vehicles, which also pushes those apart.

    L = mean over A of max(0, margin + d(a, p) - d(a, n)) + mean over B of max(0, other_margin + d(a, p) - d(l, k)),
    d Euclidean; p, n the hardest positive and negative of a; (l, k) the closest pair of two vehicles that both differ
    from a's; A = the anchors with a positive and a negative, B = those with a positive and such a pair.
    The paper sums over all quadruplets, with squared outputs of a learnt similarity network, and adapts its margins
    to the batch; here the hardest ones, plain distances and fixed margins keep the triplet loss's units.

    Args:
        margin: least gap to a negative of the anchor, in units of d.
        other_margin: least gap to a pair that shares no vehicle with the anchor; the smaller, as it is the weaker
            constraint. Raises ValueError if negative or above `margin`.
    """

    def __init__(self, margin: float = 0.3, other_margin: float = 0.15) -> None:
        super().__init__()
        if not 0 <= other_margin <= margin:
            raise ValueError(f"0 <= other_margin <= margin must hold, got {other_margin} and {margin}")
        self.margin = margin
        self.other_margin = other_margin

    def forward(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        """Map embeddings (N, D) and labels (N,) to a scalar; zero, still differentiable, if A and B are empty."""
        dist = pairwise_distance(embeddings)  # (N, N)
        loss = dist.sum() * 0.0
        if not len(labels):
            return loss
        same = same_label(labels)
        positive = same & off_diagonal(len(labels), labels.device)
        hardest_p = dist.masked_fill(~positive, float("-inf")).amax(dim=1, keepdim=True)  # (N, 1)
        nearest = dist.masked_fill(same, float("inf"))  # (N, N), pairs of two vehicles
        hardest_n = nearest.amin(dim=1)
        # The closest pair without the vehicle of a is the same for all images of that vehicle.
        vehicles, row = labels.unique(return_inverse=True)  # (V,), (N,)
        member = vehicles[:, None] == labels[None, :]  # (V, N)
        excluded = member[:, :, None] | member[:, None, :]  # (V, N, N)
        closest_other = nearest[None].masked_fill(excluded, float("inf")).flatten(1).amin(dim=1)[row]  # (N,)
        has_p, has_n, has_other = positive.any(dim=1), hardest_n.isfinite(), closest_other.isfinite()
        for valid, negative, margin in (
            (has_p & has_n, hardest_n, self.margin),
            (has_p & has_other, closest_other, self.other_margin),
        ):
            if valid.any():
                loss = loss + F.relu(margin + hardest_p[valid, 0] - negative[valid]).mean()
        return loss
