"""The one seam between what is learnt and how it is federated.

Client, trainer, strategy, ciphers, results and scripts know a task by the protocol `Task` only; a register,
equalisation and ONNX files need an `EmbeddingTask`. A new task is a module with `make_task(settings) -> Task`, one with
`ModelSettings`, `LossSettings`, `MEASURES` and `EMBEDS`, their entry in `app.settings.tasks.TASKS`, its conf and its
tests.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from app.core.device import Compute
from app.core.sample import Sample
from app.data.crops import Crops, ImageReader
from app.data.readers.reader import Direction
from app.evaluation.matches import Counts
from app.settings.load import Settings
from models.errors import FedVehicleReidError, NetworkError


class UnfitDataError(FedVehicleReidError, ValueError):
    """Images that nothing can be learnt from; the message gives numbers alone, and names no image."""


class Batch(Protocol):
    """What `Batches` gives and `Task.losses` takes."""

    @property
    def num_images(self) -> int:
        """Images in the batch."""

    @property
    def bad(self) -> tuple[str, ...]:
        """Images that could not be read and are not in the batch."""

    def to(self, device: torch.device, /) -> "Batch":
        """The same batch on another device."""


class Batches(Protocol):
    """An endless, seeded stream of training batches; batch i is the same whoever asks for it, and when."""

    batches_per_epoch: int

    def __getitem__(self, index: int, /) -> Batch:
        """Batch `index`, from 0; it belongs to epoch index // batches_per_epoch."""


@dataclass(frozen=True)
class Evaluation:
    """Measures of a network on one or more directions.

    Args:
        measures: the task's, and what it adds; means over directions, or of all images together where no direction
            ranks; sums of queries and skipped.
        directions: the same for each direction.
        bad: images that could not be read, with the reason.
    """

    measures: dict[str, float]
    directions: dict[str, dict[str, float]]
    bad: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Graph:
    """What a network embeds with, in a form that can be written down and computed elsewhere.

    Args:
        module: in evaluation mode, on the CPU.
        inputs: examples for two images, by name in the order of the module's arguments; the first axis may have any
            length.
        outputs: names of what it gives.
        any_size: images (N, 3, H, W) may have other sides as well, in steps of 32 pixels.
    """

    module: nn.Module
    inputs: dict[str, Tensor]
    outputs: tuple[str, ...]
    any_size: bool = False


class Task(Protocol):
    """What is learnt: networks, batches, losses, measures."""

    name: str
    compute: Compute
    heads: tuple[str, ...]
    """Patterns of the arrays whose rows stand for a client's labels; not needed to embed."""

    @property
    def remarks(self) -> dict[str, str]:
        """What a reader of the figures has to know, by subject; it stands in the summary."""

    @property
    def bad_images(self) -> dict[str, str]:
        """Images that could not be read so far, with the reason."""

    def learnable(self, samples: Sequence[Sample]) -> list[Sample]:
        """Those of a client's training images that can be learnt from; their number is the client's weight."""

    def num_labels(self, samples: Sequence[Sample]) -> int:
        """Rows of the private classifier for these images. Raises UnfitDataError if they cannot be learnt from."""

    def build(self, num_labels: int, seed: int, *, pretrained: bool = True) -> nn.Module:
        """A network. The shared arrays depend on the seed and not on `num_labels`. Without `pretrained` no weights are
        loaded: for shapes alone, or to be filled from a checkpoint."""

    def batches(self, samples: Sequence[Sample], seed: int) -> Batches:
        """The training stream over these images."""

    def losses(self, network: nn.Module, batch: Any) -> dict[str, Tensor]:
        """The loss of a batch by name; "total" is what is minimised, the parts are already weighted."""

    def set_heads(self, network: nn.Module, samples: Sequence[Sample], device: torch.device) -> None:
        """Set private classifiers to what the network's features say of these images, without training."""

    def probe(self, network: nn.Module, samples: Sequence[Sample], device: torch.device) -> Tensor:
        """Features (N, D) of a few images, L2-normalised, to tell how far training moved them."""

    @property
    def unmatched(self) -> str:
        """What a query lacks that cannot be measured, after "none of 6 queries"."""

    def countable(self, directions: Sequence[Direction]) -> dict[str, Counts]:
        """Counts of what `evaluate` measures, by direction, without opening an image."""

    def evaluate(self, network: nn.Module, directions: Sequence[Direction], device: torch.device) -> Evaluation:
        """Measure a network. Raises ValueError if no direction has a query with a true match."""

    def ranked_lists(
        self, network: nn.Module, direction: Direction, device: torch.device, path: Path, count: int, seed: int
    ) -> None:
        """Write an image of the best ranked gallery entries of `count` queries."""


@runtime_checkable
class EmbeddingTask(Task, Protocol):
    """A task whose networks embed vehicles, so that they can be compared. `embed_samples` embeds image files."""

    settings: Settings
    image_reader: ImageReader
    """Crops of images in the sizes of the network, from files or decoded images."""

    @property
    def libraries(self) -> tuple[str, ...]:
        """Names of the libraries that `embeddings` fills, in their order."""

    def embeddings(self, network: nn.Module, images: Sequence[Crops]) -> dict[str, NDArray[np.float32]]:
        """Embeddings (N, D) of one or more images, by library in the order in which a register looks for a match. Rows
        are L2-normalised, and zero where an image has nothing for that library. Runs on `compute.device`."""

    def evaluate_open_set(
        self,
        network: nn.Module,
        directions: Sequence[Direction],
        device: torch.device,
        calibration: Sequence[Direction],
    ) -> Evaluation:
        """`evaluate`, and open-set measures at a threshold that the strangers of `calibration`, other vehicles, set."""

    def graph(self, network: nn.Module) -> Graph:
        """The part of a network that `embeddings` needs. The network is in evaluation mode and on the CPU."""

    def outside(self, run: Callable[[Mapping[str, NDArray[Any]]], Mapping[str, NDArray[Any]]]) -> nn.Module:
        """A network for `embeddings` alone, whose `graph` another program computes: `run` maps inputs to outputs, both
        by name. None has to be built."""


def embedding_task(task: Task) -> EmbeddingTask:
    """The task as one with embeddings. Raises ValueError for a task without them."""
    if not isinstance(task, EmbeddingTask):
        raise NetworkError(f"a network of the task {task.name} has no embeddings; it recognises no vehicle")
    return task


def mean_of_directions(rows: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
    """Means over directions; "queries" and "skipped" are counts and are added."""
    names = [name for name in next(iter(rows.values())) if all(name in row for row in rows.values())]
    totals = {name: sum(row[name] for row in rows.values()) for name in names}
    return {name: total if name in ("queries", "skipped") else total / len(rows) for name, total in totals.items()}


def num_vehicles(samples: Sequence[Sample]) -> int:
    """Vehicles among the samples. Raises UnfitDataError if there are fewer than two: nothing tells them apart."""
    count = len({sample.pid for sample in samples})
    if count < 2:
        raise UnfitDataError(f"{len(samples)} training images of {count} vehicles: at least two vehicles are needed")
    return count
