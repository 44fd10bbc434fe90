"""Log-likelihood ratios of scores, and what they make of the vehicles of a register.

A score is worth what it tells two hypotheses apart: LLR = ln p(score | same vehicle) / p(score | another vehicle), here
a line fitted to pairs (Platt, "Probabilistic outputs for support vector machines", 1999), as in speaker verification
(Brümmer and du Preez, "Application-independent evaluation of speaker detection", 2006). LLRs of independent sources
add up; Bayes' rule then gives the probability of each vehicle and of a vehicle that is not registered.
"""

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from app.evaluation.errors import EvaluationError

Floats = NDArray[np.float64]
_STEPS = 100
_TOLERANCE = 1e-10


class Line(NamedTuple):
    """LLR of a score: slope x score + offset, slope >= 0; in nats."""

    slope: float
    offset: float

    def llr(self, scores: NDArray[np.floating] | float) -> Floats:
        """LLRs of scores, in their shape."""
        found: Floats = self.slope * np.asarray(scores, np.float64) + self.offset
        return found


def fit_line(same: NDArray[np.floating], different: NDArray[np.floating]) -> Line:
    """The line of the best logistic regression, both kinds of pairs counting alike whatever their number.

    Targets are smoothed, as Platt smooths them, by one pair of all: scores that no pair contradicts get no certainty
    beyond the number of pairs. (Platt's own count, of each kind apart, would hold a score that never fails on a hundred
    vehicles to odds of a hundred, and a worse one with more pairs to more.)

    Args:
        same, different: (S,) and (D,), scores of pairs of one vehicle and of two.
    Raises EvaluationError with fewer than two of either, or for scores that are not finite.
    """
    for name, values in (("the same vehicle", same), ("different vehicles", different)):
        if len(values) < 2:
            raise EvaluationError(f"{len(values)} pairs of {name} cannot calibrate a score: at least two can")
        if not np.isfinite(values).all():
            raise EvaluationError(f"a score of {name} is not finite")
    scores = np.concatenate([same, different]).astype(np.float64)
    middle, spread = scores.mean(), scores.std() or 1.0
    design = np.stack([(scores - middle) / spread, np.ones(len(scores))], axis=1)
    counts = (len(same), len(different))
    weights = np.concatenate([np.full(count, 0.5 / count) for count in counts])
    doubt = 1 / (len(scores) + 2)
    targets = np.repeat([1 - doubt, doubt], counts)
    found = np.zeros(2)
    loss = _loss(design @ found, targets, weights)
    for _ in range(_STEPS):
        chance = _sigmoid(design @ found)
        gradient = design.T @ (weights * (chance - targets))
        curvature = (design * (weights * chance * (1 - chance))[:, None]).T @ design + 1e-12 * np.eye(2)
        step = np.linalg.solve(curvature, gradient)
        length = 1.0
        while (after := _loss(design @ (found - length * step), targets, weights)) > loss and length > 1e-6:
            length /= 2
        found = found - length * step
        if loss - after < _TOLERANCE:
            break
        loss = after
    slope = found[0] / spread
    if slope <= 0:  # the score tells nothing
        return Line(0.0, 0.0)
    return Line(float(slope), float(found[1] - slope * middle))


def cllr(same: NDArray[np.floating], different: NDArray[np.floating]) -> float:
    """Cost of log-likelihood ratios in bits (Brümmer and du Preez, 2006, equation 29): 0 for certainty that is right, 1
    for LLRs of 0, more for those that mislead.

    Args:
        same, different: LLRs of pairs of one vehicle and of two, in nats.
    """
    missed = np.logaddexp(0, -np.asarray(same, np.float64)).mean()
    matched = np.logaddexp(0, np.asarray(different, np.float64)).mean()
    return float((missed + matched) / (2 * math.log(2)))


class Bin(NamedTuple):
    """One point of a reliability curve.

    Args:
        stated: mean probability that the LLRs state where both kinds are equally likely.
        found: share of pairs of one vehicle among them, both kinds counting alike.
        pairs: number of pairs.
    """

    stated: float
    found: float
    pairs: int


def reliability(same: NDArray[np.floating], different: NDArray[np.floating], bins: int = 10) -> list[Bin]:
    """Stated against found probabilities in bins of equal width; empty bins are left out."""
    stated = _sigmoid(np.concatenate([same, different]).astype(np.float64))
    is_same = np.concatenate([np.ones(len(same), bool), np.zeros(len(different), bool)])
    weights = np.concatenate([np.full(len(same), 0.5 / len(same)), np.full(len(different), 0.5 / len(different))])
    places = np.minimum((stated * bins).astype(int), bins - 1)
    found = []
    for place in range(bins):
        inside = places == place
        if inside.any():
            total = weights[inside].sum()
            mean = float((weights[inside] * stated[inside]).sum() / total)
            found.append(Bin(mean, float(weights[inside & is_same].sum() / total), int(inside.sum())))
    return found


class Posterior(NamedTuple):
    """Probabilities that sum to 1.

    Args:
        vehicles: (C,), of each candidate.
        others: of all registered vehicles that are no candidates together.
        stranger: of a vehicle that is not registered.
    """

    vehicles: Floats
    others: float
    stranger: float


def posterior(llr: NDArray[np.floating], registered: int, strangers: float) -> Posterior:
    """Probabilities by Bayes' rule, each registered vehicle being as likely as another before the photograph.

    Vehicles that are no candidates count with the likelihood ratio of the last candidate, or with 1 where that is more:
    the likelihood ratio of a vehicle that is another one is 1 on average, by its definition.

    Args:
        llr: (C,), of the candidates, summed over sources.
        registered: vehicles in the register, at least C.
        strangers: share of queries whose vehicle is not registered, in (0, 1).
    """
    llr = np.asarray(llr, np.float64)
    if not 0 < strangers < 1:
        raise ValueError(f"the share of strangers lies between 0 and 1, got {strangers}")
    if registered < len(llr):
        raise ValueError(f"{len(llr)} candidates of {registered} registered vehicles")
    if not registered:
        return Posterior(np.empty(0), 0.0, 1.0)
    prior = math.log1p(-strangers) - math.log(registered)
    rest = registered - len(llr)
    terms = [*(llr + prior), prior + min(0.0, float(llr.min(initial=0.0))) + math.log(rest) if rest else -math.inf]
    logs = np.array([*terms, math.log(strangers)])
    chances = np.exp(logs - np.logaddexp.reduce(logs))
    return Posterior(chances[:-2], float(chances[-2]), float(chances[-1]))


def _sigmoid(values: Floats) -> Floats:
    found: Floats = np.exp(-np.logaddexp(0, -values))
    return found


def _loss(values: Floats, targets: Floats, weights: Floats) -> float:
    return float((weights * (np.logaddexp(0, values) - targets * values)).sum())
