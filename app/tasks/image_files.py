"""Embeddings of image files: their crops are read batch by batch and given to the network."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import nn

from app.core.sample import Sample
from app.evaluation.embed import read_crops
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
    """Embed the images that can be read; the others are left out and stand in `task.bad_images`.

    Raises NoImageError if none can be read."""
    kept: list[Sample] = []
    found: list[dict[str, NDArray[np.float32]]] = []
    for read, crops in read_crops(samples, task.image_reader, task.settings.evaluation.batch_size):
        kept += read
        found.append(task.embeddings(network, crops))
    return Embeddings(kept, {name: np.concatenate([rows[name] for rows in found]) for name in found[0]})
