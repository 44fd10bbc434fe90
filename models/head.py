"""Head of a network, from its feature map to an embedding and scores: pooling, BNNeck, classifier.

BNNeck stands between the metric loss and the classifier (Luo et al., CVPR Workshops 2019, arXiv:1903.07071, Sec. 3.5).
"""

from typing import Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.precision import at_least_float32

ClassifierKind = Literal["linear", "cosine"]


class AveragePooling(nn.Module):
    """Mean over the positions of a map."""

    def forward(self, feature_map: Tensor) -> Tensor:
        """Map (N, C, h, w) to (N, C)."""
        return at_least_float32(feature_map).mean(dim=(2, 3))


class GeMPooling(nn.Module):
    """Generalised mean over the positions of a map (Radenovic et al., TPAMI 2018, arXiv:1711.02512, Eq. 3).

    f = (1/|X| sum over x in X of x^p)^(1/p); p = 1 is the mean, p -> infinity the maximum. The paper has one p for
    each channel or one shared by all and takes the shared one; so does this class.

    Args:
        p: exponent at the start, above 0.
        learn: whether p is trained.
        eps: smaller values, negative ones included, count as eps: a power needs a positive base.
    """

    def __init__(self, p: float = 3.0, learn: bool = True, eps: float = 1e-6) -> None:
        super().__init__()
        if p <= 0 or eps <= 0:
            raise ValueError(f"p and eps must be above 0, got p={p} and eps={eps}")
        self.p = nn.Parameter(torch.tensor([p]), requires_grad=learn)
        self.eps = eps

    def forward(self, feature_map: Tensor) -> Tensor:
        """Map (N, C, h, w) to (N, C)."""
        x = at_least_float32(feature_map).clamp(min=self.eps)
        # f(x) = m f(x / m) for any m > 0: with the maximum, no power leaves the range of float32 and the mean stays
        # at or above 1 / (h w), whatever p. m counts as a constant; the gradient is the same, as f is homogeneous.
        maximum = x.detach().amax(dim=(2, 3), keepdim=True)
        mean = (x / maximum).pow(self.p).mean(dim=(2, 3))
        return mean.pow(1.0 / self.p) * maximum[:, :, 0, 0]

    def extra_repr(self) -> str:
        """Show p as it is now."""
        return f"p={self.p.item():.3g}, learn={self.p.requires_grad}, eps={self.eps}"


class GridPooling(nn.Module):
    """Pooling of each cell of a grid by itself: where in the image something is becomes part of the feature.

    Sun et al. (ECCV 2018, arXiv:1711.09349, Sec. 3) pool horizontal stripes of people so; vehicles differ across, too.
    Cell i of g covers rows floor(i h / g) to ceil((i + 1) h / g), and columns alike: on small maps cells overlap.

    Args:
        pooling: of one cell, (N, C, h, w) to (N, C).
        cells: g, along either side.
    """

    def __init__(self, pooling: nn.Module, cells: int) -> None:
        super().__init__()
        if cells < 1:
            raise ValueError(f"cells must be at least 1, got {cells}")
        self.pooling = pooling
        self.cells = cells

    def forward(self, feature_map: Tensor) -> Tensor:
        """Map (N, C, h, w) to (N, g^2 C), row by row."""
        rows, columns = (_cuts(side, self.cells) for side in feature_map.shape[2:])
        parts = [self.pooling(feature_map[:, :, row, column]) for row in rows for column in columns]
        return torch.cat(parts, dim=1)


def build_pooling(name: str, cells: int = 1) -> nn.Module:
    """Build the pooling "gem" or "average", of each cell of a grid if `cells` is above 1. Raises ValueError for another
    name."""
    known: dict[str, type[nn.Module]] = {"average": AveragePooling, "gem": GeMPooling}
    if name not in known:
        raise ValueError(f"unknown pooling {name!r}; known: {', '.join(known)}")
    return known[name]() if cells == 1 else GridPooling(known[name](), cells)


def _cuts(side: int, cells: int) -> list[slice]:
    """Places of the cells along a side."""
    return [slice(i * side // cells, -(-(i + 1) * side // cells)) for i in range(cells)]


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


class Classifier(nn.Module):
    """Scores of C labels for an embedding; no bias.

    Its rows stand for the vehicles of one client, so it never leaves the client.

    Args:
        dim: length D of an embedding.
        num_labels: C, the number of vehicles of the client.
        kind: "linear" gives the logits x W^T; "cosine" gives cos(x, w_c) in [-1, 1], to which a margin loss adds its
            margin and scale.
    """

    def __init__(self, dim: int, num_labels: int, kind: ClassifierKind = "linear") -> None:
        super().__init__()
        if kind not in get_args(ClassifierKind):
            raise ValueError(f"unknown classifier kind {kind!r}; known: {', '.join(get_args(ClassifierKind))}")
        if dim < 1 or num_labels < 1:
            raise ValueError(f"dim and num_labels must be at least 1, got {dim} and {num_labels}")
        self.kind = kind
        self.weight = nn.Parameter(torch.empty(num_labels, dim))
        nn.init.normal_(self.weight, std=0.001 if kind == "linear" else 1.0)  # small: all labels alike at the start

    def forward(self, embeddings: Tensor) -> Tensor:
        """Map embeddings (N, D) to scores (N, C)."""
        if self.kind == "linear":
            return F.linear(embeddings, self.weight)
        # In bfloat16 the cosines next to 1, where a margin acts, are 1/256 apart.
        with torch.autocast(embeddings.device.type, enabled=False):
            cosine = F.linear(F.normalize(at_least_float32(embeddings)), F.normalize(self.weight))
        return cosine.clamp(-1.0, 1.0)

    @torch.no_grad()
    def set_from_centres(self, embeddings: Tensor, labels: Tensor, row_norm: float = 1.0) -> None:
        """Set each row to the L2-normalised mean of its label's embeddings (N, D), times `row_norm`.

        Behind a BatchNorm, embeddings have a norm near sqrt(D), so that linear logits are about sqrt(D) row_norm cos.
        For "cosine" the norm has no effect. A label without an embedding keeps its row. Raises ValueError if a label
        of labels (N,) lies outside 0..C-1 or the shapes do not fit."""
        num_labels, dim = self.weight.shape
        if embeddings.shape != (len(labels), dim):
            raise ValueError(f"expected embeddings ({len(labels)}, {dim}), got {tuple(embeddings.shape)}")
        if len(labels) and not 0 <= int(labels.min()) <= int(labels.max()) < num_labels:
            raise ValueError(f"labels must lie in 0..{num_labels - 1}, got {int(labels.min())}..{int(labels.max())}")
        labels = labels.to(self.weight.device)
        sums = torch.zeros_like(self.weight).index_add_(0, labels, embeddings.to(self.weight))
        present = torch.bincount(labels, minlength=num_labels) > 0
        self.weight[present] = row_norm * F.normalize(sums[present])  # a mean and a sum have the same direction

    def extra_repr(self) -> str:
        """Show the sizes."""
        return f"dim={self.weight.shape[1]}, num_labels={self.weight.shape[0]}, kind={self.kind}"
