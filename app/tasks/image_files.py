"""Embeddings of image files: their crops are read batch by batch and given to the network."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import nn

from app.core.sample import Sample
from app.evaluation.embed import no_picture
from app.tasks.task import EmbeddingTask


@dataclass(frozen=True)
class Embeddings:
    """Embeddings of image files in one or more libraries.

    Args:
        samples: N images, those that could be read.
        libraries: (N, D) float32 by name, as `EmbeddingTask.embeddings` has them.
    """

    samples: list[Sample]
    libraries: dict[str, NDArray[np.float32]]


def embed_samples(task: EmbeddingTask, network: nn.Module, samples: Sequence[Sample]) -> Embeddings:
    """Embed the images that can be read; the others are left out and stand in `task.bad_pictures`.

    Raises NoPictureError if none can be read."""
    kept: list[Sample] = []
    found: list[dict[str, NDArray[np.float32]]] = []
    batch_size = task.settings.evaluation.batch_size  # as many crops are in memory at once
    for start in range(0, len(samples), batch_size):
        read = [(sample, task.pictures.crops(sample)) for sample in samples[start : start + batch_size]]
        batch = [(sample, crops) for sample, crops in read if crops is not None]
        if batch:
            kept += [sample for sample, _ in batch]
            found.append(task.embeddings(network, [crops for _, crops in batch]))
    if not kept:
        raise no_picture(len(samples), task.pictures)
    return Embeddings(kept, {name: np.concatenate([rows[name] for rows in found]) for name in found[0]})
