"""Plate-text evidence for an identification query."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from app.core.sample import Box
from app.register.framing import Framed
from app.register.matcher import Decision
from app.register.plate_decision import TextEffect, combine
from app.register.plate_reader import PlateRead
from app.register.plate_search import PlateCandidate, PlateSearch

_CANDIDATES = 5


@dataclass(frozen=True)
class PlateFinding:
    """Plate texts of an identification.

    Args:
        reads: one or more, by confidence.
        box: of the first, in pixels of the file its photograph came from; None if it has an image of its own.
        candidates: plates near to any of the texts, nearest first, each vehicle once.
    """

    reads: Sequence[PlateRead]
    says: TextEffect
    box: Box | None
    candidates: Sequence[PlateCandidate]

    def vehicles(self) -> set[int]:
        """Those whose plates a person gets to see."""
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
            "others": [{"text": read.text, "confidence": round(read.confidence, 4)} for read in others],
            "candidates": [
                {"vehicle": found.vehicle, "cost": found.cost} | ({"plate": found.plate} if plates else {})
                for found in self.candidates
            ],
        }


def add_plate_evidence(
    decision: Decision, reads: Sequence[PlateRead], framed: Sequence[Framed], plates: PlateSearch, min_confidence: float
) -> tuple[Decision, PlateFinding | None]:
    """Combine the decision with the plate texts, and list the plates near to them; None if nothing was read.

    Args:
        reads: of these photographs, each text once, by confidence.
        min_confidence: texts below it take no part in the decision.
    """
    if not reads:
        return decision, None
    near = {read.text: plates.find(read.text) for read in reads}
    holders = {text: [each.vehicle for each in found if each.cost == 0] for text, found in near.items()}
    own = None if decision.vehicle is None else plates.plain_plate(decision.vehicle)
    decision, says = combine(decision, reads, holders, own, min_confidence)
    nearest: dict[int, PlateCandidate] = {}
    for each in sorted(itertools.chain(*near.values()), key=lambda each: (each.cost, each.vehicle)):
        nearest.setdefault(each.vehicle, each)
    vehicle_photo = framed[reads[0].photograph].vehicle_photo
    box = None if vehicle_photo.plate else vehicle_photo.plate_box
    return decision, PlateFinding(reads, says, box, list(nearest.values())[:_CANDIDATES])
