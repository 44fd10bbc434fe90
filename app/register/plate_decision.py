"""Combination of an embedding decision with a recognised plate text. A wrong owner is the worst of all answers.

A text that was read surely and is exactly the plate of one vehicle is a match where the libraries came to none. It
never turns one vehicle into another: where it contradicts a match, somebody has to look. Texts that are merely near to
a plate decide nothing.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from enum import StrEnum

from app.register.matcher import Candidate, Decision, Outcome
from app.register.plate_distance import cost
from app.register.plate_reader import PlateRead

PLATE_TEXT = "plate_text"
"""Stands for the name of a library where a text decided; the similarity is then the text's confidence."""


class Says(StrEnum):
    """What the texts did."""

    nothing = "nothing"  # none was sure, or none is a plate of the register
    agrees = "agrees"
    decides = "decides"
    contradicts = "contradicts"


def weigh(
    decision: Decision,
    reads: Sequence[PlateRead],
    holders: Mapping[str, Collection[int]],
    own: str | None,
    wanted: float,
) -> tuple[Decision, Says]:
    """The decision of the libraries after the texts were heard; texts below the wanted confidence are not.

    match: stays, unless a text contradicts it; then it is unsure, about the same vehicle. A text contradicts that is
    the plate of other vehicles alone, or of none while the vehicle has a plate more than one error away.
    unsure, unknown: a match with the vehicle that the one text names exactly. Two texts, or two vehicles, name none.

    Args:
        reads: of one vehicle, each text once.
        holders: vehicles that have exactly this plate, by text.
        own: plate of the decision's vehicle, in `models.alphabet.plain` form; None without one.
    """
    sure = [read for read in reads if read.confidence >= wanted]
    if decision.outcome is Outcome.match and decision.vehicle is not None:
        if any(_contradicts(read.text, holders, decision.vehicle, own) for read in sure):
            return replace(decision, outcome=Outcome.unsure), Says.contradicts
        agrees = any(decision.vehicle in holders.get(read.text, ()) for read in sure)
        return decision, Says.agrees if agrees else Says.nothing
    named = {vehicle for read in sure for vehicle in holders.get(read.text, ())}
    if len(sure) != 1 or len(named) != 1:
        return decision, Says.nothing
    (read,), (vehicle,) = sure, named
    candidates = {**decision.candidates, PLATE_TEXT: [Candidate(vehicle, read.confidence)]}
    return Decision(Outcome.match, vehicle, PLATE_TEXT, read.confidence, wanted, None, candidates), Says.decides


def _contradicts(text: str, holders: Mapping[str, Collection[int]], vehicle: int, own: str | None) -> bool:
    """Whether a sure text speaks against a vehicle."""
    if its := holders.get(text):
        return vehicle not in its
    return own is not None and cost(text, own) is None
