"""Memory of embeddings of earlier batches, XBM (Wang et al., CVPR 2020, arXiv:1912.06798).

A metric loss compares the images of a batch with remembered embeddings as well: further positives and negatives that
cost no forward pass. The network moves little from step to step, so that embeddings of recent steps still fit.
"""

from collections.abc import Mapping, MutableMapping
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

_PREFIX = "memory/"


class Remembered(NamedTuple):
    """Embeddings (M, D) of earlier batches, without gradient, and their labels (M,); the newest last."""

    embeddings: Tensor
    labels: Tensor


def with_memory(embeddings: Tensor, labels: Tensor, memory: Remembered | None) -> Remembered:
    """Embeddings (N, D) and labels (N,) of a batch, followed by those that are remembered."""
    if memory is None or not len(memory.labels):
        return Remembered(embeddings, labels)
    return Remembered(
        torch.cat([embeddings, memory.embeddings.to(embeddings)]), torch.cat([labels, memory.labels.to(labels)])
    )


def taken_from(state: MutableMapping[str, NDArray[np.float32]]) -> dict[str, NDArray[np.float32]]:
    """Arrays of a memory, taken out of the state of a stretch of training; none if it had no memory."""
    return {key: state.pop(key) for key in list(state) if key.startswith(_PREFIX)}


class EmbeddingMemory:
    """The newest embeddings of each branch of a network, at most `size` of each.

    It belongs to one client, is part of the state of its training like the optimiser's moments, and is never sent.

    Args:
        size: embeddings of a branch.
        warm_up: share of the run before they are used; they are kept from the first step on. Features move fast at the
            beginning.
    """

    def __init__(self, size: int, warm_up: float) -> None:
        self.size = size
        self.warm_up = warm_up
        self.progress = 0.0
        """Share of the run that is past, set by the trainer."""
        self._held: dict[str, Remembered] = {}

    def begin(self, kept: Mapping[str, NDArray[np.float32]]) -> None:
        """Start a stretch of training with what `taken_from` found in the state of an earlier one."""
        names = [key.removesuffix("/labels") for key in kept if key.endswith("/labels")]
        self._held = {
            name.removeprefix(_PREFIX): Remembered(
                torch.from_numpy(kept[f"{name}/embeddings"]), torch.from_numpy(kept[f"{name}/labels"]).long()
            )
            for name in names
        }

    def state(self) -> dict[str, NDArray[np.float32]]:
        """The memory as arrays; labels, which are below 2^24, as float32."""
        found = {}
        for name, held in self._held.items():
            found[f"{_PREFIX}{name}/embeddings"] = held.embeddings.cpu().numpy()
            found[f"{_PREFIX}{name}/labels"] = held.labels.cpu().float().numpy()
        return found

    def exchange(self, name: str, embeddings: Tensor, labels: Tensor) -> Remembered | None:
        """What a branch remembers of earlier batches, None in the warm-up; keep this batch for later ones.

        Args:
            embeddings: (N, D); labels: (N,).
        """
        if not torch.is_grad_enabled():  # nothing is learnt: BatchNorm statistics are estimated, say
            return None
        before = self._held.get(name)
        now = Remembered(embeddings.detach().float(), labels)
        joined = now if before is None else with_memory(*_on(before, now), now)
        self._held[name] = Remembered(joined.embeddings[-self.size :], joined.labels[-self.size :])
        return before if self.progress >= self.warm_up else None


def _on(held: Remembered, now: Remembered) -> Remembered:
    """The same on the device of another."""
    return Remembered(held.embeddings.to(now.embeddings), held.labels.to(now.labels))
