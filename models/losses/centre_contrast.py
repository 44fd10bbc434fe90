"""Cross-modal centre contrast loss (Gao et al., MSO, ACM MM 2021)."""

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.losses.distance import pairwise_distance
from models.precision import at_least_float32


class CrossModalCentreContrastLoss(nn.Module):
    """Draws the visible and the infrared centre of an identity together, nearer than the next identity's centre.

    L = mean over i in I of log(1 + exp(d(v_i, r_i) - min over j != i of d(c_i, c_j))), d Euclidean, v_i and r_i the
    means of the visible and of the infrared embeddings of identity i in the batch, c_i = (v_i + r_i) / 2. I = the
    identities seen in both modalities. One that is seen in a single modality has no gap to close; its only centre
    counts as c_j for the others.

    Distances of features behind a BatchNorm grow with the root of D and outweigh other losses; those of L2-normalised
    features do not.

    Args:
        nearest: "class", as above, or "batch": the smallest distance of all pairs of the batch stands in every term.
    """

    def __init__(self, nearest: Literal["class", "batch"] = "class") -> None:
        super().__init__()
        self.nearest = nearest

    def forward(self, embeddings: Tensor, pids: Tensor, infrared: Tensor) -> Tensor:
        """Map embeddings (N, D), pids (N,) and infrared (N,) bool to a scalar.

        Zero, still differentiable, where no identity is seen in both modalities or there is but one identity. Raises
        ValueError for a mask of another shape or type."""
        embeddings = at_least_float32(embeddings)
        if infrared.dtype != torch.bool or infrared.shape != pids.shape:
            raise ValueError(f"infrared must be a boolean mask {tuple(pids.shape)}, got {tuple(infrared.shape)}")
        known, index = torch.unique(pids, return_inverse=True)  # (I,), (N,)
        visible_centre, has_visible = _centres(embeddings, index, ~infrared, len(known))
        infrared_centre, has_infrared = _centres(embeddings, index, infrared, len(known))
        both = has_visible & has_infrared
        if len(known) < 2 or not both.any():
            return embeddings.sum() * 0.0
        counts = has_visible.to(embeddings.dtype) + has_infrared.to(embeddings.dtype)
        centre = (visible_centre + infrared_centre) / counts[:, None]  # a centre that is not there is zero
        between = pairwise_distance(centre)  # (I, I)
        own = torch.eye(len(known), dtype=torch.bool, device=pids.device)
        nearest = between.masked_fill(own, float("inf")).amin(dim=1)  # (I,)
        if self.nearest == "batch":
            nearest = nearest.amin().expand_as(nearest)
        gap = (visible_centre[both] - infrared_centre[both]).norm(dim=1)
        return F.softplus(gap - nearest[both]).mean()


def _centres(embeddings: Tensor, index: Tensor, chosen: Tensor, number: int) -> tuple[Tensor, Tensor]:
    """Means (I, D) of the chosen rows of each identity, zero without any, and which identities have one (I,)."""
    members = F.one_hot(index, number).to(embeddings.dtype) * chosen[:, None]  # (N, I)
    counts = members.sum(dim=0)
    return (members.T @ embeddings) / counts.clamp(min=1)[:, None], counts > 0
