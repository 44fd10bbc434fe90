"""Weighted regularised triplet loss of AGW (Ye et al., 2021, arXiv:2001.04193)."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.losses.distance import off_diagonal, pairwise_distance, same_label


class WeightedRegularisedTripletLoss(nn.Module):
    """Softplus of a weighted mean positive minus a weighted mean negative distance of each anchor; no margin.

    L = mean over a in A of log(1 + exp(sum_p w_p d(a, p) - sum_n w_n d(a, n))), d Euclidean, w_p = softmax over the
    positives of d(a, p), w_n = softmax over the negatives of -d(a, n): hard pairs weigh most. A = the anchors with a
    positive and a negative in the batch. An anchor is not its own positive.
    """

    def forward(self, embeddings: Tensor, pids: Tensor) -> Tensor:
        """Map embeddings (N, D) and pids (N,) to a scalar; zero, still differentiable, if A is empty."""
        dist = pairwise_distance(embeddings)  # (N, N)
        same = same_label(pids)
        positive = same & off_diagonal(len(pids), pids.device)
        valid = positive.any(dim=1) & (~same).any(dim=1)  # (N,), membership of A
        if not valid.any():
            return dist.sum() * 0.0
        dist, positive, negative = dist[valid], positive[valid], ~same[valid]
        w_p = torch.softmax(dist.masked_fill(~positive, float("-inf")), dim=1)
        w_n = torch.softmax((-dist).masked_fill(~negative, float("-inf")), dim=1)
        return F.softplus((w_p * dist).sum(dim=1) - (w_n * dist).sum(dim=1)).mean()
