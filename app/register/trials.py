"""Scores of queries with known answers, each asked as a resident and as a stranger."""

from collections.abc import Container, Hashable, Iterable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from app.evaluation.local_scaling import SHORTLIST
from app.evaluation.open_set import ask
from app.register.comparisons import Comparison

Floats = NDArray[np.float32]
MOST_QUERIES = 4000
"""Queries that are asked, spread evenly."""
_OTHERS = 64  # scores of other vehicles, of each query


@dataclass
class Trial:
    """A query, and its scores by comparison and vehicle: of the `SHORTLIST` best vehicles and its own.

    Args:
        is_stranger: a vehicle that is not registered; `resident` is empty then.
        vehicles: in the largest of its galleries.
        other: scores of other vehicles by comparison, some of them chosen by chance.
    """

    pid: int
    is_stranger: bool = False
    vehicles: int = 0
    resident: dict[str, dict[int, float]] = field(default_factory=dict)
    stranger: dict[str, dict[int, float]] = field(default_factory=dict)
    other: dict[str, Floats] = field(default_factory=dict)


def ask_all(comparisons: Iterable[Comparison]) -> list[Trial]:
    """The queries of all comparisons, in order; of very many, some."""
    found: dict[Hashable, Trial] = {}
    rng = np.random.default_rng(0)
    listed = list(comparisons)
    every = list(dict.fromkeys(key for comparison in listed for key in comparison.keys))
    chosen = set(every[:: -(-len(every) // MOST_QUERIES) or 1])
    for comparison in listed:
        part = _only(comparison, chosen)
        name, gallery, ids, keys = part.name, part.gallery, part.ids, part.keys
        pids = np.unique(ids["g_pids"])

        def around(block: slice, among: Floats = gallery) -> Floats:
            return among[block] @ among.T

        for asked in ask(part.similarities, around, ids, with_strangers=part.times is not None):
            is_stranger = asked.own < 0
            trial = found.setdefault(keys[asked.query], Trial(int(ids["q_pids"][asked.query]), is_stranger))
            trial.vehicles = max(trial.vehicles, len(pids))
            asked_as = [(asked.stranger, trial.stranger)]
            if not is_stranger:
                asked_as.append((asked.resident, trial.resident))
            for scores, held in asked_as:
                best = np.argsort(-scores, kind="stable")[:SHORTLIST]
                there = best if is_stranger else np.union1d(best, asked.own)
                there = there[np.isfinite(scores[there])]
                held[name] = dict(zip(pids[there].tolist(), scores[there].tolist(), strict=True))
            other = asked.resident if is_stranger else np.delete(asked.resident, asked.own)
            other = other[np.isfinite(other)]
            few = len(other) <= _OTHERS
            trial.other[name] = np.asarray(other if few else rng.choice(other, _OTHERS, replace=False), np.float32)
    return list(found.values())


def _only(comparison: Comparison, keys: Container[Hashable]) -> Comparison:
    """The comparison with these queries alone, in all comparisons the same."""
    rows = [row for row, key in enumerate(comparison.keys) if key in keys]
    ids = comparison.ids.copy()
    ids["q_pids"], ids["q_camids"], ids["q_sequences"] = (
        values[rows] for values in (ids["q_pids"], ids["q_camids"], ids["q_sequences"])
    )
    kept = [comparison.keys[row] for row in rows]
    times = comparison.times and (comparison.times[0][rows], comparison.times[1])
    return comparison._replace(queries=comparison.queries[rows], ids=ids, keys=kept, times=times)
