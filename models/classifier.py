"""Classifier over the vehicles of one client. Its rows stand for those vehicles, so it never leaves the client."""

from typing import Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.precision import at_least_float32

ClassifierKind = Literal["linear", "cosine"]


class Classifier(nn.Module):
    """Scores of C labels for an embedding; no bias.

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
