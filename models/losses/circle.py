"""Circle loss on pairs (Sun et al., CVPR 2020, arXiv:2002.10857, Eq. 6)."""

import torch.nn.functional as F
from torch import Tensor, nn

from models.losses.distance import cosine_similarity, off_diagonal, same_label
from models.losses.memory import Remembered, with_memory


class CircleLoss(nn.Module):
    """Softplus over all positive and negative cosines of an anchor, each weighted by its distance from its optimum.

    L = mean over a in A of log(1 + sum_n exp(scale w_n (s_n - m)) sum_p exp(-scale w_p (s_p - (1 - m)))), s cosines,
    w_n = max(0, s_n + m), w_p = max(0, 1 + m - s_p), which have no gradient; A = the anchors with a positive and a
    negative.

    Args:
        margin: m, in [0, 1). The paper has 0.25 for re-identification.
        scale: above 0. The paper has 128 for re-identification.
    """

    def __init__(self, margin: float = 0.25, scale: float = 128.0) -> None:
        super().__init__()
        if not 0 <= margin < 1 or scale <= 0:
            raise ValueError(f"margin must lie in [0, 1) and scale be above 0, got {margin} and {scale}")
        self.margin = margin
        self.scale = scale

    def forward(self, embeddings: Tensor, labels: Tensor, memory: Remembered | None = None) -> Tensor:
        """Map embeddings (N, D) and labels (N,) to a scalar; zero, still differentiable, if A is empty. Embeddings of
        `memory` are further positives and negatives, and no anchors."""
        others, other_labels = with_memory(embeddings, labels, memory)
        sim = cosine_similarity(embeddings, others)  # (N, N + M)
        same = same_label(labels, other_labels)
        positive = same & off_diagonal(len(labels), labels.device, len(other_labels))
        valid = positive.any(dim=1) & (~same).any(dim=1)  # (N,), membership of A
        if not valid.any():
            return sim.sum() * 0.0
        sim, positive, negative = sim[valid], positive[valid], ~same[valid]
        weight_p = F.relu(1 + self.margin - sim.detach())
        weight_n = F.relu(sim.detach() + self.margin)
        logit_p = -self.scale * weight_p * (sim - (1 - self.margin))
        logit_n = self.scale * weight_n * (sim - self.margin)
        far = logit_p.masked_fill(~positive, float("-inf")).logsumexp(dim=1)
        near = logit_n.masked_fill(~negative, float("-inf")).logsumexp(dim=1)
        return F.softplus(far + near).mean()
