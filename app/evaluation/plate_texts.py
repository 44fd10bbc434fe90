"""Measures of plate reading: whole plates, characters, and the effect of a confidence threshold."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from app.core.sample import Sample, first_names
from app.data.readers.reader import Direction
from app.evaluation.errors import EvaluationError
from app.evaluation.ranking import NoValidQueryError
from models.alphabet import character_error_rate, plain

SURE_SHARE = 0.9
"""Share of the plates, by highest confidence, of which `accuracy_90` is the accuracy."""
WANTED_ACCURACY = 0.99
"""Accuracy of the plates kept, of which `kept_99` is the share."""


@dataclass(frozen=True)
class PlateReading:
    """Recognised text of one plate.

    Args:
        text: in `models.alphabet.plain` form; "" for nothing.
        confidences: of each character, in [0, 1].
        likely: probabilities of the likeliest characters at each place, "" for none; empty where they are not known.
    """

    text: str
    confidences: tuple[float, ...]
    likely: tuple[Mapping[str, float], ...] = field(default=(), compare=False, repr=False)

    @property
    def confidence(self) -> float:
        """Confidence of the whole plate: the lowest of its characters; 0 for an empty text."""
        return min(self.confidences, default=0.0)


def refusal_curve(correct: Sequence[bool], confidences: Sequence[float]) -> tuple[np.ndarray, np.ndarray]:
    """Shares kept (K,), ascending to 1, and the accuracy (K,) of the plates kept, for every threshold on the
    confidence.

    Plates of equal confidence are kept or refused together. Raises ValueError without plates."""
    if not correct:
        raise EvaluationError("there are no plates")
    order = np.argsort(-np.asarray(confidences, float), kind="stable")
    sure, right = np.asarray(confidences, float)[order], np.asarray(correct, bool)[order]
    ends = np.flatnonzero(np.append(sure[1:] != sure[:-1], True))  # the last of each confidence
    kept = ends + 1
    return kept / len(right), np.cumsum(right)[ends] / kept


def measure_readings(pairs: Sequence[tuple[PlateReading, str]]) -> dict[str, float]:
    """accuracy of whole plates, character_error_rate, accuracy_90, kept_99, confidence_99 and the number of "queries".

    accuracy_90: accuracy of the plates with the highest confidence, at the smallest share from 0.9 that a threshold
        gives.
    kept_99: the largest share with an accuracy of 0.99 or more that a threshold gives, 0 if none. confidence_99: the
    threshold of that share, its lowest confidence; 1 if there is none.

    Raises ValueError without plates."""
    correct = [reading.text == text for reading, text in pairs]
    confidences = [reading.confidence for reading, _ in pairs]
    shares, accuracies = refusal_curve(correct, confidences)
    kept = float(shares[accuracies >= WANTED_ACCURACY].max(initial=0.0))
    return {
        "accuracy": float(np.mean(correct)),
        "character_error_rate": character_error_rate([(reading.text, text) for reading, text in pairs]),
        "accuracy_90": float(accuracies[np.argmax(shares >= SURE_SHARE - 1e-9)]),
        "kept_99": kept,
        "confidence_99": sorted(confidences, reverse=True)[round(kept * len(pairs)) - 1] if kept else 1.0,
        "queries": float(len(pairs)),
    }


def measure_directions(
    read: Callable[[Sequence[Sample]], Sequence[PlateReading | None]], directions: Sequence[Direction]
) -> tuple[dict[str, float], dict[str, dict[str, float]]]:
    """Measures of a reader over all plates with a text, each once, and of each direction. "skipped" counts the samples
    without a text or with an image that cannot be read, for which `read` gives None.

    Raises NoValidQueryError if there is nothing to measure."""
    rows: dict[str, dict[str, float]] = {}
    pairs: dict[Sample, tuple[PlateReading, str]] = {}
    skipped: set[Sample] = set()
    for direction in directions:
        samples = list(dict.fromkeys((*direction.query, *direction.gallery)))
        fresh = [
            s for s in samples if plain(s.plate_text or "") and s.has_plate and s not in pairs and s not in skipped
        ]
        for sample, reading in zip(fresh, read(fresh), strict=True):
            if reading is not None:
                pairs[sample] = (reading, plain(sample.plate_text or ""))
        skipped |= {sample for sample in samples if sample not in pairs}
        own = [pairs[sample] for sample in samples if sample in pairs]
        if own:
            rows[direction.name] = {**measure_readings(own), "skipped": float(len(samples) - len(own))}
    if not rows:
        written = [s for s in skipped if plain(s.plate_text or "") and s.has_plate]
        if not written:
            raise NoValidQueryError(f"no plate with a text: {len(skipped)} samples, none of which tells one")
        written.sort(key=lambda sample: sample.path)
        raise NoValidQueryError(f"no plate with a text can be read: none of {len(written)}, {first_names(written)}")
    return {**measure_readings(list(pairs.values())), "skipped": float(len(skipped))}, rows
