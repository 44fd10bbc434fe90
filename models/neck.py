"""BNNeck between the metric loss and the classifier (Luo et al., CVPR Workshops 2019, arXiv:1903.07071, Sec. 3.5)."""

import torch.nn.functional as F
from torch import Tensor, nn

from models.precision import at_least_float32


class BNNeck(nn.Module):
    """Optional linear reduction, then BatchNorm without a shift.

    The metric loss reads the feature before the normalisation, the classifier and the comparison the one after. The
    shift stays 0 so that the classifier's decision surfaces pass through the origin, as a comparison by angle does.

    Args:
        num_features: channels that come in.
        dim: channels that go out; None keeps `num_features` without a reduction.
    """

    def __init__(self, num_features: int, dim: int | None = None) -> None:
        super().__init__()
        self.dim = num_features if dim is None else dim
        self.reduction = nn.Identity() if dim is None else nn.Linear(num_features, dim, bias=False)
        self.batch_norm = nn.BatchNorm1d(self.dim)
        self.batch_norm.bias.requires_grad_(False)  # starts at 0

    def forward(self, feature: Tensor) -> tuple[Tensor, Tensor]:
        """Map (N, num_features) to the features before and after the normalisation, (N, dim) each, in float32.

        A training batch of one row is normalised by the running statistics: it has no variance of its own."""
        before = at_least_float32(self.reduction(feature))
        bn = self.batch_norm
        if self.training and len(before) == 1:
            after = F.batch_norm(before, bn.running_mean, bn.running_var, bn.weight, bn.bias, eps=bn.eps)
        else:
            after = bn(before)
        return before, after
