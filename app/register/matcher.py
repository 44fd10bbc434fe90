"""Decision about the vehicle that a photograph shows: fused library, then plate library, then vehicle library.

The order is that of the dual-network patent (CN113326768B); thresholds are 0.9 until they are calibrated. The patent
knows a match and none; here an identification that is close to both, or fits two vehicles, is unsure.

Images of different modalities are less alike than images of one, so that each of the four kinds of comparison is a
library of its own, with its own threshold. Comparisons of visible images have the library's plain name.
"""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from app.core.sample import Modality
from app.register.records import Vectors

PLATE_TEXT = "plate_text"
"""Stands for the name of a library where a plate text decided, and for the source of its evidence."""
MODALITIES: tuple[Modality, ...] = ("visible", "infrared")


class Outcome(StrEnum):
    """Outcome of an identification."""

    match = "match"
    unsure = "unsure"
    unknown = "unknown"
    not_registered = "not_registered"  # a plate was read, and it is near no registered one


NOBODY = (Outcome.unknown, Outcome.not_registered)
"""Outcomes that name and show no vehicle."""


@dataclass(frozen=True)
class Threshold:
    """Least similarity and lead of a match in one library.

    Args:
        match: least cosine similarity.
        unsure: similarity from which on a person should look; at most `match`.
        margin: least lead over the next vehicle.
    """

    match: float = 0.9
    unsure: float = 0.8
    margin: float = 0.02

    def __post_init__(self) -> None:
        if not -1.0 <= self.unsure <= self.match <= 1.0:
            raise ValueError(f"-1 <= unsure <= match <= 1 must hold, got {self.unsure} and {self.match}")
        if not 0.0 <= self.margin <= 2.0:
            raise ValueError(f"margin must lie in 0..2, got {self.margin}")


@dataclass(frozen=True)
class Candidate:
    """A vehicle of the register, compared with the photographs of a query.

    Args:
        similarity: cosine; several photographs count by their mean.
        view: the most similar one.
        score: the cosine less the densities around both sides, see `app.evaluation.local_scaling`; candidates are in
            its order. None where there is no such thing, as for a text.
    """

    vehicle: int
    similarity: float
    view: int | None = None
    score: float | None = None


@dataclass(frozen=True)
class Weighed:
    """A candidate and the sum of its sources.

    Args:
        llr: by source, in nats: a comparison, `PLATE_TEXT`.
    """

    vehicle: int
    llr: Mapping[str, float]
    probability: float


@dataclass(frozen=True)
class Evidence:
    """Candidates by probability, and the probabilities of all others; they sum to 1.

    Args:
        others: any registered vehicle that is no candidate.
        stranger: a vehicle that is not registered.
    """

    candidates: Sequence[Weighed]
    others: float
    stranger: float

    @property
    def named(self) -> float:
        """Log odds of the best candidate against everything else; -inf without one."""
        if not self.candidates:
            return -math.inf
        best, *rest = (each.probability for each in self.candidates)
        return _log_odds(best, sum(rest) + self.others + self.stranger)

    @property
    def registered(self) -> float:
        """Log odds of any registered vehicle."""
        return _log_odds(sum(each.probability for each in self.candidates) + self.others, self.stranger)

    def as_dict(self) -> dict[str, Any]:
        """For JSON; probabilities and LLRs with four digits."""
        return {
            "not_registered": round(self.stranger, 4),
            "others": round(self.others, 4),
            "candidates": [
                {
                    "vehicle": each.vehicle,
                    "probability": round(each.probability, 4),
                    "llr": {source: round(value, 4) for source, value in each.llr.items()},
                }
                for each in self.candidates
            ],
        }


@dataclass(frozen=True)
class Decision:
    """The answer to an identification.

    Args:
        vehicle: the vehicle that matches, or the nearest one if unsure; None if unknown.
        decided_by: the library that decided; if unknown, the one that came nearest to its threshold.
        similarity, threshold: of that library.
        runner_up: the next vehicle there.
        candidates: the best vehicles, by library.
        evidence: probabilities, where the sum of all evidence decided.
    """

    outcome: Outcome
    vehicle: int | None
    decided_by: str | None
    similarity: float | None
    threshold: float | None
    runner_up: Candidate | None
    candidates: Mapping[str, Sequence[Candidate]] = field(default_factory=dict)
    evidence: Evidence | None = None

    def shown(self) -> Sequence[Candidate]:
        """The vehicles that a person gets to see with the answer: none of them if it is unknown."""
        if self.outcome in NOBODY or self.decided_by is None:
            return ()
        return self.candidates.get(self.decided_by, ())

    @property
    def margin(self) -> float | None:
        """Lead over the runner-up; None without one."""
        if self.similarity is None or self.runner_up is None:
            return None
        return self.similarity - self.runner_up.similarity

    def as_dict(self) -> dict[str, Any]:
        """For JSON; similarities with four digits."""
        runner_up = self.runner_up and {
            "vehicle": self.runner_up.vehicle,
            "similarity": round(self.runner_up.similarity, 4),
        }
        return {
            "decision": self.outcome.value,
            "vehicle": self.vehicle,
            "decided_by": self.decided_by,
            "similarity": None if self.similarity is None else round(self.similarity, 4),
            "threshold": self.threshold,
            "runner_up": runner_up,
            "margin": None if self.margin is None else round(self.margin, 4),
            "candidates": {
                library: [
                    {
                        "vehicle": found.vehicle,
                        "similarity": round(found.similarity, 4),
                        "score": None if found.score is None else round(found.score, 4),
                        "view": found.view,
                    }
                    for found in candidates
                ]
                for library, candidates in self.candidates.items()
            },
            "evidence": self.evidence and self.evidence.as_dict(),
        }


def decide(candidates: Mapping[str, Sequence[Candidate]], thresholds: Mapping[str, Threshold]) -> Decision:
    """The decision over the best vehicles of each library.

    The first library whose best vehicle reaches the threshold, with a margin to the next one, decides. A library in
    which two vehicles reach it too close to each other leaves the decision to the next. If none decides, the first one
    whose best reaches `unsure` makes the answer unsure.

    Args:
        candidates: by library in the order of precedence, best first; empty where the photograph has nothing to
            compare, or the library has no vehicle.
        thresholds: by library; 0.9 for a library without one.
    """
    unsure: Decision | None = None
    nearest: tuple[float, Decision] | None = None
    for library, found in candidates.items():
        if not found:
            continue
        best, second = found[0], found[1] if len(found) > 1 else None
        threshold = thresholds.get(library, Threshold())
        details = (library, best.similarity, threshold.match, second, candidates)
        clear = second is None or best.similarity - second.similarity >= threshold.margin
        if best.similarity >= threshold.match and clear:
            return Decision(Outcome.match, best.vehicle, *details)
        if unsure is None and best.similarity >= threshold.unsure:
            unsure = Decision(Outcome.unsure, best.vehicle, *details)
        lead = best.similarity - threshold.match
        if nearest is None or lead > nearest[0]:
            nearest = lead, Decision(Outcome.unknown, None, *details)
    if unsure is not None:
        return unsure
    if nearest is not None:
        return nearest[1]
    return Decision(Outcome.unknown, None, None, None, None, None, candidates)


def held_name(library: str, held: Modality) -> str:
    """Name under which the embeddings of views of a modality are kept."""
    return library if held == "visible" else f"{library}-{held}"


def held_vectors(vectors: Vectors, held: str) -> Vectors:
    """Embeddings of a view of a modality under the names by which they are kept."""
    modality: Modality = "infrared" if held == "infrared" else "visible"
    return {held_name(library, modality): vector for library, vector in vectors.items()}


def compared_name(library: str, query: Modality, held: Modality) -> str:
    """Name of the comparison of a photograph in modality `query` with views in modality `held`."""
    return library if query == held == "visible" else f"{library}-{query}-to-{held}"


def modality_of_query(photographs: Iterable[str]) -> Modality:
    """The modality by which several photographs are compared: "infrared" if all of them are."""
    return "infrared" if all(each == "infrared" for each in photographs) else "visible"


def crosses(comparison: str) -> bool:
    """Whether a comparison is of photographs in one modality with views in the other."""
    query, _, held = comparison.partition("-")[2].partition("-to-")
    return query != held


def compared_names(libraries: Iterable[str]) -> Iterator[tuple[str, str, Modality, Modality]]:
    """Name, library, query and held of every kind of comparison, in the order in which they are preferred: views of the
    photograph's own modality before those of the other."""
    for library in libraries:
        for query in MODALITIES:
            for held in sorted(MODALITIES, key=lambda modality: modality != query):
                yield compared_name(library, query, held), library, query, held


def _log_odds(share: float, rest: float) -> float:
    if share <= 0 or rest <= 0:
        return math.inf if share > 0 else -math.inf
    return math.log(share) - math.log(rest)
