"""Training batches of vehicles and their plates."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from app.core.sample import Sample
from app.data.augment import Augmentation
from app.data.crops import ImageReader
from app.data.readers.errors import DataSetError
from app.data.sampler import make_order
from app.settings.augment import AugmentSettings
from app.settings.equalise import EqualiseSettings


@dataclass
class DualBatch:
    """Training images of N vehicles, M of them with a plate."""

    vehicles: Tensor  # (N, 3, H, W) uint8
    plates: Tensor | None  # (M, 3, h, w) uint8
    has_plate: Tensor  # (N,) bool
    labels: Tensor  # (N,)
    bad: tuple[str, ...]

    @property
    def num_images(self) -> int:
        return len(self.vehicles)

    def to(self, device: torch.device, /) -> "DualBatch":
        plates = None if self.plates is None else self.plates.to(device, non_blocking=True)
        moved = (tensor.to(device, non_blocking=True) for tensor in (self.vehicles, self.has_plate, self.labels))
        vehicles, has_plate, labels = moved
        return DualBatch(vehicles, plates, has_plate, labels, self.bad)


class DualBatches:
    """Batches of P vehicles with K images each; see `make_order`."""

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
        self.order = make_order(
            self.samples,
            self.labels,
            pids_per_batch=pids_per_batch,
            images_per_pid=images_per_pid,
            seed=seed,
            equalise=equalise,
        )
        self.batches_per_epoch = self.order.batches_per_epoch
        self.plate_drop = augment.plate_drop
        self.change_vehicle, self.change_plate = Augmentation(augment), Augmentation(augment, plates=True)

    def __getitem__(self, index: int, /) -> DualBatch:
        chosen, vehicles, plates, has_plate, bad = [], [], [], [], []
        seed = int(np.random.SeedSequence((self.seed, index)).generate_state(1)[0])
        generator = torch.Generator().manual_seed(seed)
        for position in self.order[index]:
            sample = self.samples[position]
            vehicle = self.image_reader.vehicle(sample)
            if vehicle is None:
                bad.append(str(sample.path))
                continue
            plate = self.image_reader.plate(sample)
            if plate is not None and self.plate_drop and torch.rand((), generator=generator) < self.plate_drop:
                plate = None
            chosen.append(int(position))
            vehicles.append(vehicle)
            has_plate.append(plate is not None)
            if plate is not None:
                plates.append(plate)
        if not vehicles:
            raise DataSetError(f"no image of batch {index} can be read, the first is {bad[0]}")
        return DualBatch(
            self.change_vehicle(torch.stack(vehicles), generator),
            self.change_plate(torch.stack(plates), generator) if plates else None,
            torch.tensor(has_plate),
            torch.from_numpy(self.labels[chosen]),
            tuple(bad),
        )


def labels_of(samples: Sequence[Sample]) -> np.ndarray:
    """Labels 0..C-1 (N,) by sorted pid."""
    _, labels = np.unique([sample.pid for sample in samples], return_inverse=True)
    return np.asarray(labels, np.int64)
