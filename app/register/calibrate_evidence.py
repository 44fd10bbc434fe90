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

from app.evaluation.errors import EvaluationError
from app.evaluation.likelihood import Line, fit_line
from app.evaluation.open_set import Trials
from app.register.comparisons import Comparison
from app.register.evidence import Calibration, is_plate
from app.register.matcher import PLATE_TEXT
from app.register.trials import LOOK, Texts, Trial, alone, trials_of
from app.register.weighed import (
    Log,
    Weighed,
    curve,
    less_thresholds,
    outcomes_of,
    scores_of,
    shares,
    sources,
    weigh_all,
)
from app.settings.checks import SettingsError

LEAST_VEHICLES = 10
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


class Fitted(NamedTuple):
    """A calibration, and what was measured with it."""

    calibration: Calibration
    report: dict[str, Any]


def fit(
    comparisons: Iterable[Comparison], rates: Rates, texts: Texts | None = None, before: Calibration | None = None
) -> Fitted:
    """Fit a calibration and measure it.

    Args:
        texts: read on the plates of the queries.
        before: an earlier calibration, measured on the same queries.

    Raises EvaluationError where too few vehicles have two images to compare."""
    return fit_trials(trials_of(comparisons, texts), rates, before)


def fit_trials(trials: Sequence[Trial], rates: Rates, before: Calibration | None = None) -> Fitted:
    """`fit` of queries that were asked already."""
    pids = np.array([trial.pid for trial in trials], np.int64)
    vehicles, residents = np.unique(pids), {trial.pid for trial in trials if not trial.is_stranger}
    if len(residents) < LEAST_VEHICLES:
        raise EvaluationError(
            f"{len(residents)} vehicles have a second image to compare with; at least {LEAST_VEHICLES} are needed"
        )
    calibration = _fit(trials, rates)
    first = np.isin(pids, np.random.default_rng(0).permutation(vehicles)[: len(vehicles) // 2])
    halves = [[trials[row] for row in np.flatnonzero(half).tolist()] for half in (first, ~first)]
    set_by = [_fit(half, rates) for half in reversed(halves)]
    measured = [less_thresholds(weigh_all(half, by), by) for half, by in zip(halves, set_by, strict=True)]
    weighed = Weighed(*(np.concatenate(column) for column in zip(*measured, strict=True)))
    report = {
        **rates._asdict(),
        "vehicles": len(residents),
        "queries": len(trials),
        "texts": sum(trial.text is not None for trial in trials),
        "registered": max(trial.vehicles for trial in trials),
        **shares(weighed),
        "curve": curve(weighed),
        "sources": sources(trials, calibration),
    }
    if before is not None:
        report["before"] = shares(less_thresholds(weigh_all(trials, before), before))
    return Fitted(calibration, report)


def measure(comparisons: Iterable[Comparison], calibration: Calibration) -> dict[str, Any]:
    """The report of a calibration as it is, on vehicles of which some may have set it. Raises EvaluationError as `fit`
    does."""
    trials = trials_of(comparisons)
    residents = {trial.pid for trial in trials if not trial.is_stranger}
    if len(residents) < LEAST_VEHICLES:
        raise EvaluationError(f"{len(residents)} vehicles have a second image; at least {LEAST_VEHICLES} are needed")
    weighed = less_thresholds(weigh_all(trials, calibration), calibration)
    about = {"vehicles": len(residents), "queries": len(trials), "registered": max(t.vehicles for t in trials)}
    return {**about, **shares(weighed), "curve": curve(weighed)}


def fit_alone(trials: Sequence[Trial], source: str, rates: Rates) -> Calibration:
    """A calibration of one source, for queries as `alone` has them."""
    return _fit(alone(trials, source), rates, {LOOK: Line(0.0, 0.0)} if source == PLATE_TEXT else None)


def outcomes(trials: Sequence[Trial], calibration: Calibration) -> dict[str, int]:
    """Counts of queries by outcome: `residents_right`, `residents_wrong`, `residents_unsure`, `residents_unknown`,
    `residents_not_registered`, and the same of strangers: `strangers_named` and so on."""
    found = outcomes_of(less_thresholds(weigh_all(trials, calibration), calibration))
    return {name: int(hits.sum()) for name, hits in found.items()}


def right_at(trials: Sequence[Trial], calibration: Calibration, rate: float) -> float:
    """Share of residents named right at the log odds that at most the share `rate` of these strangers reach."""
    weighed = weigh_all(trials, calibration)
    asked = Trials(weighed.resident[:, 0], weighed.right, weighed.stranger[:, 0])
    return asked.named_right(asked.threshold(rate))


def _fit(trials: Sequence[Trial], rates: Rates, lines: dict[str, Line] | None = None) -> Calibration:
    """Lines, if none are given, and thresholds from these queries."""
    reasons = dict[str, str]()
    if lines is None:
        lines = {}
        for name in dict.fromkeys(name for trial in trials for name in trial.resident):
            try:
                lines[name] = fit_line(*scores_of(trials, name))
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
    weighed = [weigh_all(trials, draft, texts=texts) for texts in ways]
    named = max(_upper(each.stranger[:, 0], rates.stranger_rate) for each in weighed)
    registered = min(named, *(_lower(each.resident[:, 1], rates.unknown_rate) for each in weighed))
    return draft.model_copy(update={"named": named, "registered": registered})


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
