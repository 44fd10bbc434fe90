"""Multi-similarity loss (Wang et al., 2019, arXiv:1904.06627, Eq. 15) of pairs within a batch, without its mining."""

import torch
from torch import Tensor, nn
from torch.nn import functional


class MultiSimilarityLoss(nn.Module):
    """log(1 + sum_p exp(-a (s_p - b))) / a + log(1 + sum_n exp(c (s_n - b))) / c, a mean over the images that have a
    pair of both kinds, s cosines.

    Args:
        pull: a.
        push: c.
        base: b.
    """

    def __init__(self, pull: float = 2.0, push: float = 50.0, base: float = 0.5) -> None:
        super().__init__()
        if pull <= 0 or push <= 0:
            raise ValueError(f"pull and push must be above 0; got {pull} and {push}")
        self.pull, self.push, self.base = pull, push, base

    def forward(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        """Embeddings (N, D) and labels (N,) to a scalar in float32; 0 where no image has both a match and another."""
        unit = functional.normalize(embeddings.float())
        similarity = unit @ unit.T - self.base
        same = labels[:, None] == labels[None, :]
        positive = same & ~torch.eye(len(labels), dtype=torch.bool, device=labels.device)
        counted = positive.any(1) & (~same).any(1)
        if not counted.any():
            return similarity.sum() * 0.0
        lowest = torch.finfo(similarity.dtype).min
        pulls = (-self.pull * similarity).masked_fill(~positive, lowest).logsumexp(1)
        pushes = (self.push * similarity).masked_fill(same, lowest).logsumexp(1)
        loss = functional.softplus(pulls) / self.pull + functional.softplus(pushes) / self.push
        return loss[counted].mean()
