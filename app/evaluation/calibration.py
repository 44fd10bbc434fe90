"""Thresholds from measured similarities: false matches of strangers, and misses of known vehicles.

Terms are those of ISO/IEC 19795-1: the false-match rate is the share of comparisons of images of different vehicles
whose similarity reaches the threshold, the false-non-match rate ("miss rate") the share of comparisons of the same
vehicle that do not. A query compares a photograph with every enrolled image.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from app.evaluation.errors import EvaluationError
from app.evaluation.ids import NO_SEQUENCE

Floats = NDArray[np.floating]
_DRAWS = 1000
_LEVEL = 0.95


class Interval(NamedTuple):
    """A share with its 95 % confidence interval."""

    share: float
    low: float
    high: float


@dataclass(frozen=True)
class Similarities:
    """Cosine similarities of pairs of images, and the vehicles of each pair.

    Args:
        same: (S,), pairs of the same vehicle.
        same_pids: (S,), that vehicle.
        different: (D,), pairs of different vehicles.
        different_pids: (D, 2), those vehicles.
    """

    same: Floats
    same_pids: NDArray[np.int64]
    different: Floats
    different_pids: NDArray[np.int64]

    def __post_init__(self) -> None:
        for name, values in (("same", self.same), ("different", self.different)):
            if not np.isfinite(values).all():
                raise EvaluationError(f"a similarity of {name} vehicles is not finite")

    def require_both(self) -> "Similarities":
        """Itself. Raises ValueError without a pair of the same, or of different vehicles."""
        for name, values in (("same vehicle", self.same), ("different vehicles", self.different)):
            if not len(values):
                raise EvaluationError(f"there is no pair of {name} to calibrate with")
        return self


def pairs(
    similarity: Floats,
    *,
    q_pids: NDArray[np.int64],
    q_camids: NDArray[np.int64],
    g_pids: NDArray[np.int64],
    g_camids: NDArray[np.int64],
    q_sequences: NDArray[np.int64],
    g_sequences: NDArray[np.int64],
) -> Similarities:
    """Every query against every gallery image, (Q, G), but its own vehicle in its own camera and other vehicles in
    its own sequence."""
    same = q_pids[:, None] == g_pids[None, :]
    own = same & (q_camids[:, None] == g_camids[None, :])
    together = (q_sequences[:, None] == g_sequences[None, :]) & (q_sequences[:, None] != NO_SEQUENCE)
    other = ~same & ~together
    rows, columns = np.nonzero(other)
    different_pids = np.stack([q_pids[rows], g_pids[columns]], axis=1)
    # In float64: a float32 cannot tell a threshold just above a similarity from the similarity.
    same_, different = (similarity[mask].astype(np.float64) for mask in (same & ~own, other))
    return Similarities(same_, q_pids[np.nonzero(same & ~own)[0]], different, different_pids)


def joined(parts: Iterable[Similarities]) -> Similarities:
    """Pairs of several directions as one."""
    listed = list(parts)
    columns = ("same", "same_pids", "different", "different_pids")
    return Similarities(*(np.concatenate([getattr(part, name) for part in listed]) for name in columns))


def threshold_for(different: Floats, rate: float) -> float:
    """The lowest threshold that at most the share `rate` of these similarities reaches, in 0..1.

    Raises ValueError for a rate outside 0..1, or below 1 / D, which so few pairs cannot show."""
    if not 0.0 < rate < 1.0:
        raise ValueError(f"a false-match rate lies between 0 and 1, got {rate}")
    allowed = int(rate * len(different) + 1e-9)
    if allowed < 1:
        raise EvaluationError(
            f"{len(different)} pairs of different vehicles cannot show a false-match rate of {rate}: at least "
            f"{1 / rate:.0f} can"
        )
    ordered = np.sort(np.asarray(different, np.float64))[::-1]
    return float(np.nextafter(ordered[allowed], np.inf)) if allowed < len(ordered) else float(ordered[-1])


def false_match_rate(pairs_: Similarities, threshold: float, seed: int = 0) -> Interval:
    """Share of pairs of different vehicles at or over the threshold."""
    return share_of_vehicles(pairs_.different >= threshold, pairs_.different_pids, seed)


def miss_rate(pairs_: Similarities, threshold: float, seed: int = 0) -> Interval:
    """Share of pairs of the same vehicle under the threshold."""
    return share_of_vehicles(pairs_.same < threshold, pairs_.same_pids[:, None], seed)


def of_a_look_up(rate: float, comparisons: int) -> float:
    """Probability that at least one of so many comparisons of a stranger matches, as if they were independent."""
    return -math.expm1(comparisons * math.log1p(-rate)) if rate < 1 else 1.0


def trade_off(pairs_: Similarities, points: int = 200) -> tuple[Floats, Floats]:
    """False-match rates, ascending, and the miss rates that go with them: the curve of a DET plot.

    Thresholds lie where false matches are one in D, and so on to all, in even steps of the logarithm; and at quantiles
    of the same vehicles."""
    different = np.sort(np.asarray(pairs_.different, np.float64))
    same = np.sort(np.asarray(pairs_.same, np.float64))
    ranks = np.unique(np.geomspace(1, len(different), points).astype(int))
    thresholds = np.concatenate([different[-ranks], np.quantile(same, np.linspace(0, 1, points))])
    thresholds = np.unique(thresholds)[::-1]
    matched = 1 - np.searchsorted(different, thresholds, side="left") / len(different)
    missed = np.searchsorted(same, thresholds, side="left") / len(same)
    return matched, missed


def share_of_vehicles(hits: NDArray[np.bool_], pids: NDArray[np.int64], seed: int = 0) -> Interval:
    """The share of hits. Its interval comes from drawing vehicles with replacement (percentile bootstrap): pairs of one
    vehicle resemble each other, so that drawing pairs would promise too much.

    Args:
        hits: (N,).
        pids: (N, 1) or (N, 2), the vehicles of each pair; a pair counts as often as all of them were sampled together.
    """
    known, places = np.unique(pids, return_inverse=True)
    groups, index = np.unique(places.reshape(pids.shape), axis=0, return_inverse=True)
    counts, found = np.bincount(index.ravel()), np.bincount(index.ravel(), weights=hits)
    share = float(hits.mean())
    if (alike := _of_equal_hits(hits, len(known))) is not None:
        return alike
    rng, shares = np.random.default_rng(seed), np.full(_DRAWS, share)
    for draw in range(_DRAWS):
        times = np.bincount(rng.integers(len(known), size=len(known)), minlength=len(known))
        weights = times[groups].prod(axis=1)
        if total := weights @ counts:
            shares[draw] = weights @ found / total
    low, high = np.quantile(shares, [(1 - _LEVEL) / 2, (1 + _LEVEL) / 2])
    return Interval(share, float(low), float(high))


def shares_of_vehicles(hits: NDArray[np.bool_], pids: NDArray[np.int64], seed: int = 0) -> list[Interval]:
    """`share_of_vehicles` of several kinds of hits at once, each of one vehicle, all with the same draws.

    Args:
        hits: (K, N).
        pids: (N,), the vehicle of each.
    """
    known, places = np.unique(pids, return_inverse=True)
    counts = np.bincount(places, minlength=len(known))
    found = np.stack([np.bincount(places, weights=row, minlength=len(known)) for row in hits])
    rng = np.random.default_rng(seed)
    times = np.stack(
        [np.bincount(rng.integers(len(known), size=len(known)), minlength=len(known)) for _ in range(_DRAWS)]
    )
    shares = (found @ times.T) / (times @ counts)
    bounds = np.quantile(shares, [(1 - _LEVEL) / 2, (1 + _LEVEL) / 2], axis=1)
    return [
        _of_equal_hits(row, len(known)) or Interval(float(row.mean()), low, high)
        for row, low, high in zip(hits, *bounds.tolist(), strict=True)
    ]


def _of_equal_hits(hits: NDArray[np.bool_], vehicles: int) -> Interval | None:
    """The share where all are hits, or none: every sample is equal, and the rule of three for vehicles stands in."""
    bound = min(1.0, 3 / vehicles)
    if not hits.any():
        return Interval(0.0, 0.0, bound)
    return Interval(1.0, 1 - bound, 1.0) if hits.all() else None
