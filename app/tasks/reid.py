"""Re-identification: the part of the tasks `dual` and `cross_modal` that they share."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from app.core.device import Compute, make_compute
from app.core.sample import Sample
from app.data.crops import Crops, Size, make_image_reader
from app.data.cross_modal_batches import CrossModalBatches
from app.data.dual_batches import DualBatches, labels_of
from app.data.readers.reader import Direction
from app.evaluation.embed import DualEmbeddings, all_samples, embed, embed_crops, fused
from app.evaluation.matches import Counts, count_matches
from app.evaluation.measure import measure_all
from app.settings.load import Settings
from app.tasks.task import Batches, Evaluation, mean_of_directions, num_vehicles
from models.dual_net import DualEmbedding, Fusion
from models.head import Classifier

Head = tuple[Classifier | None, NDArray[np.float32] | None, NDArray[np.bool_]]
"""A classifier, the embeddings (N, D) that it is for, and which of them (N,) it is to be set from."""


class Reid(ABC):
    """A task whose networks embed vehicles. A subclass builds the network, calls it, and has its losses.

    Args:
        vehicle: size of the crops of vehicles.
        plate: size of the crops of plates; None for a task without them.
    """

    heads = ("*classifier*",)
    fusion: Fusion = "concat"
    stream: type[DualBatches | CrossModalBatches]
    """The training batches."""

    def __init__(self, settings: Settings, vehicle: Size, plate: Size | None = None) -> None:
        self.settings = settings
        train = settings.train
        self.compute: Compute = make_compute(settings.device, train.precision, train.channels_last, train.threads)
        self.image_reader = make_image_reader(settings.data, vehicle, plate)

    @property
    def remarks(self) -> dict[str, str]:
        return {}

    @property
    def bad_images(self) -> dict[str, str]:
        return dict(self.image_reader.bad)

    def learnable(self, samples: Sequence[Sample]) -> list[Sample]:
        return list(samples)

    def num_labels(self, samples: Sequence[Sample]) -> int:
        return num_vehicles(samples)

    def batches(self, samples: Sequence[Sample], seed: int) -> Batches:
        """The training stream, of P vehicles a batch; see `stream`."""
        train = self.settings.train
        return self.stream(
            samples,
            self.image_reader,
            pids_per_batch=train.pids_per_batch,
            images_per_pid=train.images_per_pid,
            seed=seed,
            augment=train.augment,
            equalise=self.settings.data.equalise,
        )

    def set_heads(self, network: nn.Module, samples: Sequence[Sample], device: torch.device) -> None:
        """Rows of each classifier become the class centres of the present embeddings."""
        found = self._embed(network, samples, device)
        label_of = dict(zip(samples, labels_of(samples).tolist(), strict=True))
        labels = torch.tensor([label_of[sample] for sample in found.samples])
        for classifier, rows, use in self._heads(network, found):
            if classifier is not None and rows is not None and use.any():
                classifier.set_from_centres(torch.from_numpy(rows[use]).to(device), labels[use])

    def probe(self, network: nn.Module, samples: Sequence[Sample], device: torch.device) -> Tensor:
        """Vehicle embeddings (N, D), L2-normalised."""
        return torch.from_numpy(self._embed(network, samples, device).vehicle)

    def embeddings(self, network: nn.Module, images: Sequence[Crops]) -> dict[str, NDArray[np.float32]]:
        """The libraries of the network: "vehicle", and with a plate branch the patent's three, "fused", "plate" and
        "vehicle", of which an image without a plate is in the last alone."""
        run = partial(self._run, network, self.compute.device)
        evaluation = self.settings.evaluation
        found = embed_crops(network, images, run, evaluation.batch_size, evaluation.views)
        if found.plate is None:
            return {"vehicle": found.vehicle}
        joined = fused(found.vehicle, found.plate, self.fusion)
        return {"fused": joined, "plate": found.plate, "vehicle": found.vehicle}

    def countable(self, directions: Sequence[Direction]) -> dict[str, Counts]:
        return count_matches(self.compared(directions))

    def evaluate(self, network: nn.Module, directions: Sequence[Direction], device: torch.device) -> Evaluation:
        """The headline is of `evaluation.embedding`; `vehicle_mAP`, `plate_mAP` and `fused_mAP` stand beside it."""
        return self._measure(network, directions, device, None)

    def evaluate_open_set(
        self,
        network: nn.Module,
        directions: Sequence[Direction],
        device: torch.device,
        calibration: Sequence[Direction],
    ) -> Evaluation:
        """`evaluate` with the measures of `app.evaluation.open_set` beside it."""
        return self._measure(network, directions, device, self.compared(calibration))

    def _measure(
        self,
        network: nn.Module,
        directions: Sequence[Direction],
        device: torch.device,
        calibration: Sequence[Direction] | None,
    ) -> Evaluation:
        compared, evaluation = self.compared(directions), self.settings.evaluation
        samples = all_samples([*compared, *(calibration or ())])
        found = self._embed(network, samples, device, evaluation.views)
        rows = measure_all(found, compared, evaluation.embedding, rerank=evaluation.rerank, calibration=calibration)
        return Evaluation(mean_of_directions(rows), rows, self.bad_images)

    def ranked_lists(
        self, network: nn.Module, direction: Direction, device: torch.device, path: Path, count: int, seed: int
    ) -> None:
        """The ten best of `count` queries, an image for each of the directions that are compared."""
        # matplotlib takes seconds to import; a client that only trains, in a process of its own, draws nothing
        from app.evaluation.ranked_lists import draw_ranked_lists

        compared = self.compared([direction])
        for each in compared:
            own = path if len(compared) == 1 else path.with_stem(f"{path.stem}-{each.name}")
            found = self._embed(network, all_samples([each]), device, self.settings.evaluation.views)
            draw_ranked_lists(found, each, own, count, seed)

    def compared(self, directions: Sequence[Direction]) -> list[Direction]:
        """The queries and galleries that are measured."""
        return list(directions)

    def _embed(
        self, network: nn.Module, samples: Sequence[Sample], device: torch.device, views: int = 1
    ) -> DualEmbeddings:
        """Embed image files, in training by one view."""
        run = partial(self._run, network, device)
        batch_size = self.settings.evaluation.batch_size
        return embed(network, samples, self.image_reader, run, batch_size, self.fusion, views)

    @abstractmethod
    def _run(self, network: nn.Module, device: torch.device, batch: Sequence[Crops]) -> DualEmbedding:
        """Embed a batch of crops by a network in evaluation mode."""

    @abstractmethod
    def _heads(self, network: nn.Module, found: DualEmbeddings) -> list[Head]:
        """The classifiers of a network, each with the embeddings of the branch that it stands on."""
