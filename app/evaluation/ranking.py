"""mAP, CMC and mINP of a retrieval, by definition, for a matrix of distances or block by block.

Gallery images of the query's own vehicle in the query's own camera are left out (the rule of VeRi-776), and, where a
set numbers sequences, those of other vehicles in the query's own sequence. A query without a true match in what remains
cannot be measured: it is skipped, and counted.

Ties are pessimistic: a non-match at the same distance as a true match ranks before it. The measures therefore do
not depend on the order of the gallery, and a network that maps everything to one point scores badly, as it should.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from app.evaluation.distance import Floats
from app.evaluation.errors import EvaluationError
from app.evaluation.ids import NO_SEQUENCE

Ints = NDArray[np.integer]


class NoValidQueryError(EvaluationError):
    """No query has a true match in another camera, so that there is nothing to measure."""


@dataclass(frozen=True)
class RankingResult:
    """Measures in [0, 1], over the queries that have a true match.

    mAP: mean over queries of the mean of precision at each true match.
    cmc: `cmc[k - 1]` is the share of queries with a true match among the first k, up to `max_rank` or gallery size.
    mINP: mean over queries of (true matches / rank of the last one) (Ye et al., 2021, arXiv:2001.04193).
    """

    mAP: float
    cmc: NDArray[np.float64]
    mINP: float
    num_valid_queries: int
    num_skipped: int

    def summary(self) -> dict[str, float | int]:
        """The figures that scripts print: mAP, rank1, rank5, mINP, queries, skipped."""
        return {
            "mAP": self.mAP,
            "rank1": float(self.cmc[0]),
            "rank5": float(self.cmc[min(5, len(self.cmc)) - 1]),  # a gallery may hold fewer than five
            "mINP": self.mINP,
            "queries": self.num_valid_queries,
            "skipped": self.num_skipped,
        }


def evaluate_ranking(
    *,
    dist: ArrayLike,
    q_pids: ArrayLike,
    q_camids: ArrayLike,
    g_pids: ArrayLike,
    g_camids: ArrayLike,
    q_sequences: ArrayLike | None = None,
    g_sequences: ArrayLike | None = None,
    max_rank: int = 50,
) -> RankingResult:
    """Measures of `dist` (Q, G), smaller closer, for queries and gallery of these pids and camids.

    Sequences are numbers from 0, `NO_SEQUENCE` where an image has none; None if no image has one. Raises ValueError,
    naming the argument, for a wrong shape or NaN; NoValidQueryError, which is one, if no query has a true match.
    """
    dist = np.asarray(dist)
    expected = (np.size(q_pids), np.size(g_pids))
    if dist.shape != expected:
        raise ValueError(f"dist must have shape {expected} (queries, gallery), got {dist.shape}")
    return evaluate_rows(
        dist_rows=lambda rows: dist[rows],
        q_pids=q_pids,
        q_camids=q_camids,
        g_pids=g_pids,
        g_camids=g_camids,
        q_sequences=q_sequences,
        g_sequences=g_sequences,
        max_rank=max_rank,
    )


def evaluate_rows(
    *,
    dist_rows: Callable[[slice], Floats],
    q_pids: ArrayLike,
    q_camids: ArrayLike,
    g_pids: ArrayLike,
    g_camids: ArrayLike,
    q_sequences: ArrayLike | None = None,
    g_sequences: ArrayLike | None = None,
    block: int = 256,
    max_rank: int = 50,
) -> RankingResult:
    """Measures of distances computed in blocks: `dist_rows(rows)` returns those of queries `rows`, (B, G).

    For distances of several embeddings: `lambda rows: fused_distance(q_vehicle[rows], g_vehicle, ...)`.
    Raises ValueError as `evaluate_ranking` does.
    """
    if block < 1 or max_rank < 1:
        raise ValueError(f"block and max_rank must be at least 1, got {block} and {max_rank}")
    query_pids, query_camids = _ids("q_pids", q_pids), _ids("q_camids", q_camids, q_pids)
    query_sequences = _sequences("q_sequences", q_sequences, q_pids)
    gallery = _Gallery(
        _ids("g_pids", g_pids),
        _ids("g_camids", g_camids, g_pids),
        _sequences("g_sequences", g_sequences, g_pids),
    )
    precisions, penalties, first_ranks = [], [], []  # one entry for each valid query
    for start in range(0, len(query_pids), block):
        rows = slice(start, min(start + block, len(query_pids)))
        dist = np.asarray(dist_rows(rows))
        if dist.shape != (rows.stop - rows.start, gallery.size):
            raise ValueError(f"dist must have {(rows.stop - rows.start, gallery.size)} entries, got {dist.shape}")
        if dist.size and np.isnan(dist.min()):  # min hands NaN on, without an array of booleans
            raise EvaluationError(f"dist holds NaN between queries {rows.start} and {rows.stop - 1}")
        asked = zip(dist, query_pids[rows], query_camids[rows], query_sequences[rows], strict=True)
        for row, pid, camid, sequence in asked:
            matches, left_out = gallery.same_vehicle(pid, camid)
            if not len(matches):
                continue
            if sequence != NO_SEQUENCE:
                left_out = np.concatenate([left_out, gallery.others_of_sequence(pid, sequence)])
            ranks = _match_ranks(row, matches, left_out)
            precisions.append(float(np.mean(np.arange(1, len(ranks) + 1) / ranks)))
            penalties.append(len(ranks) / int(ranks[-1]))
            first_ranks.append(int(ranks[0]))
    if not first_ranks:
        raise NoValidQueryError("no query has a true match in another camera")
    hits = np.bincount(first_ranks, minlength=gallery.size + 1)[1:]  # hits[k - 1]: first match at rank k
    return RankingResult(
        mAP=float(np.mean(precisions)),
        cmc=(np.cumsum(hits) / len(first_ranks))[:max_rank],
        mINP=float(np.mean(penalties)),
        num_valid_queries=len(first_ranks),
        num_skipped=len(query_pids) - len(first_ranks),
    )


class _Gallery:
    """Finds the gallery images of a vehicle without scanning the gallery for each query."""

    def __init__(self, pids: Ints, camids: Ints, sequences: Ints) -> None:
        self.size = len(pids)
        self._pids = pids
        self._sequences = sequences
        self._order = np.argsort(pids, kind="stable")
        self._sorted_pids = pids[self._order]
        self._camids = camids

    def same_vehicle(self, pid: int, camid: int) -> tuple[Ints, Ints]:
        """Indices of the vehicle's images in other cameras (true matches), and in this camera (left out)."""
        left, right = np.searchsorted(self._sorted_pids, [pid, pid + 1])
        same = self._order[left:right]
        own_camera = self._camids[same] == camid
        return same[~own_camera], same[own_camera]

    def others_of_sequence(self, pid: int, sequence: int) -> Ints:
        """Indices of other vehicles' images in a sequence."""
        return np.flatnonzero((self._sequences == sequence) & (self._pids != pid))


def _match_ranks(row: Floats, matches: Ints, left_out: Ints) -> NDArray[np.int64]:
    """Ranks from 1 of the true matches, ascending, among all entries of `row` (G,) that are not left out.

    The i-th nearest match (from 1) has i - 1 matches before it, and every non-match that is not further away; those
    are all entries not further away, less the vehicle's own and what is left out. Only the values are sorted, which is
    far cheaper than to sort indices.
    """
    limits = np.sort(row[matches])
    not_further = np.searchsorted(np.sort(row), limits, side="right")
    own = np.searchsorted(np.sort(row[np.concatenate([matches, left_out])]), limits, side="right")
    return np.arange(1, len(limits) + 1) + not_further - own


def _sequences(name: str, values: ArrayLike | None, beside: ArrayLike) -> Ints:
    return np.full(np.size(beside), NO_SEQUENCE) if values is None else _ids(name, values, beside)


def _ids(name: str, values: ArrayLike, beside: ArrayLike | None = None) -> Ints:
    ids = np.asarray(values)
    if ids.ndim != 1 or (beside is not None and len(ids) != np.size(beside)):
        raise ValueError(f"{name} must have shape ({'N' if beside is None else np.size(beside)},), got {ids.shape}")
    if ids.size and not np.issubdtype(ids.dtype, np.integer):
        raise ValueError(f"{name} must hold integers, got {ids.dtype}")
    return ids.astype(np.int64)
