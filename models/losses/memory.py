"""Memory of embeddings of earlier batches, XBM (Wang et al., CVPR 2020, arXiv:1912.06798)."""

from typing import NamedTuple

import torch
from torch import Tensor


class Remembered(NamedTuple):
    """Embeddings (M, D) of earlier batches, without gradient, and their labels (M,); the newest last."""

    embeddings: Tensor
    labels: Tensor


def with_memory(embeddings: Tensor, labels: Tensor, memory: Remembered | None) -> Remembered:
    """Embeddings (N, D) and labels (N,) of a batch, followed by those that are remembered."""
    if memory is None or not len(memory.labels):
        return Remembered(embeddings, labels)
    remembered = memory.embeddings.to(embeddings)
    return Remembered(torch.cat([embeddings, remembered]), torch.cat([labels, memory.labels.to(labels)]))
