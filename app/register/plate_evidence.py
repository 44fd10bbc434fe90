"""Plate-text evidence for an identification query. A wrong owner is the worst of all answers.

Where one library after the other decides, a text of enough confidence that equals the plate of one vehicle is a match
if the libraries came to none. It never turns one vehicle into another: where it contradicts a match, a person has to
look. Texts that are merely near to a plate decide nothing. In the sum of all evidence a text of enough confidence is
one source of several, see `app.register.evidence`.
"""

import itertools
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any, NamedTuple

from app.core.sample import Box
from app.evaluation.plate_frames import combined
from app.evaluation.plate_texts import PlateReading
from app.register.detect import Framed
from app.register.matcher import PLATE_TEXT, Candidate, Decision, Outcome
from app.register.plate_reader import PlateRead, QueryPlateReader
from app.register.plate_search import PlateCandidate, PlateSearch, cost
from models.plate_formats import UNKNOWN_ORIGIN, Origin, origin_of

NEAR_PLATES = 5
"""Plates near to the texts that an answer lists."""


class TextEffect(StrEnum):
    """Effect of the plate texts on a decision."""

    nothing = "nothing"  # none has the confidence, or none is a plate of the register
    agrees = "agrees"
    decides = "decides"
    contradicts = "contradicts"


def counting(reads: Sequence[PlateRead], min_confidence: float) -> list[PlateRead]:
    """The texts that take part in a decision; the others are only shown."""
    return [read for read in reads if read.confidence >= min_confidence]


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
    confident = counting(reads, min_confidence)
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


@dataclass(frozen=True)
class PlateFinding:
    """Plate texts of an identification.

    Args:
        reads: one or more, by confidence.
        box: of the first, in pixels of the file its photograph came from; None if it has an image of its own.
        candidates: plates near to any of the texts, nearest first, each vehicle once.
        together: the text of all photographs together; None if a plate was read in one alone.
        origin: country and region of the best text.
    """

    reads: Sequence[PlateRead]
    says: TextEffect
    box: Box | None
    candidates: Sequence[PlateCandidate]
    together: PlateReading | None = None
    origin: Origin = UNKNOWN_ORIGIN

    def vehicles(self) -> set[int]:
        """Vehicles whose plates a person gets to see."""
        return {found.vehicle for found in self.candidates}

    def as_dict(self, *, plates: bool = False) -> dict[str, Any]:
        """For JSON; confidences with four digits.

        Args:
            plates: with the candidates' plates; without them nothing enrolled is in it but numbers of vehicles.
        """
        best, *others = self.reads
        return {
            "text": best.text,
            "confidence": round(best.confidence, 4),
            "photograph": best.photograph,
            "box": self.box and [round(value, 1) for value in self.box],
            "says": self.says.value,
            "others": [_short(read) for read in others],
            "combined": self.together and _short(self.together),
            "country": self.origin.country,
            "region": self.origin.region,
            "candidates": [
                {"vehicle": found.vehicle, "cost": found.cost} | ({"plate": found.plate} if plates else {})
                for found in self.candidates
            ],
        }


def add_plate_evidence(
    decision: Decision,
    reads: Sequence[PlateRead],
    framed: Sequence[Framed],
    plates: PlateSearch,
    min_confidence: float,
    country: str = "",
) -> tuple[Decision, PlateFinding | None]:
    """Combine the decision with the plate texts, and list the plates near to them; None if nothing was read.

    Args:
        reads: of these photographs, each text once, by confidence.
        min_confidence: texts below it take no part in the decision.
        country: of the plates, "" where it is not known.
    """
    if not reads:
        return decision, None
    finding, near = _finding(reads, framed, plates, country)
    holders = {text: [each.vehicle for each in found if each.cost == 0] for text, found in near.items()}
    own = None if decision.vehicle is None else plates.plain_plate(decision.vehicle)
    decision, effect = combine(decision, reads, holders, own, min_confidence)
    return decision, replace(finding, says=effect)


def find_plates(
    reads: Sequence[PlateRead], framed: Sequence[Framed], plates: PlateSearch, country: str = ""
) -> PlateFinding | None:
    """The plates near to the texts that were read; None if nothing was."""
    return _finding(reads, framed, plates, country)[0] if reads else None


def together(reads: Sequence[PlateRead]) -> PlateReading | None:
    """The text of all photographs together; None if a plate was read in one alone."""
    return combined([reading for read in reads for reading in read.readings])


def _short(reading: PlateRead | PlateReading) -> dict[str, Any]:
    return {"text": reading.text, "confidence": round(reading.confidence, 4)}


def _finding(
    reads: Sequence[PlateRead], framed: Sequence[Framed], plates: PlateSearch, country: str
) -> tuple[PlateFinding, dict[str, list[PlateCandidate]]]:
    """What was found, and the plates near to each text."""
    joint = together(reads)
    texts = dict.fromkeys([*(read.text for read in reads), *([joint.text] if joint and joint.text else [])])
    near = {text: plates.find(text) for text in texts}
    nearest: dict[int, PlateCandidate] = {}
    for each in sorted(itertools.chain(*near.values()), key=lambda each: (each.cost, each.vehicle)):
        nearest.setdefault(each.vehicle, each)
    vehicle_photo = framed[reads[0].photograph].vehicle_photo
    box = None if vehicle_photo.plate else vehicle_photo.plate_box
    origin = origin_of((joint or reads[0]).text, country)
    return PlateFinding(reads, TextEffect.nothing, box, list(nearest.values())[:NEAR_PLATES], joint, origin), near


class TextEvidence(NamedTuple):
    """The text of a query in the sum of all evidence.

    Args:
        llr: by vehicle, of those whose plate is known.
        is_foreign: whether it is near no registered plate.
    """

    llr: Mapping[int, float]
    is_foreign: bool


def text_evidence(
    finding: PlateFinding | None, vehicles: Collection[int], plates: PlateSearch, reader: QueryPlateReader
) -> TextEvidence:
    """The evidence of the plate texts for some vehicles; none where no text has the confidence that counts.

    Texts of several photographs count as one, see `app.evaluation.plate_frames`."""
    if finding is None or not counting(finding.reads, reader.min_confidence):
        return TextEvidence({}, is_foreign=False)
    best, errors = finding.reads[0], reader.errors
    reading = finding.together or PlateReading(best.text, best.confidences)
    plates.prepare()
    known = {vehicle: plates.table.plain_plate(vehicle) for vehicle in vehicles}
    llr = {vehicle: errors.llr(reading, plate) for vehicle, plate in known.items() if plate}
    return TextEvidence(llr, is_foreign=not finding.candidates)


def effect_of(decision: Decision, plate: PlateFinding) -> TextEffect:
    """The part that the text had in a decision by evidence.

    agrees: it is the plate of the vehicle that matches. decides: so it is, and the rest of the evidence alone speaks
    against that vehicle. contradicts: it speaks against the vehicle that matches, or looks like it."""
    weighed = decision.evidence.candidates if decision.evidence else ()
    its = next((each for each in weighed if each.vehicle == decision.vehicle), None)
    if its is None or PLATE_TEXT not in its.llr:
        return TextEffect.nothing
    text = its.llr[PLATE_TEXT]
    if text < 0:
        return TextEffect.contradicts
    exact = any(each.vehicle == its.vehicle and not each.cost for each in plate.candidates)
    if not exact or decision.outcome is not Outcome.match:
        return TextEffect.nothing
    return TextEffect.decides if sum(its.llr.values()) - text < 0 else TextEffect.agrees
