"""Decision over summed evidence: every source gives each candidate a log-likelihood ratio, and their sum a probability.

The sources are the embedding of the vehicle, the fused embedding of vehicle and plate, and the plate text. A plate
counts once: by its text where one was read and the candidate's plate is known, otherwise in the fused embedding. See
`app.evaluation.likelihood` for the arithmetic.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from app.evaluation.likelihood import Line, posterior
from app.register.matcher import (
    NOBODY,
    PLATE_TEXT,
    Candidate,
    Decision,
    Evidence,
    Outcome,
    Threshold,
    Weighed,
    crosses,
    decide,
)

EVIDENCE = "evidence"
"""Stands for the name of a library where the sum of all evidence decided."""
CANDIDATES = 10
"""Vehicles of each comparison that are weighed; those behind them count as others."""
_SHOWN = 5


class Calibration(BaseModel):
    """Calibrated evidence of a model version.

    Args:
        lines: LLR of a score, by comparison (`app.register.matcher.compared_name`): slope and offset.
        named: log odds of the best vehicle from which it is named.
        registered: log odds of any registered vehicle below which the answer is "unknown".
        strangers: share of queries whose vehicle is not registered, before anything is seen.
        stranger_rate, unknown_rate: of strangers that are named, and of residents that are called unknown, to which the
            two thresholds were set.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    lines: dict[str, Line]
    named: float
    registered: float
    strangers: float = Field(gt=0, lt=1)
    stranger_rate: float = Field(gt=0, lt=1)
    unknown_rate: float = Field(gt=0, lt=1)


def weigh(
    compared: Mapping[str, Mapping[int, float]],
    calibration: Calibration,
    registered: int,
    texts: Mapping[int, float] | None = None,
) -> Evidence:
    """The evidence for the vehicles of a register.

    Args:
        compared: scores by comparison and vehicle, the comparisons in the order in which they are preferred. Those of
            plates alone are left out: the fused embedding and the text hold the same plate.
        registered: number of vehicles in the register.
        texts: LLR of the plate text, of vehicles whose plate is known.
    """
    texts = texts or {}
    llr: dict[int, dict[str, float]] = {}
    for vehicle in sorted(set().union(*compared.values(), texts)):
        llr[vehicle] = sources_of(vehicle, compared, calibration, texts)
    order = sorted(llr, key=lambda vehicle: (-sum(llr[vehicle].values()), vehicle))[:CANDIDATES]
    sums = np.array([sum(llr[vehicle].values()) for vehicle in order])
    found = posterior(sums, max(registered, len(order)), calibration.strangers)
    weighed = [Weighed(v, llr[v], float(p)) for v, p in zip(order, found.vehicles, strict=True)]
    return Evidence(weighed, found.others, found.stranger)


def sources_of(
    vehicle: int, compared: Mapping[str, Mapping[int, float]], calibration: Calibration, texts: Mapping[int, float]
) -> dict[str, float]:
    """LLRs of one vehicle by source; arguments as in `weigh`."""
    source = _source(vehicle, compared, calibration, with_plate=vehicle not in texts)
    llr = {source: float(calibration.lines[source].llr(compared[source][vehicle]))} if source else {}
    return {**llr, PLATE_TEXT: texts[vehicle]} if vehicle in texts else llr


def decide_by_evidence(
    candidates: Mapping[str, Sequence[Candidate]],
    calibration: Calibration,
    registered: int,
    texts: Mapping[int, float] | None = None,
    foreign_text: bool = False,
    thresholds: Mapping[str, Threshold] | None = None,
) -> Decision:
    """The decision by probabilities.

    match: the best vehicle's log odds reach `named`. not_registered: a text was read that is near no registered plate,
    and a stranger is more likely than all registered vehicles; where the plate of the best one is not known, which the
    text then cannot rule out, registered vehicles must be as unlikely as for unknown. unknown: registered vehicles are
    less likely than `registered`. unsure: everything between.

    Args:
        candidates: by comparison, in the order in which they are preferred.
        foreign_text: whether a plate text of enough confidence is near no registered plate.
        thresholds: of libraries. Where they find a vehicle that nothing calibrated compares, as one with views of the
            other modality alone, it is worth a look: the answer is unsure in place of unknown or not_registered, and
            shows it beside the candidates of the evidence otherwise.
    """
    scored = {
        name: {each.vehicle: each.score for each in found if each.score is not None}
        for name, found in candidates.items()
        if name in calibration.lines and not is_plate(name)
    }
    evidence = weigh(scored, calibration, registered, texts)
    if evidence.named >= calibration.named:
        outcome = Outcome.match
    elif foreign_text and evidence.registered < (0 if plate_counts(evidence) else calibration.registered):
        outcome = Outcome.not_registered
    elif evidence.registered < calibration.registered:
        outcome = Outcome.unknown
    else:
        outcome = Outcome.unsure
    views = {each.vehicle: each for found in reversed(list(candidates.values())) for each in found}
    shown = [views.get(each.vehicle, Candidate(each.vehicle, 0.0)) for each in evidence.candidates[:_SHOWN]]
    best = shown[0] if shown and outcome not in NOBODY else None
    other = _by_other_views(candidates, calibration, set().union(*scored.values()), thresholds or {})
    if other.vehicle is not None and outcome is not Outcome.match:
        if best is None and (name := other.decided_by):
            named = {EVIDENCE: shown, **candidates, name: other.candidates[name][:_SHOWN]}
            return replace(other, outcome=Outcome.unsure, candidates=named, evidence=evidence)
        shown = [*shown[: _SHOWN - 1], views[other.vehicle]]
    vehicle, similarity = (best.vehicle, best.similarity) if best else (None, None)
    return Decision(outcome, vehicle, EVIDENCE, similarity, None, None, {EVIDENCE: shown, **candidates}, evidence)


def _by_other_views(
    candidates: Mapping[str, Sequence[Candidate]],
    calibration: Calibration,
    weighed: Collection[int],
    thresholds: Mapping[str, Threshold],
) -> Decision:
    """The decision of libraries over vehicles that were not weighed, in comparisons of two modalities that are not
    calibrated."""
    rest = {
        name: [each for each in found if each.vehicle not in weighed]
        for name, found in candidates.items()
        if crosses(name) and name not in calibration.lines
    }
    return decide(rest, thresholds)


def covers(calibration: Calibration, candidates: Mapping[str, Sequence[Candidate]]) -> bool:
    """Whether the comparisons that found a vehicle are calibrated, but for those of plates alone and of two
    modalities: some images of the night in a register must not change how photographs of the day are decided.

    A query of another kind than those of the calibration, as one at night, is decided by libraries, and so is one that
    found vehicles in comparisons alone that are not calibrated."""
    names = [name for name, found in candidates.items() if found and not is_plate(name)]
    own = [name for name in names if not crosses(name)]
    return all(name in calibration.lines for name in own) and (not names or any(n in calibration.lines for n in names))


def is_plate(comparison: str) -> bool:
    """Whether a comparison is one of plates alone."""
    return comparison.split("-", 1)[0] == "plate"


def plate_counts(evidence: Evidence) -> bool:
    """Whether the text was compared with the plate of the best candidate."""
    return bool(evidence.candidates) and PLATE_TEXT in evidence.candidates[0].llr


def _source(
    vehicle: int, compared: Mapping[str, Mapping[int, float]], calibration: Calibration, *, with_plate: bool
) -> str | None:
    """The comparison that a vehicle's embedding counts by."""
    names: Iterable[str] = (name for name in compared if vehicle in compared[name] and name in calibration.lines)
    if not with_plate:
        names = sorted(names, key=lambda name: name.startswith("fused"))  # the vehicle alone first
    return next(iter(names), None)
