"""Layers whose weights are hashed into fewer values (HashedNets: Chen et al., ICML 2015, arXiv:1504.04788).

A virtual weight V_ij is xi(i, j) w_h(i, j) (Eq. 5): h gives its bucket and xi its sign. Both are computed from the
position and a seed wherever they are needed, so that a layer holds, and a federation sends, its buckets alone. The
gradient of a bucket is the sum over its virtual weights of sign times gradient (Eq. 9).
"""

import zlib
from collections.abc import Sequence
from math import ceil, prod
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.errors import NetworkError

_MASK = 0xFFFFFFFF
_GOLDEN = 0x9E3779B9  # 2^32 over the golden ratio: sets apart the hashes of neighbouring seeds


class _Hashed(nn.Module):
    """What linear and convolutional layers have in common.

    Args:
        shape: of the virtual weight.
        num_buckets: values that are learnt, at least 1.
        seed: of both hashes, 0 to 2^32 - 1.
        bias: whether there is one; it is not hashed.

    Raises ValueError for a number of buckets or a seed out of range."""

    def __init__(self, shape: Sequence[int], num_buckets: int, seed: int, bias: bool) -> None:
        super().__init__()
        if not 1 <= num_buckets <= prod(shape):
            raise ValueError(f"num_buckets must lie in 1..{prod(shape)}, got {num_buckets}")
        if not 0 <= seed <= _MASK:
            raise ValueError(f"seed must lie in 0..{_MASK}, got {seed}")
        self.shape = tuple(shape)
        self.seed = seed
        self.buckets = nn.Parameter(torch.empty(num_buckets))
        self.bias = nn.Parameter(torch.zeros(shape[0])) if bias else None
        nn.init.normal_(self.buckets, std=(2 / prod(shape[1:])) ** 0.5)  # He et al. (2015), of the virtual weights

    def places(self) -> tuple[Tensor, Tensor]:
        """Bucket (V,) int64 and sign (V,), -1 or 1, of each virtual weight, V the product of `shape`."""
        return hashes(prod(self.shape), len(self.buckets), self.seed, self.buckets)

    def expanded(self) -> Tensor:
        """The virtual weight, of `shape`; differentiable."""
        bucket, sign = self.places()
        return (self.buckets[bucket] * sign).view(self.shape)

    @torch.no_grad()
    def take_over(self, weight: Tensor) -> None:
        """Set the buckets to come as near as they can to a weight of `shape`, in the direction of least squares, and as
        large as it: of random signs a mean of k values has a k-th of their variance."""
        bucket, sign = self.places()
        values = weight.reshape(-1) * sign
        sums = torch.zeros_like(self.buckets).index_add_(0, bucket, values)
        counts = torch.bincount(bucket, minlength=len(self.buckets)).clamp(min=1)
        self.buckets.copy_(sums / counts)
        mine = self.buckets[bucket].square().mean()
        if mine > 0:
            self.buckets.mul_((values.square().mean() / mine).sqrt())

    def extra_repr(self) -> str:
        """Show the sizes."""
        return f"shape={self.shape}, num_buckets={len(self.buckets)}, seed={self.seed}"


class HashedLinear(_Hashed):
    """`nn.Linear` with a hashed weight."""

    def __init__(
        self, in_features: int, out_features: int, num_buckets: int, *, seed: int = 0, bias: bool = True
    ) -> None:
        super().__init__((out_features, in_features), num_buckets, seed, bias)

    def forward(self, x: Tensor) -> Tensor:
        """Map (..., in_features) to (..., out_features)."""
        return F.linear(x, self.expanded(), self.bias)


class HashedConv2d(_Hashed):
    """`nn.Conv2d` with a hashed weight.

    Args:
        like: the layer whose form it takes; its values are not used.
    """

    def __init__(self, like: nn.Conv2d, num_buckets: int, *, seed: int = 0) -> None:
        super().__init__(like.weight.shape, num_buckets, seed, like.bias is not None)
        if like.padding_mode != "zeros" or isinstance(like.padding, str):
            raise ValueError(f"a hashed convolution pads with a number of zeros, not {like.padding!r}")
        self.options: dict[str, Any] = {
            name: getattr(like, name) for name in ("stride", "padding", "dilation", "groups")
        }

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, in_channels, H, W) to (N, out_channels, h, w)."""
        return F.conv2d(x, self.expanded(), self.bias, **self.options)


def is_bucket(name: str) -> bool:
    """Whether the array of this name holds the buckets of a hashed layer."""
    return name.rpartition(".")[2] == "buckets"


def hashes(count: int, num_buckets: int, seed: int, like: Tensor) -> tuple[Tensor, Tensor]:
    """Buckets (count,) int64 in 0..num_buckets - 1 and signs (count,), -1 or 1, of the dtype of `like`, on its device.

    The same on every machine: 32-bit integers mixed by MurmurHash3's finaliser, once for each of the two."""
    index = torch.arange(count, device=like.device)
    first = _mixed(index + ((2 * seed) * _GOLDEN & _MASK))
    second = _mixed(index + ((2 * seed + 1) * _GOLDEN & _MASK))
    return (first * num_buckets) >> 32, ((second & 1) * 2 - 1).to(like.dtype)


def _mixed(x: Tensor) -> Tensor:
    """Integers as 32-bit hashes; products that overflow keep their low bits, which are all that counts."""
    x = x & _MASK
    x = ((x ^ (x >> 16)) * 0x85EBCA6B) & _MASK
    x = ((x ^ (x >> 13)) * 0xC2B2AE35) & _MASK
    return x ^ (x >> 16)


def hash_layers(network: nn.Module, ratio: float, *, seed: int = 0, least: int = 4096) -> nn.Module:
    """Turn the linear layers and convolutions of a network into hashed ones, in place; returns it, or if it is such a
    layer itself the hashed one. Layers of classes derived from these stay as they are, as do the matrices of PyTorch's
    own attention.

    Each starts as near to the layer it replaces as its buckets allow. The seed of a layer follows from its name, so
    that layers of one size do not share their pattern.

    Args:
        ratio: of buckets to virtual weights, in (0, 1]; 1 changes nothing.
        least: layers with fewer weights stay as they are: they cost little to send.

    Raises ValueError for a ratio out of range, or a network that has no layer to be hashed."""
    if not 0 < ratio <= 1:
        raise ValueError(f"ratio must lie in (0, 1], got {ratio}")
    if ratio == 1:
        return network
    named = dict(network.named_modules())
    chosen = {n: m for n, m in named.items() if type(m) in (nn.Linear, nn.Conv2d) and m.weight.numel() >= least}
    if not chosen:
        raise NetworkError(f"the network has no layer of {least} weights or more to be hashed")
    for name, layer in chosen.items():
        hashed = _hashed(layer, ceil(ratio * layer.weight.numel()), zlib.crc32(f"{seed} {name}".encode()))
        hashed.to(layer.weight.device)
        hashed.take_over(layer.weight)
        hashed.buckets.requires_grad_(layer.weight.requires_grad)
        if layer.bias is not None:
            hashed.bias = layer.bias
        network = _with_layer(network, name, hashed)
    return network


def expand_layers(network: nn.Module) -> nn.Module:
    """Turn hashed layers into dense ones with the same function, in place; returns it, or if it is such a layer itself
    the dense one. For a network that is used and no longer trained, which then need not expand its weights for every
    image."""
    for name, layer in dict(network.named_modules()).items():
        if isinstance(layer, _Hashed):
            network = _with_layer(network, name, _dense(layer))
    return network


def virtual_size(network: nn.Module) -> int:
    """Weights that the network has as if nothing were hashed."""
    extra = sum(prod(m.shape) - len(m.buckets) for m in network.modules() if isinstance(m, _Hashed))
    return extra + sum(parameter.numel() for parameter in network.parameters())


def _with_layer(network: nn.Module, name: str, layer: nn.Module) -> nn.Module:
    """The network with another layer of that name, which is the network itself if the name is empty."""
    if not name:
        return layer
    parent, _, child = name.rpartition(".")
    setattr(network.get_submodule(parent), child, layer)
    return network


def _hashed(layer: nn.Linear | nn.Conv2d, num_buckets: int, seed: int) -> _Hashed:
    if isinstance(layer, nn.Conv2d):
        return HashedConv2d(layer, num_buckets, seed=seed)
    bias = layer.bias is not None
    return HashedLinear(layer.in_features, layer.out_features, num_buckets, seed=seed, bias=bias)


@torch.no_grad()
def _dense(layer: _Hashed) -> nn.Module:
    bias = layer.bias is not None
    dense: nn.Linear | nn.Conv2d
    if isinstance(layer, HashedConv2d):
        out, inside, height, width = layer.shape
        options = layer.options
        dense = nn.Conv2d(inside * options["groups"], out, (height, width), bias=bias, **options)
    else:
        dense = nn.Linear(layer.shape[1], layer.shape[0], bias=bias)
    dense.to(layer.buckets)
    dense.weight.copy_(layer.expanded())
    if layer.bias is not None:
        dense.bias = layer.bias
    return dense.train(layer.training)
