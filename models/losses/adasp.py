"""Adaptive sparse pairwise loss, AdaSP (Zhou et al., CVPR 2023, arXiv:2303.18247)."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.losses.distance import cosine_similarity, off_diagonal, same_label


class AdaptiveSparsePairwiseLoss(nn.Module):
    """One positive and one negative pair of each vehicle, found by soft extremes over all its pairs.

    L = mean over v in V of log(1 + exp((n_v - p_v) / t)), s cosines, t the temperature:
    n_v = t log sum exp(s / t) over pairs of v with another vehicle, its hardest negative;
    h_v = -t log sum exp(-s / t) over the pairs of v, its hardest positive;
    l_v = t log of the sum over images a of v of 1 / sum_p exp(-s(a, p) / t), the least hard of the images' hardest
    positives; p_v = w h_v + (1 - w) l_v with w = 2 h_v l_v / (h_v + l_v), or 0 if h_v < 0: a vehicle whose images
    differ much is judged by the easier pair. w has no gradient. V = the vehicles with two images, among others.
    The authors' code has every image as its own positive as well, which adds exp(-1 / t) to sums; here it is none.

    Args:
        temperature: t, above 0. The paper has 0.04.
    """

    def __init__(self, temperature: float = 0.04) -> None:
        super().__init__()
        if temperature <= 0:
            raise ValueError(f"temperature must be above 0, got {temperature}")
        self.temperature = temperature

    def forward(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        """Map embeddings (N, D) and labels (N,) to a scalar; zero, still differentiable, if V is empty."""
        logits = cosine_similarity(embeddings, embeddings) / self.temperature  # (N, N)
        same = same_label(labels)
        positive = same & off_diagonal(len(labels), labels.device)
        valid = positive.any(dim=1) & (~same).any(dim=1)  # (N,), images of V
        if not valid.any():
            return logits.sum() * 0.0
        logits, positive, negative = logits[valid], positive[valid], ~same[valid]
        vehicles = labels[valid].unique()
        member = vehicles[:, None] == labels[valid][None, :]  # (V, images)
        hardest_of_image = -_log_sum_exp(-logits, positive)  # (images,)
        hardest_negative = _log_sum_exp(_log_sum_exp(logits, negative)[None, :], member)  # (V,)
        hardest = -_log_sum_exp(-hardest_of_image[None, :], member)
        least_hard = _log_sum_exp(hardest_of_image[None, :], member)
        weight = self._weight(hardest.detach(), least_hard.detach())
        return F.softplus(hardest_negative - weight * hardest - (1 - weight) * least_hard).mean()

    def _weight(self, hardest: Tensor, least_hard: Tensor) -> Tensor:
        """w of each vehicle (V,)."""
        h, l = hardest * self.temperature, least_hard * self.temperature  # noqa: E741 - the letters of the formula
        return torch.where(h > 0, 2 * h * l / (h + l).clamp(min=torch.finfo(h.dtype).tiny), torch.zeros_like(h))


def _log_sum_exp(values: Tensor, mask: Tensor) -> Tensor:
    """Over the last axis, of the values in the mask; every row has one."""
    return values.masked_fill(~mask, float("-inf")).logsumexp(dim=1)
