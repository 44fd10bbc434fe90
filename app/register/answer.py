"""Answer of an identification."""

from dataclasses import dataclass

from app.register.framing import Framed
from app.register.matcher import Decision
from app.register.plate_evidence import PlateFinding


@dataclass(frozen=True)
class Answer:
    """A decision, and the sighting it was kept as.

    Args:
        enrolled: number of the vehicle, if it was enrolled as unknown.
        images: names of the photographs, as they were kept.
        framed: the photographs, with what was found in them.
        plate: what their plates say; None if nothing was read.
    """

    decision: Decision
    sighting: int
    enrolled: int | None
    pictures: list[str]
    framed: list[Framed]
    plate: PlateFinding | None
