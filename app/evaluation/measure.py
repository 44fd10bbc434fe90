"""Measures of directions from embeddings: rankings, and open-set trials."""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from app.core.sample import Sample, first_names
from app.data.readers.reader import Direction
from app.evaluation.distance import Floats, cosine_distance, fused_distance, normalise
from app.evaluation.embed import DualEmbeddings
from app.evaluation.ids import pair_ids
from app.evaluation.open_set import STRANGER_RATES, Trials, joined, run_trials
from app.evaluation.ranking import NoValidQueryError, RankingResult, evaluate_ranking, evaluate_rows
from app.evaluation.rerank import rerank as reranked

MOST_OPEN = 20_000
"""Gallery images up to which all take part in open-set trials: each is compared with all others."""
Rows = Callable[[slice], Floats]


class UnreadableQueriesError(NoValidQueryError):
    """Unreadable images leave nothing to measure; the message counts them and names the first."""


def measure_all(
    found: DualEmbeddings,
    directions: Sequence[Direction],
    headline: str,
    *,
    rerank: bool,
    calibration: Sequence[Direction] | None = None,
) -> dict[str, dict[str, float]]:
    """Measures of each direction that has any.

    Args:
        calibration: directions of other vehicles, whose strangers set the threshold of the open-set measures f1 and
            tnr; see `app.evaluation.open_set`. None for no open-set measures.

    Raises NoValidQueryError if none has, UnreadableQueriesError, which is one, if unreadable images are the reason."""
    rows = {each.name: measure(found, each, headline, rerank=rerank) for each in directions}
    if not (measured := {name: row for name, row in rows.items() if row is not None}):
        raise _nothing_to_measure(found, directions)
    if calibration is not None:
        threshold = _threshold(found, calibration, headline)
        for direction in directions:
            trials = open_trials(found, direction, headline) if direction.name in measured else None
            measured.get(direction.name, {}).update(trials.figures(threshold) if trials else {})
    return measured


def open_trials(found: DualEmbeddings, direction: Direction, headline: str) -> Trials | None:
    """Open-set trials of one direction by an embedding; None if no query has a true match.

    Of a gallery of more than `MOST_OPEN` images some vehicles take part, chosen by seed 0."""
    queries, gallery = ([sample for sample in part if sample in found] for part in (direction.query, direction.gallery))
    if found.plate is None:
        headline = "vehicle"
    if headline == "plate":
        queries, gallery = _with_plate(found, queries), _with_plate(found, gallery)
    if len(gallery) > MOST_OPEN:
        pids = np.random.default_rng(0).permutation(np.unique([sample.pid for sample in gallery]))
        kept = set(pids[: len(pids) * MOST_OPEN // len(gallery)].tolist())
        queries, gallery = ([sample for sample in part if sample.pid in kept] for part in (queries, gallery))
    if not queries or not gallery:
        return None
    to_gallery = (_distances(found, samples, gallery, headline) for samples in (queries, gallery))
    query_rows, gallery_rows = ((lambda block, rows=rows: 1 - rows(block)) for rows in to_gallery)
    try:
        return run_trials(query_rows, gallery_rows, pair_ids(queries, gallery))
    except NoValidQueryError:
        return None


def _threshold(found: DualEmbeddings, calibration: Sequence[Direction], headline: str) -> float | None:
    """The score that at most 1 % of the strangers of these directions reach; None where they are too few to show it."""
    trials = [trials for each in calibration if (trials := open_trials(found, each, headline)) is not None]
    rate = STRANGER_RATES[0]
    if sum(len(each.stranger) for each in trials) * rate < 1:
        return None
    return joined(trials).threshold(rate)


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
    try:
        return evaluate_rows(dist_rows=_distances(found, queries, gallery, embedding), **pair_ids(queries, gallery))
    except NoValidQueryError:
        return None


def _distances(found: DualEmbeddings, first: Sequence[Sample], second: Sequence[Sample], embedding: str) -> Rows:
    """Distances between two lists of samples by "vehicle", "plate" or "fused", in blocks of the first."""
    if embedding == "fused":
        return fused_rows(found, first, second)
    vectors = found.vehicle if embedding == "vehicle" else found.plate
    assert vectors is not None
    return _cosine_rows(vectors, found.rows(first), found.rows(second))


def _reranked(found: DualEmbeddings, queries: Sequence[Sample], gallery: Sequence[Sample]) -> RankingResult:
    def between(first: Sequence[Sample], second: Sequence[Sample]) -> Floats:
        return fused_rows(found, first, second)(slice(0, len(first)))

    dist = reranked(
        q_g_dist=between(queries, gallery), q_q_dist=between(queries, queries), g_g_dist=between(gallery, gallery)
    )
    return evaluate_ranking(dist=dist, **pair_ids(queries, gallery))


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
