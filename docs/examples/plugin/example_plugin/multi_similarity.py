"""Circle loss (Sun et al., 2020, arXiv:2002.10857, Eq. 6) of pairs within a batch."""

import torch
from torch import Tensor, nn
from torch.nn import functional


class CircleLoss(nn.Module):
    """log(1 + sum_n exp(gamma a_n (s_n - m)) sum_p exp(-gamma a_p (s_p - 1 + m))), a mean over the images that have a
    pair of both kinds, with a_n = max(s_n + m, 0) and a_p = max(1 + m - s_p, 0), which carry no gradient.

    Args:
        margin: m, the relaxation of the optimum.
        scale: gamma.
    """

    def __init__(self, margin: float = 0.25, scale: float = 64.0) -> None:
        super().__init__()
        if not 0 <= margin < 1 or scale <= 0:
            raise ValueError(f"margin must be in [0, 1) and scale above 0; got {margin} and {scale}")
        self.margin, self.scale = margin, scale

    def forward(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        """Embeddings (N, D) and labels (N,) to a scalar in float32; 0 where no image has both a match and another."""
        unit = functional.normalize(embeddings.float())
        similarity = unit @ unit.T
        same = labels[:, None] == labels[None, :]
        positive = same & ~torch.eye(len(labels), dtype=torch.bool, device=labels.device)
        to_positive = (1 + self.margin - similarity.detach()).clamp(min=0)
        to_negative = (similarity.detach() + self.margin).clamp(min=0)
        pull = -self.scale * to_positive * (similarity - 1 + self.margin)
        push = self.scale * to_negative * (similarity - self.margin)
        lowest = torch.finfo(similarity.dtype).min
        pulls = pull.masked_fill(~positive, lowest).logsumexp(1)
        pushes = push.masked_fill(same, lowest).logsumexp(1)
        counted = positive.any(1) & (~same).any(1)
        if not counted.any():
            return similarity.sum() * 0.0
        return functional.softplus((pulls + pushes)[counted]).mean()
