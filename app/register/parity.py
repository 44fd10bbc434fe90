"""Parity of two ways of computing one network: equal embeddings, equal decisions."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from app.core.sample import Sample, comparable
from app.data.readers.reader import Direction
from app.evaluation.errors import EvaluationError
from app.register.embedder import Recogniser
from app.register.matcher import Candidate, Decision, Threshold, decide
from app.tasks.image_files import Embeddings, embed_samples

_CANDIDATES = 5


@dataclass(frozen=True)
class Parity:
    """Result of a comparison.

    Args:
        images: number of images that were embedded both ways.
        largest_difference: of any value of any library.
        decisions: identifications that were made both ways.
        different: those whose outcome, vehicle or deciding library differ.
        outcomes: how often each outcome came, by the first way.
    """

    images: int
    largest_difference: float
    decisions: int
    different: int
    outcomes: dict[str, int] = field(default_factory=dict)


def some_vehicles(directions: Sequence[Direction], most: int) -> list[Direction]:
    """The directions with the vehicles of the lowest numbers alone, as many as `most` images hold; at least one."""
    held: dict[int, set[Sample]] = {}
    for direction in directions:
        for sample in (*direction.query, *direction.gallery):
            held.setdefault(sample.pid, set()).add(sample)
    kept, left = set[int](), most
    for pid in sorted(held):
        left -= len(held[pid])
        if kept and left < 0:
            break
        kept.add(pid)
    return [
        Direction(
            direction.name,
            tuple(sample for sample in direction.query if sample.pid in kept),
            tuple(sample for sample in direction.gallery if sample.pid in kept),
        )
        for direction in directions
    ]


def compare(first: Recogniser, second: Recogniser, directions: Sequence[Direction]) -> Parity:
    """Embed the images both ways, and identify every query in its gallery both ways.

    A library's threshold is the mean similarity of the queries to their nearest vehicle, a standard deviation below it
    begins unsure: a threshold far from all similarities would make any two networks decide alike.

    Raises ValueError if no image can be read, or the libraries differ."""
    samples = list(dict.fromkeys(s for direction in directions for s in (*direction.query, *direction.gallery)))
    found, other = (embed_samples(each.task, each.network, samples) for each in (first, second))
    if found.samples != other.samples or list(found.libraries) != list(other.libraries):
        raise EvaluationError("the two networks have other libraries, or read other images")
    largest = max(
        float(np.abs(rows - other.libraries[library]).max(initial=0.0)) for library, rows in found.libraries.items()
    )
    ours, theirs = (_all_candidates(embeddings, directions) for embeddings in (found, other))
    thresholds = _amid(ours)
    decisions = [(decide(a, thresholds), decide(b, thresholds)) for a, b in zip(ours, theirs, strict=True)]
    outcomes: dict[str, int] = {}
    for decision, _ in decisions:
        outcomes[decision.outcome.value] = outcomes.get(decision.outcome.value, 0) + 1
    different = sum(_said(a) != _said(b) for a, b in decisions)
    return Parity(len(found.samples), largest, len(decisions), different, outcomes)


def _said(decision: Decision) -> tuple[object, ...]:
    return decision.outcome, decision.vehicle, decision.decided_by


def _all_candidates(found: Embeddings, directions: Sequence[Direction]) -> list[dict[str, list[Candidate]]]:
    """For each query the best vehicles of each library, as `Identification.candidates` has them."""
    row_of = {sample: row for row, sample in enumerate(found.samples)}
    answer = []
    for direction in directions:
        gallery = [sample for sample in direction.gallery if sample in row_of]
        for query in (sample for sample in direction.query if sample in row_of):
            compared = [row_of[s] for s in gallery if comparable(query, s)]
            answer.append(
                {
                    library: _nearest(vectors, row_of[query], compared, found.samples)
                    for library, vectors in found.libraries.items()
                }
            )
    return answer


def _nearest(vectors: np.ndarray, query: int, gallery: list[int], samples: list[Sample]) -> list[Candidate]:
    best: dict[int, float] = {}
    if vectors[query].any():
        for row, similarity in zip(gallery, (vectors[gallery] @ vectors[query]).tolist(), strict=True):
            pid = samples[row].pid
            if vectors[row].any():
                best[pid] = max(similarity, best.get(pid, -1.0))
    ranked = sorted(best.items(), key=lambda pair: -pair[1])
    return [Candidate(pid, similarity) for pid, similarity in ranked[:_CANDIDATES]]


def _amid(identified: Sequence[Mapping[str, Sequence[Candidate]]]) -> dict[str, Threshold]:
    """Thresholds in the middle of the similarities found."""
    best: dict[str, list[float]] = {}
    for candidates in identified:
        for library, found in candidates.items():
            if found:
                best.setdefault(library, []).append(found[0].similarity)
    answer = {}
    for library, similarities in best.items():
        mean, spread = float(np.mean(similarities)), float(np.std(similarities))
        match = min(1.0, max(-1.0, mean))
        answer[library] = Threshold(match, max(-1.0, match - spread), 0.0)
    return answer
