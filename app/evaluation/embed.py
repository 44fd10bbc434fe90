"""Embeddings of samples by a network, and the measures of directions from them."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from app.core.sample import Sample, first_names
from app.data.crops import Crops, Pictures
from app.data.readers.reader import Direction
from app.evaluation.distance import Floats, cosine_distance, fused_distance, normalise
from app.evaluation.errors import EvaluationError
from app.evaluation.ids import pair_ids
from app.evaluation.ranking import NoValidQueryError, RankingResult, evaluate_ranking, evaluate_rows
from app.evaluation.rerank import rerank as reranked
from models.dual_net import DualEmbedding

Rows = Callable[[slice], Floats]
EmbedCrops = Callable[[Sequence[Crops]], DualEmbedding]
"""The embeddings of a batch of crops by a network."""


class NoPictureError(EvaluationError):
    """None of the images can be read."""


class UnreadableQueriesError(NoValidQueryError):
    """Unreadable images leave nothing to measure; the message counts them and names the first."""


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


def embed_crops(network: nn.Module, crops: Sequence[Crops], run: EmbedCrops, batch_size: int) -> DualRows:
    """Embed one or more vehicles; the network's mode is restored afterwards."""
    training = network.training
    network.eval()
    vehicles, plates = [], []
    try:
        for start in range(0, len(crops), batch_size):
            with torch.inference_mode():
                result = run(crops[start : start + batch_size])
            vehicles.append(result.vehicle.float().cpu())
            if result.plate is not None:
                plates.append(result.plate.float().cpu())
    finally:
        network.train(training)
    return DualRows(torch.cat(vehicles).numpy(), torch.cat(plates).numpy() if plates else None)


def embed(
    network: nn.Module,
    samples: Sequence[Sample],
    pictures: Pictures,
    run: EmbedCrops,
    batch_size: int,
    fusion: str = "concat",
) -> DualEmbeddings:
    """Embed every sample whose vehicle image can be read; the network's mode is restored afterwards.

    Args:
        run: embeds crops by `network`.
        fusion: how `run` joins vehicle and plate.

    Raises NoPictureError if no image can be read."""
    kept: list[Sample] = []
    found: list[DualRows] = []
    for read, crops in read_crops(samples, pictures, batch_size):
        kept += read
        found.append(embed_crops(network, crops, run, batch_size))
    plates = [rows.plate for rows in found if rows.plate is not None]
    plate = np.concatenate(plates) if plates else None
    has_plate = np.zeros(len(kept), np.bool_) if plate is None else _has_plate(plate)
    return DualEmbeddings(kept, np.concatenate([rows.vehicle for rows in found]), plate, has_plate, fusion)


def read_crops(
    samples: Sequence[Sample], pictures: Pictures, batch_size: int
) -> Iterator[tuple[list[Sample], list[Crops]]]:
    """The samples whose vehicle image can be read, with their crops, `batch_size` at once.

    Raises NoPictureError at the end if no image could be read."""
    found = False
    for start in range(0, len(samples), batch_size):
        read = [(sample, pictures.crops(sample)) for sample in samples[start : start + batch_size]]
        batch = [(sample, crops) for sample, crops in read if crops is not None]
        if batch:
            found = True
            yield [sample for sample, _ in batch], [crops for _, crops in batch]
    if not found:
        first = next(iter(pictures.bad.items()), "")
        raise NoPictureError(f"no image can be read; the first of {len(samples)}: {first}")


def _has_plate(plate: NDArray[np.float32]) -> NDArray[np.bool_]:
    return np.any(plate != 0, axis=1)


def fused_rows(found: DualEmbeddings, queries: Sequence[Sample], gallery: Sequence[Sample]) -> Rows:
    """Fused distances in blocks of queries. The gallery's rows are gathered once, not once a block."""
    q, g = found.rows(queries), found.rows(gallery)
    if found.plate is None:
        return _cosine_rows(found.vehicle, q, g)
    if found.fusion == "add":  # a missing plate is a zero row and leaves the vehicle's embedding
        return _cosine_rows(normalise(found.vehicle + found.plate), q, g)
    plate, g_vehicle, g_plate, g_has_plate = found.plate, found.vehicle[g], found.plate[g], found.has_plate[g]

    def rows(block: slice) -> Floats:
        chosen = q[block]
        return fused_distance(
            found.vehicle[chosen], g_vehicle, plate[chosen], g_plate, found.has_plate[chosen], g_has_plate
        )

    return rows


def _cosine_rows(vectors: NDArray[np.float32], q: NDArray[np.int64], g: NDArray[np.int64]) -> Rows:
    gallery = vectors[g]
    return lambda block: cosine_distance(vectors[q[block]], gallery)


def measure_all(
    found: DualEmbeddings, directions: Sequence[Direction], headline: str, *, rerank: bool
) -> dict[str, dict[str, float]]:
    """Measures of each direction that has any.

    Raises NoValidQueryError if none has, UnreadableQueriesError, which is one, if unreadable images are the reason."""
    rows = {each.name: measure(found, each, headline, rerank=rerank) for each in directions}
    if not (measured := {name: row for name, row in rows.items() if row is not None}):
        raise _nothing_to_measure(found, directions)
    return measured


def _nothing_to_measure(found: DualEmbeddings, directions: Sequence[Direction]) -> NoValidQueryError:
    """The reason why no direction has measures: unreadable images, if they belong to true matches."""
    queries = list(dict.fromkeys(sample for each in directions for sample in each.query))
    gallery = list(dict.fromkeys(sample for each in directions for sample in each.gallery))
    if not any(_has_match(each) for each in directions):
        return NoValidQueryError("no query has a true match in another camera")
    for name, samples in (("queries", queries), ("gallery images", gallery)):
        bad = [sample for sample in samples if sample not in found]
        if len(bad) == len(samples):
            return UnreadableQueriesError(f"none of the {len(bad)} {name} can be read: {first_names(bad)}")
    bad = [sample for sample in dict.fromkeys((*queries, *gallery)) if sample not in found]
    if not bad:  # such as queries without a plate, measured by their plates
        return NoValidQueryError("no query has a true match in another camera that can be compared with it")
    return UnreadableQueriesError(
        f"no query that can be read has a true match in another camera that can be read; "
        f"{len(bad)} of {len({*queries, *gallery})} images cannot be: {first_names(bad)}"
    )


def _has_match(direction: Direction) -> bool:
    """Whether any query of a direction has a true match, readable or not."""
    cameras: dict[int, set[int]] = {}
    for sample in direction.gallery:
        cameras.setdefault(sample.pid, set()).add(sample.camid)
    return any(cameras.get(sample.pid, set()) - {sample.camid} for sample in direction.query)


def all_samples(directions: Sequence[Direction]) -> list[Sample]:
    """Every query and gallery image once. Raises NoValidQueryError if there is none."""
    samples = list(dict.fromkeys(s for each in directions for s in (*each.query, *each.gallery)))
    if not samples:
        raise NoValidQueryError("there are no queries and no gallery")
    return samples


def measure(found: DualEmbeddings, direction: Direction, headline: str, *, rerank: bool) -> dict[str, float] | None:
    """Measures of one direction; None if no query has a true match.

    The headline's mAP, rank1, rank5, mINP, queries and skipped, then `vehicle_mAP`, and `fused_mAP` and `plate_mAP`
    where there are plates; the plate's only ranks images with a plate. `rerank` adds `rerank_mAP` and `rerank_rank1`.
    """
    queries = [sample for sample in direction.query if sample in found]
    gallery = [sample for sample in direction.gallery if sample in found]
    results = {"vehicle": _rank(found, queries, gallery, "vehicle")}
    if found.plate is not None:
        results["fused"] = _rank(found, queries, gallery, "fused")
        results["plate"] = _rank(found, _with_plate(found, queries), _with_plate(found, gallery), "plate")
    main = results.get(headline) if found.plate is not None else results["vehicle"]
    if main is None:
        return None
    row: dict[str, float] = {name: float(value) for name, value in main.summary().items()}
    row["skipped"] += len(direction.query) - len(queries)  # unreadable queries are skipped queries
    row |= {f"{name}_mAP": result.mAP for name, result in results.items() if result is not None}
    if rerank:
        again = _reranked(found, queries, gallery)
        row |= {"rerank_mAP": again.mAP, "rerank_rank1": float(again.cmc[0])}
    return row


def _with_plate(found: DualEmbeddings, samples: Sequence[Sample]) -> list[Sample]:
    return [sample for sample, has in zip(samples, found.has_plate[found.rows(samples)], strict=True) if has]


def _rank(
    found: DualEmbeddings, queries: Sequence[Sample], gallery: Sequence[Sample], embedding: str
) -> RankingResult | None:
    if not queries or not gallery:
        return None
    rows = fused_rows(found, queries, gallery)
    if embedding != "fused":
        vectors = found.vehicle if embedding == "vehicle" else found.plate
        assert vectors is not None
        rows = _cosine_rows(vectors, found.rows(queries), found.rows(gallery))
    try:
        return evaluate_rows(dist_rows=rows, **pair_ids(queries, gallery))
    except NoValidQueryError:
        return None


def _reranked(found: DualEmbeddings, queries: Sequence[Sample], gallery: Sequence[Sample]) -> RankingResult:
    def between(first: Sequence[Sample], second: Sequence[Sample]) -> Floats:
        return fused_rows(found, first, second)(slice(0, len(first)))

    dist = reranked(
        q_g_dist=between(queries, gallery), q_q_dist=between(queries, queries), g_g_dist=between(gallery, gallery)
    )
    return evaluate_ranking(dist=dist, **pair_ids(queries, gallery))
