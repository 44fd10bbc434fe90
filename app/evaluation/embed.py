"""Embeddings of crops and of samples by a network, over one view or several of each image."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from app.core.sample import Sample
from app.data.crops import Crops, ImageReader
from app.data.readers.reader import Direction
from app.evaluation.distance import Floats, normalise
from app.evaluation.errors import EvaluationError
from app.evaluation.ranking import NoValidQueryError
from models.dual_net import DualEmbedding

Rows = Callable[[slice], Floats]
EmbedCrops = Callable[[Sequence[Crops]], DualEmbedding]
"""The embeddings of a batch of crops by a network."""
_MARGIN = 0.03  # of each side: crops 6 % tighter


class NoImageError(EvaluationError):
    """None of the images can be read."""


@dataclass(frozen=True)
class DualEmbeddings:
    """L2-normalised embeddings of the samples whose image could be read; of a network of one library, `vehicle`."""

    samples: list[Sample]
    vehicle: NDArray[np.float32]  # (N, D)
    plate: NDArray[np.float32] | None  # (N, D'), zero where there is no plate
    has_plate: NDArray[np.bool_]  # (N,)
    fusion: str = "concat"
    _row: dict[Sample, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._row.update({sample: row for row, sample in enumerate(self.samples)})

    def __contains__(self, sample: Sample) -> bool:
        return sample in self._row

    def rows(self, samples: Sequence[Sample]) -> NDArray[np.int64]:
        """Row numbers of samples; all must be there."""
        return np.array([self._row[sample] for sample in samples], np.int64)

    def fused(self) -> NDArray[np.float32]:
        """(N, D + D') or, added, (N, D), L2-normalised; zero where there is no plate. The cosine of two rows is one
        minus their `fused_distance`. Raises ValueError for a network without a plate branch."""
        if self.plate is None:
            raise EvaluationError("the network has no plate branch, so there is nothing to fuse")
        return fused(self.vehicle, self.plate, self.fusion)


class DualRows(NamedTuple):
    """L2-normalised embeddings; of a network of one library, `vehicle`."""

    vehicle: NDArray[np.float32]  # (N, D)
    plate: NDArray[np.float32] | None  # (N, D'), zero where there is no plate


def fused(vehicle: NDArray[np.float32], plate: NDArray[np.float32], fusion: str) -> NDArray[np.float32]:
    """Vehicle (N, D) and plate (N, D') joined, (N, D + D') or, added, (N, D); L2-normalised, zero without a plate."""
    joined = vehicle + plate if fusion == "add" else np.hstack([vehicle, plate])
    return normalise(joined * _has_plate(plate)[:, None]).astype(np.float32, copy=False)


def embed_crops(
    network: nn.Module, crops: Sequence[Crops], run: EmbedCrops, batch_size: int, views: int = 1
) -> DualRows:
    """Embed one or more vehicles; the network's mode is restored afterwards.

    Args:
        views: of each vehicle, see `other_views`; its embedding is the L2-normalised mean of theirs. The plate is
            taken as it is: a mirrored plate is another plate.
    """
    training = network.training
    network.eval()
    vehicles, plates = [], []
    try:
        for start in range(0, len(crops), batch_size):
            batch = crops[start : start + batch_size]
            with torch.inference_mode():
                result = run(batch)
                found = result.vehicle.float().cpu()
                for view in other_views(batch, views):
                    found = found + run(view).vehicle.float().cpu()
            vehicles.append(found if views == 1 else F.normalize(found))
            if result.plate is not None:
                plates.append(result.plate.float().cpu())
    finally:
        network.train(training)
    return DualRows(torch.cat(vehicles).numpy(), torch.cat(plates).numpy() if plates else None)


def embed(
    network: nn.Module,
    samples: Sequence[Sample],
    image_reader: ImageReader,
    run: EmbedCrops,
    batch_size: int,
    fusion: str = "concat",
    views: int = 1,
) -> DualEmbeddings:
    """Embed every sample whose vehicle image can be read; the network's mode is restored afterwards.

    Args:
        run: embeds crops by `network`.
        fusion: how `run` joins vehicle and plate.
        views: see `embed_crops`.

    Raises NoImageError if no image can be read."""
    kept: list[Sample] = []
    found: list[DualRows] = []
    for read, crops in read_crops(samples, image_reader, batch_size):
        kept += read
        found.append(embed_crops(network, crops, run, batch_size, views))
    plates = [rows.plate for rows in found if rows.plate is not None]
    plate = np.concatenate(plates) if plates else None
    has_plate = np.zeros(len(kept), np.bool_) if plate is None else _has_plate(plate)
    return DualEmbeddings(kept, np.concatenate([rows.vehicle for rows in found]), plate, has_plate, fusion)


def other_views(crops: Sequence[Crops], views: int) -> Iterator[list[Crops]]:
    """Mirrored and tighter views of vehicles beside the images as they are, without their plates: an embedding is the
    mean over what changes no vehicle.

    Krizhevsky et al. ("ImageNet classification with deep convolutional neural networks", 2012, section 4.1) average
    over mirrored crops at test time; here a detector may have cut a little tighter.

    Args:
        views: 1 for none, 2 for the mirrored ones, 4 for the tighter ones and the mirrored tighter ones besides.
    """
    if views >= 2:
        yield [Crops(each.vehicle.flip(-1), None, each.modality) for each in crops]
    if views >= 4:
        tighter = [_tighter(each.vehicle) for each in crops]
        yield [Crops(vehicle, None, each.modality) for vehicle, each in zip(tighter, crops, strict=True)]
        yield [Crops(vehicle.flip(-1), None, each.modality) for vehicle, each in zip(tighter, crops, strict=True)]


def _tighter(image: Tensor) -> Tensor:
    """The middle of an image (3, H, W) uint8, in the same size."""
    height, width = image.shape[1:]
    rows, columns = (max(1, round(_MARGIN * side)) for side in (height, width))
    middle = image[:, rows : height - rows, columns : width - columns].float()
    scaled = F.interpolate(middle[None], (height, width), mode="bilinear", align_corners=False)[0]
    return scaled.round().clamp(0, 255).to(image.dtype)


def read_crops(
    samples: Sequence[Sample], image_reader: ImageReader, batch_size: int
) -> Iterator[tuple[list[Sample], list[Crops]]]:
    """The samples whose vehicle image can be read, with their crops, `batch_size` at once.

    Raises NoImageError at the end if no image could be read."""
    found = False
    for start in range(0, len(samples), batch_size):
        read = [(sample, image_reader.crops(sample)) for sample in samples[start : start + batch_size]]
        batch = [(sample, crops) for sample, crops in read if crops is not None]
        if batch:
            found = True
            yield [sample for sample, _ in batch], [crops for _, crops in batch]
    if not found:
        first = next(iter(image_reader.bad.items()), "")
        raise NoImageError(f"no image can be read; the first of {len(samples)}: {first}")


def _has_plate(plate: NDArray[np.float32]) -> NDArray[np.bool_]:
    return np.any(plate != 0, axis=1)


def all_samples(directions: Sequence[Direction]) -> list[Sample]:
    """Every query and gallery image once. Raises NoValidQueryError if there is none."""
    samples = list(dict.fromkeys(s for each in directions for s in (*each.query, *each.gallery)))
    if not samples:
        raise NoValidQueryError("there are no queries and no gallery")
    return samples
