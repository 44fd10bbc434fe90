"""Calibration of summed evidence, from vehicles that are known: a labelled set, or the register's own images.

Every query is asked as a resident, and as a stranger with its own vehicle taken out. Lines are fitted to the scores of
the same and of other vehicles in each kind of comparison; two thresholds are set to the rates of strangers that are
named, and of residents that are called unknown. Where plates were read, they hold for the sum with the texts and for
that without them: a photograph at the gate may show either. What the report says of them was measured on vehicles that
they were not set on: one half of the vehicles sets them for the other.
"""

import math
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from app.evaluation.calibration import share_of_vehicles
from app.evaluation.errors import EvaluationError
from app.evaluation.likelihood import Line, cllr, fit_line, reliability
from app.evaluation.open_set import Trials
from app.register.comparisons import Comparison
from app.register.evidence import Calibration, is_plate, plate_counts, sources_of, weigh
from app.register.matcher import PLATE_TEXT
from app.register.trials import LOOK, Texts, Trial, alone, trials_of
from app.settings.checks import SettingsError

SUM = "sum"
"""Stands for the name of a source where it is the sum of all."""
_LEAST_VEHICLES = 10
"""Of fewer vehicles, half are too few to fit a line to."""
_EULER = 0.5772156649015329
Log = NDArray[np.float64]


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
    """Log odds of Q queries, each as a resident and as a stranger.

    Args:
        pids: (Q,), their vehicles.
        right: (Q,), whether the best candidate is the query's own vehicle.
        resident, stranger: (Q, 2), the log odds of the best vehicle and of any registered one.
        foreign: (Q, 2), as resident and as stranger: whether the plate text is near no registered plate.
        counts: (Q, 2), whether the text was compared with the plate of the best candidate.
    """

    pids: NDArray[np.int64]
    right: NDArray[np.bool_]
    resident: Log
    stranger: Log
    foreign: NDArray[np.bool_]
    counts: NDArray[np.bool_]


class Fitted(NamedTuple):
    """A calibration, and what was measured with it."""

    calibration: Calibration
    report: dict[str, Any]


def fit(comparisons: Iterable[Comparison], rates: Rates, texts: Texts | None = None) -> Fitted:
    """Fit a calibration and measure it. Raises EvaluationError where too few vehicles have two images to compare."""
    return fit_trials(trials_of(comparisons, texts), rates)


def fit_trials(trials: Sequence[Trial], rates: Rates) -> Fitted:
    """`fit` of queries that were asked already."""
    pids = np.array([trial.pid for trial in trials], np.int64)
    vehicles = np.unique(pids)
    if len(vehicles) < _LEAST_VEHICLES:
        raise EvaluationError(
            f"{len(vehicles)} vehicles have a second image to compare with; at least {_LEAST_VEHICLES} are needed"
        )
    calibration = _fit(trials, rates)
    first = np.isin(pids, np.random.default_rng(0).permutation(vehicles)[: len(vehicles) // 2])
    halves = [[trials[row] for row in np.flatnonzero(half).tolist()] for half in (first, ~first)]
    set_by = [_fit(half, rates) for half in reversed(halves)]
    answers = [_outcomes(_weigh(half, by), by) for half, by in zip(halves, set_by, strict=True)]
    joined = {name: np.concatenate([each[name] for each in answers]) for name in answers[0]}
    counted = np.array([trial.pid for half in halves for trial in half], np.int64)
    report = {
        **rates._asdict(),
        "vehicles": len(vehicles),
        "queries": len(trials),
        "texts": sum(trial.text is not None for trial in trials),
        "registered": max(trial.vehicles for trial in trials),
        **{name: share_of_vehicles(hits, counted[:, None])._asdict() for name, hits in joined.items()},
        "sources": sources(trials, calibration),
    }
    return Fitted(calibration, report)


def fit_alone(trials: Sequence[Trial], source: str, rates: Rates) -> Calibration:
    """A calibration of one source, for queries as `alone` has them."""
    return _fit(alone(trials, source), rates, {LOOK: Line(0.0, 0.0)} if source == PLATE_TEXT else None)


def outcomes(trials: Sequence[Trial], calibration: Calibration) -> dict[str, int]:
    """Counts of queries by outcome: `residents_right`, `residents_wrong`, `residents_unsure`, `residents_unknown`,
    `residents_not_registered`, and the same of strangers: `strangers_named` and so on."""
    found = _outcomes(_weigh(trials, calibration), calibration)
    return {name: int(hits.sum()) for name, hits in found.items()}


def right_at(trials: Sequence[Trial], calibration: Calibration, rate: float) -> float:
    """Share of residents named right at the log odds that at most the share `rate` of these strangers reach."""
    weighed = _weigh(trials, calibration)
    asked = Trials(weighed.resident[:, 0], weighed.right, weighed.stranger[:, 0])
    return asked.named_right(asked.threshold(rate))


def sources(trials: Sequence[Trial], calibration: Calibration) -> dict[str, dict[str, Any]]:
    """Cllr and reliability of each source's LLR, and of the `SUM`, over pairs of queries with their own vehicle and
    with others."""
    measured: dict[str, tuple[Log, Log]] = {}
    for name, line in calibration.lines.items():
        same, different = _scores(trials, name)
        if len(same) and len(different):
            measured[name] = line.llr(same), line.llr(different)
    for name in (PLATE_TEXT, SUM):
        pairs = [_sums(trial, calibration, PLATE_TEXT if name == PLATE_TEXT else None) for trial in trials]
        same, different = (np.array([v for pair in pairs for v in pair[side]], np.float64) for side in (0, 1))
        if len(same) and len(different):
            measured[name] = same, different
    return {
        name: {
            "pairs_same": len(same),
            "pairs_different": len(different),
            "cllr": cllr(same, different),
            "reliability": [point._asdict() for point in reliability(same, different)],
        }
        for name, (same, different) in measured.items()
    }


def _sums(trial: Trial, calibration: Calibration, source: str | None) -> tuple[list[float], list[float]]:
    """LLRs of a query's own vehicle and of others, summed over sources, or of one source where it has one."""
    usable = [name for name in trial.resident if name in calibration.lines and not is_plate(name)]
    if not usable:
        return [], []
    others = set.intersection(*(set(trial.other[name]) for name in usable))
    compared = {
        name: {**{v: trial.other[name][v] for v in others}, **_own(trial.resident[name], trial.pid)} for name in usable
    }
    texts = trial.text.llr({*others, trial.pid}) if trial.text else {}
    found: tuple[list[float], list[float]] = ([], [])
    for vehicle in sorted(set().union(*compared.values())):
        llr = sources_of(vehicle, compared, calibration, texts)
        if source is None or source in llr:
            found[vehicle != trial.pid].append(sum(llr.values()) if source is None else llr[source])
    return found


def _own(scores: dict[int, float], pid: int) -> dict[int, float]:
    return {pid: scores[pid]} if pid in scores else {}


def _fit(trials: Sequence[Trial], rates: Rates, lines: dict[str, Line] | None = None) -> Calibration:
    """Lines, if none are given, and thresholds from these queries."""
    reasons = dict[str, str]()
    if lines is None:
        lines = {}
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
    # A text pushes strangers down: a threshold of such queries alone would name more of those whose plate is not read.
    look = any(line.slope for line in lines.values())
    ways = [True, False] if look and any(trial.text for trial in trials) else [True]
    weighed = [_weigh(trials, draft, texts=texts) for texts in ways]
    named = max(_upper(each.stranger[:, 0], rates.stranger_rate) for each in weighed)
    registered = min(named, *(_lower(each.resident[:, 1], rates.unknown_rate) for each in weighed))
    return draft.model_copy(update={"named": named, "registered": registered})


def _scores(trials: Sequence[Trial], name: str) -> tuple[Log, Log]:
    """Scores of the same and of other vehicles in one comparison."""
    same = [trial.resident[name][trial.pid] for trial in trials if trial.pid in trial.resident.get(name, ())]
    other = [score for trial in trials for score in trial.other.get(name, {}).values()]
    return np.array(same, np.float64), np.array(other, np.float64)


def _weigh(trials: Sequence[Trial], calibration: Calibration, *, texts: bool = True) -> Weighed:
    """Evidence as an identification has it; `texts` says whether the plate texts take part."""
    right, odds, foreign, counts = list[bool](), list[tuple[float, float]](), list[bool](), list[bool]()
    for trial in trials:
        text = trial.text if texts else None
        for compared in (trial.resident, trial.stranger):
            vehicles = trial.vehicles - (compared is trial.stranger)
            usable = {name: of for name, of in compared.items() if name in calibration.lines and not is_plate(name)}
            there = set[int]().union(*usable.values())
            evidence = weigh(usable, calibration, vehicles, text.llr(there) if text else None)
            odds.append((evidence.named, evidence.registered))
            foreign.append(text is not None and not text.near & there)
            counts.append(plate_counts(evidence))
            if compared is trial.resident:
                right.append(bool(evidence.candidates) and evidence.candidates[0].vehicle == trial.pid)
    found = np.array(odds, np.float64).reshape(-1, 2, 2)
    pids = np.array([trial.pid for trial in trials], np.int64)
    of_text = (np.array(values, bool).reshape(-1, 2) for values in (foreign, counts))
    return Weighed(pids, np.array(right, bool), found[:, 0], found[:, 1], *of_text)


def _outcomes(weighed: Weighed, at: Calibration) -> dict[str, NDArray[np.bool_]]:
    """Of each query: what it would have been answered, as a resident and as a stranger."""
    found = dict[str, NDArray[np.bool_]]()
    for column, (who, odds) in enumerate((("residents", weighed.resident), ("strangers", weighed.stranger))):
        named = odds[:, 0] >= at.named
        least = np.where(weighed.counts[:, column], 0.0, at.registered)
        foreign = ~named & weighed.foreign[:, column] & (odds[:, 1] < least)
        unknown = ~named & ~foreign & (odds[:, 1] < at.registered)
        if who == "residents":
            found |= {"residents_right": named & weighed.right, "residents_wrong": named & ~weighed.right}
        else:
            found["strangers_named"] = named
        found |= {f"{who}_unsure": ~named & ~foreign & ~unknown, f"{who}_unknown": unknown}
        found[f"{who}_not_registered"] = foreign
    return found


def _upper(odds: Log, rate: float) -> float:
    """The log odds that at most the share `rate` of other strangers is expected to reach.

    The larger of two estimates. By rank: of n strangers one more reaches the k-th largest with the probability
    k / (n + 1), the largest where even that is over the rate. And the quantile of the Gumbel distribution with their
    mean and variance, which the best of many candidates tends to (Coles, "An Introduction to Statistical Modeling of
    Extreme Values", 2001, section 3.1). A hundred strangers alone say little of the last in a hundred."""
    finite = odds[np.isfinite(odds)]
    if not len(finite):
        return 0.0
    ordered = np.sort(odds)[::-1]
    rank = max(1, int(rate * (len(ordered) + 1) + 1e-9))
    counted = float(np.nextafter(ordered[min(rank, len(ordered)) - 1], math.inf))
    spread = float(finite.std()) * math.sqrt(6) / math.pi
    tail = float(finite.mean()) - _EULER * spread - spread * math.log(-math.log1p(-rate))
    return max(counted, tail)


def _lower(odds: Log, rate: float) -> float:
    """The log odds below which at most the share `rate` of residents lie."""
    ordered = np.sort(odds)
    found = float(ordered[int(rate * len(ordered) + 1e-9)])
    return found if math.isfinite(found) else 0.0
