"""A trained network as a register uses it: images in, embeddings of its libraries out."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from torch import nn

from app.core.sample import Sample
from app.data.crops import VehicleImage
from app.evaluation.embed import NoPictureError
from app.register.rows import Vectors
from app.settings.load import Settings, settings_from
from app.tasks.image_files import embed_samples
from app.tasks.task import Task, embedding_task
from app.training.checkpoint import Checkpoint
from app.training.onnx_file import OnnxFile


class Source(Protocol):
    """Where a network comes from: a checkpoint, or an ONNX file."""

    @property
    def digest(self) -> str:
        """Of what an embedding depends on."""

    @property
    def settings(self) -> dict[str, Any]:
        """Of the run, as nested dictionaries."""

    def network(self, settings: Settings) -> tuple[Task, nn.Module]:
        """The task and a network that embeds."""


class Recogniser:
    """Embeds images with a trained network.

    Args:
        device: "cpu", "cuda" or "auto".

    Raises ValueError for arrays that are not those of the network, and for a task without embeddings."""

    def __init__(self, source: Source, device: str = "auto") -> None:
        self.digest = source.digest
        self.settings = register_settings(source.settings, device)
        task, self.network = source.network(self.settings)
        self.task = embedding_task(task)
        self.network.eval()

    def embed(self, images: Sequence[VehicleImage]) -> list[Vectors]:
        """Embeddings of each decoded image, in the libraries that it has something for. Raises ValueError for a vehicle
        box outside its image."""
        return _by_image(self.task.embeddings(self.network, [self.task.pictures.cut(image) for image in images]))

    def embed_files(self, samples: Sequence[Sample]) -> list[Vectors | None]:
        """The same for image files, with None for one that cannot be read."""
        readable = [sample for sample in samples if sample.path.is_file()]
        if not readable:
            return [None] * len(samples)
        try:
            found = embed_samples(self.task, self.network, readable)
        except NoPictureError:
            return [None] * len(samples)
        vectors = dict(zip(found.samples, _by_image(found.libraries), strict=True))
        return [vectors.get(sample) for sample in samples]


def _by_image(libraries: Mapping[str, NDArray[np.float32]]) -> list[Vectors]:
    """Rows (N, D) by library as vectors (D,) of each image; a row of zeros is none."""
    count = len(next(iter(libraries.values())))
    return [{name: rows[place] for name, rows in libraries.items() if rows[place].any()} for place in range(count)]


def register_settings(kept: Mapping[str, Any], device: str) -> Settings:
    """Settings of a run as a register uses its network."""
    settings = settings_from(kept)
    # Files of the register come and go; and an identification must not depend on what else was in the batch.
    data = replace(settings.data, cache_mb=0, cache_dir="")
    train = replace(settings.train, precision="float32", threads=0)
    return replace(settings, device=device, data=data, train=train)


def read_recogniser(path: Path, device: str = "auto") -> Recogniser:
    """The recogniser of a checkpoint file, or of an ONNX file by its ending .onnx.

    Raises FileNotFoundError, ValueError for a file of another kind, and RuntimeError without ONNX Runtime."""
    if path.suffix == ".onnx":
        return Recogniser(OnnxFile(path), device)
    return Recogniser(Checkpoint.read(path.parent, path.stem), device)
