"""The precision that powers, logarithms and distances are computed in."""

import torch
from torch import Tensor


def at_least_float32(tensor: Tensor) -> Tensor:
    """Return the tensor in float32, or as it is in float64; the half-size types of autocast are too coarse."""
    return tensor if tensor.dtype == torch.float64 else tensor.float()
