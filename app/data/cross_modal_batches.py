"""Training batches of visible and infrared images."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from app.core.sample import Sample
from app.data.augment import Augmentation
from app.data.crops import ImageReader
from app.data.dual_batches import labels_of
from app.data.readers.errors import DataSetError
from app.data.sampler import make_order
from app.settings.augment import AugmentSettings
from app.settings.equalise import EqualiseSettings


@dataclass
class CrossModalBatch:
    """Training images of N vehicles, visible and infrared ones in any order."""

    images: Tensor  # (N, 3, H, W) uint8
    infrared: Tensor  # (N,) bool
    labels: Tensor  # (N,)
    bad: tuple[str, ...]

    @property
    def num_images(self) -> int:
        return len(self.images)

    def to(self, device: torch.device, /) -> "CrossModalBatch":
        moved = (each.to(device, non_blocking=True) for each in (self.images, self.infrared, self.labels))
        images, infrared, labels = moved
        return CrossModalBatch(images, infrared, labels, self.bad)


class CrossModalBatches:
    """Batches of P vehicles with K visible and K infrared images each; see `make_order`.

    A vehicle that was seen in one modality only brings K images, and a client with one modality batches of it."""

    def __init__(
        self,
        samples: Sequence[Sample],
        image_reader: ImageReader,
        *,
        pids_per_batch: int,
        images_per_pid: int,
        seed: int,
        augment: AugmentSettings,
        equalise: EqualiseSettings,
    ) -> None:
        self.samples = list(samples)
        self.image_reader = image_reader
        self.seed = seed
        self.labels = labels_of(samples)
        self.infrared = np.array([sample.modality == "infrared" for sample in samples])
        self.order = make_order(
            self.samples,
            self.labels,
            pids_per_batch=pids_per_batch,
            images_per_pid=images_per_pid,
            seed=seed,
            equalise=equalise,
            kinds=self.infrared.astype(np.int64),
        )
        self.batches_per_epoch = self.order.batches_per_epoch
        self.change = Augmentation(augment)

    def __getitem__(self, index: int, /) -> CrossModalBatch:
        seed = int(np.random.SeedSequence((self.seed, index)).generate_state(1)[0])
        places = self.order[index]
        found = [(int(place), self.image_reader.vehicle(self.samples[place])) for place in places]
        read = [(place, image) for place, image in found if image is not None]
        bad = tuple(str(self.samples[place].path) for place, image in found if image is None)
        if not read:
            raise DataSetError(f"no image of batch {index} can be read, the first is {bad[0]}")
        chosen = [place for place, _ in read]
        stacked = torch.stack([image for _, image in read])
        return CrossModalBatch(
            self.change(stacked, torch.Generator().manual_seed(seed)),
            torch.from_numpy(self.infrared[chosen]),
            torch.from_numpy(self.labels[chosen]),
            bad,
        )
