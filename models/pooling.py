"""Pooling of a feature map (N, C, h, w) to one feature (N, C), in float32."""

import torch
from torch import Tensor, nn

from models.precision import at_least_float32


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


def build_pooling(name: str) -> nn.Module:
    """Build the pooling "gem" or "average". Raises ValueError for another name."""
    known: dict[str, type[nn.Module]] = {"average": AveragePooling, "gem": GeMPooling}
    if name not in known:
        raise ValueError(f"unknown pooling {name!r}; known: {', '.join(known)}")
    return known[name]()
