"""Calibration of summed evidence, from vehicles that are known: a labelled set, or the register's own images.

Every query is asked as a resident, and as a stranger with its own vehicle taken out. Lines are fitted to the scores of
the same and of other vehicles in each kind of comparison; two thresholds are set to the rates of strangers that are
named, and of residents that are called unknown. What the report says of them was measured on vehicles that they were
not set on: one half of the vehicles sets them for the other.
"""

import math
from collections.abc import Container, Hashable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from app.evaluation.calibration import share_of_vehicles
from app.evaluation.errors import EvaluationError
from app.evaluation.likelihood import Line, cllr, fit_line, reliability
from app.evaluation.local_scaling import SHORTLIST
from app.evaluation.open_set import ask
from app.register.comparisons import Comparison
from app.register.evidence import Calibration, is_plate, weigh
from app.settings.checks import SettingsError

Floats = NDArray[np.float32]
MOST_QUERIES = 4000
"""Queries that are asked, spread evenly."""
_OTHERS = 64  # scores of other vehicles, of each query
_LEAST_VEHICLES = 10
"""Of fewer vehicles, half are too few to fit a line to."""
_EULER = 0.5772156649015329


class Rates(NamedTuple):
    """Rates that a calibration is set to.

    Args:
        strangers: share of queries whose vehicle is not registered.
        stranger_rate: share of strangers that may be named.
        unknown_rate: share of residents that may be called unknown.
    """

    strangers: float = 0.5
    stranger_rate: float = 0.01
    unknown_rate: float = 0.01

    def check(self) -> None:
        """Raise SettingsError for a rate that is no share."""
        for name, value in self._asdict().items():
            if not 0.0 < value < 1.0:
                raise SettingsError(f"{name.replace('_', '-')} lies between 0 and 1, got {value}")


RATES = Rates()


@dataclass
class Trial:
    """A query, and its scores by comparison and vehicle: of the `SHORTLIST` best vehicles and its own.

    Args:
        vehicles: in the largest of its galleries.
        other: scores of other vehicles by comparison, some of them chosen by chance.
    """

    pid: int
    vehicles: int = 0
    resident: dict[str, dict[int, float]] = field(default_factory=dict)
    stranger: dict[str, dict[int, float]] = field(default_factory=dict)
    other: dict[str, Floats] = field(default_factory=dict)


class Weighed(NamedTuple):
    """Log odds of Q queries.

    Args:
        pids: (Q,), their vehicles.
        right: (Q,), whether the best candidate is the query's own vehicle.
        resident, stranger: (Q, 2), the log odds of the best vehicle and of any registered one.
    """

    pids: NDArray[np.int64]
    right: NDArray[np.bool_]
    resident: NDArray[np.float64]
    stranger: NDArray[np.float64]


class Fitted(NamedTuple):
    """A calibration, and what was measured with it."""

    calibration: Calibration
    report: dict[str, Any]


def fit(comparisons: Iterable[Comparison], rates: Rates) -> Fitted:
    """Fit a calibration and measure it. Raises EvaluationError where too few vehicles have two images to compare."""
    trials = _trials(comparisons)
    pids = np.array([trial.pid for trial in trials], np.int64)
    vehicles = np.unique(pids)
    if len(vehicles) < _LEAST_VEHICLES:
        raise EvaluationError(
            f"{len(vehicles)} vehicles have a second image to compare with; at least {_LEAST_VEHICLES} are needed"
        )
    calibration = _fit(trials, rates)
    first = np.isin(pids, np.random.default_rng(0).permutation(vehicles)[: len(vehicles) // 2])
    halves = [[trials[row] for row in np.flatnonzero(half)] for half in (first, ~first)]
    set_by = [_fit(half, rates) for half in reversed(halves)]
    answers = [_outcomes(_weigh(half, by), by) for half, by in zip(halves, set_by, strict=True)]
    joined = {name: np.concatenate([each[name] for each in answers]) for name in answers[0]}
    counted = np.array([trial.pid for half in halves for trial in half], np.int64)
    report = {
        **rates._asdict(),
        "vehicles": len(vehicles),
        "queries": len(trials),
        "registered": max(trial.vehicles for trial in trials),
        **{name: share_of_vehicles(hits, counted[:, None])._asdict() for name, hits in joined.items()},
        "sources": {name: _source(trials, name, line) for name, line in calibration.lines.items()},
    }
    return Fitted(calibration, report)


def outcomes(comparisons: Iterable[Comparison], calibration: Calibration) -> dict[str, int]:
    """Counts of the queries of other vehicles by outcome: `residents_right`, `residents_wrong`, `residents_unsure`,
    `residents_unknown`, `strangers_named`, `strangers_unsure`, `strangers_unknown`."""
    found = _outcomes(_weigh(_trials(comparisons), calibration), calibration)
    return {name: int(hits.sum()) for name, hits in found.items()}


def _trials(comparisons: Iterable[Comparison]) -> list[Trial]:
    found: dict[Hashable, Trial] = {}
    rng = np.random.default_rng(0)
    listed = list(comparisons)
    every = list(dict.fromkeys(key for comparison in listed for key in comparison.keys))
    chosen = set(every[:: -(-len(every) // MOST_QUERIES) or 1])
    for comparison in listed:
        name, queries, gallery, ids, keys = _only(comparison, chosen)
        pids = np.unique(ids["g_pids"])

        def rows(block: slice, of: Floats, among: Floats = gallery) -> Floats:
            return of[block] @ among.T

        for asked in ask(lambda b, q=queries: rows(b, q), lambda b, g=gallery: rows(b, g), ids):  # type: ignore[misc]
            trial = found.setdefault(keys[asked.query], Trial(int(ids["q_pids"][asked.query])))
            trial.vehicles = max(trial.vehicles, len(pids))
            for scores, held in ((asked.resident, trial.resident), (asked.stranger, trial.stranger)):
                best = np.argsort(-scores, kind="stable")[:SHORTLIST]
                there = np.union1d(best, asked.own)
                there = there[np.isfinite(scores[there])]
                held[name] = dict(zip(pids[there].tolist(), scores[there].tolist(), strict=True))
            other = np.delete(asked.resident, asked.own)
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
    return comparison._replace(queries=comparison.queries[rows], ids=ids, keys=kept)


def _fit(trials: Sequence[Trial], rates: Rates) -> Calibration:
    """Lines and thresholds from these queries."""
    lines, reasons = dict[str, Line](), dict[str, str]()
    for name in dict.fromkeys(name for trial in trials for name in trial.resident):
        try:
            lines[name] = fit_line(*_scores(trials, name))
        except EvaluationError as error:
            reasons[name] = str(error)
    if not any(not is_plate(name) for name in lines):
        raise EvaluationError(
            "; ".join(f"{name}: {reason}" for name, reason in reasons.items()) or "nothing to compare"
        )
    draft = Calibration(lines=lines, named=0.0, registered=0.0, **rates._asdict())
    weighed = _weigh(trials, draft)
    named = _upper(weighed.stranger[:, 0], rates.stranger_rate)
    registered = min(named, _lower(weighed.resident[:, 1], rates.unknown_rate))
    return draft.model_copy(update={"named": named, "registered": registered})


def _scores(trials: Sequence[Trial], name: str) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Scores of the same and of other vehicles in one comparison."""
    same = [trial.resident[name][trial.pid] for trial in trials if trial.pid in trial.resident.get(name, ())]
    other = [trial.other[name] for trial in trials if name in trial.other]
    return np.array(same, np.float64), np.concatenate([np.empty(0), *other]).astype(np.float64)


def _weigh(trials: Sequence[Trial], calibration: Calibration) -> Weighed:
    right, odds = list[bool](), list[tuple[float, float]]()
    for trial in trials:
        for compared in (trial.resident, trial.stranger):
            vehicles = trial.vehicles - (compared is trial.stranger)
            usable = {name: of for name, of in compared.items() if name in calibration.lines and not is_plate(name)}
            evidence = weigh(usable, calibration, vehicles)
            odds.append((evidence.named, evidence.registered))
            if compared is trial.resident:
                right.append(bool(evidence.candidates) and evidence.candidates[0].vehicle == trial.pid)
    found = np.array(odds, np.float64).reshape(-1, 2, 2)
    pids = np.array([trial.pid for trial in trials], np.int64)
    return Weighed(pids, np.array(right, bool), found[:, 0], found[:, 1])


def _outcomes(weighed: Weighed, at: Calibration) -> dict[str, NDArray[np.bool_]]:
    """Of each query: what it would have been answered, as a resident and as a stranger."""
    found = dict[str, NDArray[np.bool_]]()
    for who, odds in (("residents", weighed.resident), ("strangers", weighed.stranger)):
        named = odds[:, 0] >= at.named
        unknown = ~named & (odds[:, 1] < at.registered)
        if who == "residents":
            found |= {"residents_right": named & weighed.right, "residents_wrong": named & ~weighed.right}
        else:
            found["strangers_named"] = named
        found |= {f"{who}_unsure": ~named & ~unknown, f"{who}_unknown": unknown}
    return found


def _source(trials: Sequence[Trial], name: str, line: Line) -> dict[str, Any]:
    same, different = (line.llr(scores) for scores in _scores(trials, name))
    return {
        "pairs_same": len(same),
        "pairs_different": len(different),
        "cllr": cllr(same, different),
        "reliability": [point._asdict() for point in reliability(same, different)],
    }


def _upper(odds: NDArray[np.float64], rate: float) -> float:
    """The log odds that at most the share `rate` of strangers reach.

    The larger of two estimates: of the strangers themselves, and of the Gumbel distribution with their mean and
    variance, which the best of many candidates tends to (Coles, "An Introduction to Statistical Modeling of Extreme
    Values", 2001, section 3.1). A hundred strangers alone say little of the last in a hundred."""
    finite = odds[np.isfinite(odds)]
    if not len(finite):
        return 0.0
    ordered = np.sort(odds)[::-1]
    allowed = int(rate * len(ordered) + 1e-9)
    counted = float(np.nextafter(ordered[min(allowed, len(ordered) - 1)], math.inf))
    spread = float(finite.std()) * math.sqrt(6) / math.pi
    tail = float(finite.mean()) - _EULER * spread - spread * math.log(-math.log1p(-rate))
    return max(counted, tail)


def _lower(odds: NDArray[np.float64], rate: float) -> float:
    """The log odds below which at most the share `rate` of residents lie."""
    ordered = np.sort(odds)
    found = float(ordered[int(rate * len(ordered) + 1e-9)])
    return found if math.isfinite(found) else 0.0
