"""Calibration of summed evidence, from vehicles that are known: a labelled set, or the register's own images.

Every query is asked as a resident, and as a stranger with its own vehicle taken out. Lines are fitted to the scores of
the same and of other vehicles in each kind of comparison; two thresholds are set to the rates of strangers that are
named, and of residents that are called unknown. What the report says of them was measured on vehicles that they were
not set on: one half of the vehicles sets them for the other.
"""

import math
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from app.evaluation.calibration import share_of_vehicles, shares_of_vehicles
from app.evaluation.errors import EvaluationError
from app.evaluation.likelihood import Line, cllr, fit_line, reliability
from app.register.comparisons import Comparison
from app.register.evidence import Calibration, is_plate, weigh
from app.register.trials import Trial, ask_all
from app.settings.checks import SettingsError

LEAST_VEHICLES = 10
"""Of fewer vehicles, half are too few to fit a line to."""
_POINTS = 24  # of a curve
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


class Weighed(NamedTuple):
    """Log odds of R queries of residents and S of strangers.

    Args:
        residents, strangers: (R,) and (S,), their vehicles.
        right: (R,), whether the best candidate is the query's own vehicle.
        resident, stranger: (R, 2) and (S, 2), the log odds of the best vehicle and of any registered one.
    """

    residents: NDArray[np.int64]
    strangers: NDArray[np.int64]
    right: NDArray[np.bool_]
    resident: NDArray[np.float64]
    stranger: NDArray[np.float64]


class Fitted(NamedTuple):
    """A calibration, and what was measured with it."""

    calibration: Calibration
    report: dict[str, Any]


def fit(comparisons: Iterable[Comparison], rates: Rates, before: Calibration | None = None) -> Fitted:
    """Fit a calibration and measure it.

    Args:
        before: an earlier calibration, measured on the same queries.

    Raises EvaluationError where too few vehicles have two images to compare."""
    trials = ask_all(comparisons)
    pids = np.array([trial.pid for trial in trials], np.int64)
    vehicles, residents = np.unique(pids), {trial.pid for trial in trials if not trial.is_stranger}
    if len(residents) < LEAST_VEHICLES:
        raise EvaluationError(
            f"{len(residents)} vehicles have a second image to compare with; at least {LEAST_VEHICLES} are needed"
        )
    calibration = _fit(trials, rates)
    first = np.isin(pids, np.random.default_rng(0).permutation(vehicles)[: len(vehicles) // 2])
    halves = [[trials[row] for row in np.flatnonzero(half)] for half in (first, ~first)]
    set_by = [_fit(half, rates) for half in reversed(halves)]
    measured = [_beyond(_weigh(half, by), by) for half, by in zip(halves, set_by, strict=True)]
    weighed = Weighed(*(np.concatenate(column) for column in zip(*measured, strict=True)))
    report = {
        **rates._asdict(),
        "vehicles": len(residents),
        "queries": len(trials),
        "registered": max(trial.vehicles for trial in trials),
        **_shares(weighed),
        "curve": _curve(weighed),
        "sources": {name: _source(trials, name, line) for name, line in calibration.lines.items()},
    }
    if before is not None:
        report["before"] = _shares(_beyond(_weigh(trials, before), before))
    return Fitted(calibration, report)


def measure(comparisons: Iterable[Comparison], calibration: Calibration) -> dict[str, Any]:
    """The report of a calibration as it is, on vehicles of which some may have set it. Raises EvaluationError as `fit`
    does."""
    trials = ask_all(comparisons)
    residents = {trial.pid for trial in trials if not trial.is_stranger}
    if len(residents) < LEAST_VEHICLES:
        raise EvaluationError(f"{len(residents)} vehicles have a second image; at least {LEAST_VEHICLES} are needed")
    weighed = _beyond(_weigh(trials, calibration), calibration)
    about = {"vehicles": len(residents), "queries": len(trials), "registered": max(t.vehicles for t in trials)}
    return {**about, **_shares(weighed), "curve": _curve(weighed)}


def outcomes(comparisons: Iterable[Comparison], calibration: Calibration) -> dict[str, int]:
    """Counts of the queries of other vehicles by outcome: `residents_right`, `residents_wrong`, `residents_unsure`,
    `residents_unknown`, `strangers_named`, `strangers_unsure`, `strangers_unknown`."""
    found = _outcomes(_beyond(_weigh(ask_all(comparisons), calibration), calibration))
    return {name: int(hits.sum()) for name, hits in found.items()}


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
    right, odds = list[bool](), (list[tuple[float, float]](), list[tuple[float, float]]())
    for trial in trials:
        for compared in (trial.resident, trial.stranger):
            is_resident = compared is trial.resident
            if is_resident and trial.is_stranger:
                continue
            vehicles = trial.vehicles - (not is_resident and not trial.is_stranger)
            usable = {name: of for name, of in compared.items() if name in calibration.lines and not is_plate(name)}
            evidence = weigh(usable, calibration, vehicles)
            odds[not is_resident].append((evidence.named, evidence.registered))
            if is_resident:
                right.append(bool(evidence.candidates) and evidence.candidates[0].vehicle == trial.pid)
    resident, stranger = (np.array(each, np.float64).reshape(-1, 2) for each in odds)
    residents = np.array([trial.pid for trial in trials if not trial.is_stranger], np.int64)
    pids = np.array([trial.pid for trial in trials], np.int64)
    return Weighed(residents, pids, np.array(right, bool), resident, stranger)


def _beyond(weighed: Weighed, at: Calibration) -> Weighed:
    """The log odds less the thresholds of a calibration: 0 and more is named, and registered."""
    thresholds = np.array([at.named, at.registered])
    with np.errstate(invalid="ignore"):
        return weighed._replace(resident=weighed.resident - thresholds, stranger=weighed.stranger - thresholds)


def _outcomes(beyond: Weighed) -> dict[str, NDArray[np.bool_]]:
    """Of each query: what it would have been answered, as a resident and as a stranger."""
    found = dict[str, NDArray[np.bool_]]()
    for who, odds in (("residents", beyond.resident), ("strangers", beyond.stranger)):
        named = odds[:, 0] >= 0
        unknown = ~named & (odds[:, 1] < 0)
        if who == "residents":
            found |= {"residents_right": named & beyond.right, "residents_wrong": named & ~beyond.right}
        else:
            found["strangers_named"] = named
        found |= {f"{who}_unsure": ~named & ~unknown, f"{who}_unknown": unknown}
    return found


def _shares(beyond: Weighed) -> dict[str, dict[str, float]]:
    """Shares of outcomes with their intervals; of real strangers beside those that were left out of the register."""
    found = _outcomes(beyond)
    pids = {"residents": beyond.residents, "strangers": beyond.strangers}
    shares = {
        name: share_of_vehicles(hits, pids[name.split("_")[0]][:, None])._asdict() for name, hits in found.items()
    }
    if (real := beyond.strangers < 0).any():
        hits, numbers = found["strangers_named"][real], beyond.strangers[real]
        shares["real_strangers_named"] = share_of_vehicles(hits, numbers[:, None])._asdict()
    return shares


def _curve(beyond: Weighed) -> list[dict[str, float]]:
    """Residents named right over strangers named, with intervals, as the threshold falls."""
    odds = np.sort(beyond.stranger[:, 0])[::-1]
    ranks = np.unique(np.geomspace(1, len(odds), _POINTS).astype(int))
    thresholds = [float(np.nextafter(odds[0], math.inf)), *odds[ranks - 1].tolist()]
    named = [float((beyond.stranger[:, 0] >= threshold).mean()) for threshold in thresholds]
    hits = np.stack([beyond.right & (beyond.resident[:, 0] >= threshold) for threshold in thresholds])
    right = shares_of_vehicles(hits, beyond.residents)
    return [
        {"strangers": strangers, "right": each.share, "low": each.low, "high": each.high}
        for strangers, each in zip(named, right, strict=True)
    ]


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
