"""Combination of an embedding decision with the recognised plate texts. A wrong owner is the worst of all answers.

A text of enough confidence that equals the plate of one vehicle is a match where the libraries came to none. It never
turns one vehicle into another: where it contradicts a match, a person has to look. Texts that are merely near to a
plate decide nothing.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from enum import StrEnum

from app.register.matcher import Candidate, Decision, Outcome
from app.register.plate_distance import cost
from app.register.plate_reader import PlateRead

PLATE_TEXT = "plate_text"
"""Stands for the name of a library where a text decided; the similarity is then the text's confidence."""


class TextEffect(StrEnum):
    """Effect of the plate texts on a decision."""

    nothing = "nothing"  # none has the confidence, or none is a plate of the register
    agrees = "agrees"
    decides = "decides"
    contradicts = "contradicts"


def combine(
    decision: Decision,
    reads: Sequence[PlateRead],
    holders: Mapping[str, Collection[int]],
    own: str | None,
    min_confidence: float,
) -> tuple[Decision, TextEffect]:
    """Combine the decision of the libraries with the plate texts; texts below `min_confidence` are ignored.

    match: stays, unless a text contradicts it; then it is unsure, about the same vehicle. A text contradicts that is
    the plate of other vehicles alone, or of none while the vehicle has a plate more than one error away.
    unsure, unknown: a match with the vehicle that the one text names exactly. Two texts, or two vehicles, name none.

    Args:
        reads: of one vehicle, each text once.
        holders: vehicles that have exactly this plate, by text.
        own: plate of the decision's vehicle, in `models.alphabet.plain` form; None without one.
    """
    confident = [read for read in reads if read.confidence >= min_confidence]
    if decision.outcome is Outcome.match and decision.vehicle is not None:
        if any(_contradicts(read.text, holders, decision.vehicle, own) for read in confident):
            return replace(decision, outcome=Outcome.unsure), TextEffect.contradicts
        agrees = any(decision.vehicle in holders.get(read.text, ()) for read in confident)
        return decision, TextEffect.agrees if agrees else TextEffect.nothing
    named = {vehicle for read in confident for vehicle in holders.get(read.text, ())}
    if len(confident) != 1 or len(named) != 1:
        return decision, TextEffect.nothing
    (read,), (vehicle,) = confident, named
    candidates = {**decision.candidates, PLATE_TEXT: [Candidate(vehicle, read.confidence)]}
    return Decision(
        Outcome.match, vehicle, PLATE_TEXT, read.confidence, min_confidence, None, candidates
    ), TextEffect.decides


def _contradicts(text: str, holders: Mapping[str, Collection[int]], vehicle: int, own: str | None) -> bool:
    """Whether a confident text contradicts a vehicle."""
    if its := holders.get(text):
        return vehicle not in its
    return own is not None and cost(text, own) is None
