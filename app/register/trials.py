"""Trials: queries of known vehicles with their scores, asked as residents and as strangers.

A trial holds what an identification would weigh: the scores of the nearest vehicles by comparison, and the text that
was read on the query's plate.
"""

from collections.abc import Container, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from app.core.sample import Sample
from app.data.readers.reader import Direction
from app.evaluation.local_scaling import SHORTLIST
from app.evaluation.open_set import ask
from app.evaluation.plate_texts import PlateReading
from app.evaluation.reading_errors import ReadingErrors
from app.register.comparisons import Comparison
from app.register.matcher import PLATE_TEXT
from app.register.plate_evidence import NEAR_PLATES
from app.register.plate_search import PlateTable
from models.alphabet import plain

Floats = NDArray[np.float32]
MOST_QUERIES = 4000
"""Queries that are asked, spread evenly."""
LOOK = "vehicle"
"""Name of the one comparison of a source that is asked alone."""
_OTHERS = 64  # scores of other vehicles, of each query


class ReadText:
    """A text that was read with enough confidence, against the plates of a labelled set.

    Args:
        plates: of the set by vehicle, in `models.alphabet.plain` form.
        near: vehicles whose plate is near to the text.
    """

    def __init__(self, reading: PlateReading, errors: ReadingErrors, plates: Mapping[int, str], near: set[int]) -> None:
        self.near = near
        self._reading, self._errors, self._plates = reading, errors, plates
        self._known: dict[int, float] = {}

    def llr(self, vehicles: Iterable[int]) -> dict[int, float]:
        """LLR of the text by vehicle, of those whose plate is known."""
        known = [vehicle for vehicle in vehicles if vehicle in self._plates]
        new = [vehicle for vehicle in known if vehicle not in self._known]
        if new:
            found = self._errors.llrs(self._reading, [self._plates[vehicle] for vehicle in new])
            self._known |= zip(new, found, strict=True)
        return {vehicle: self._known[vehicle] for vehicle in known}


Texts = Mapping[Hashable, ReadText]
"""Texts by query; see `Comparison.keys`."""


@dataclass
class Trial:
    """A query, and its scores by comparison and vehicle: of the `SHORTLIST` best vehicles, its own, and those whose
    plate is near to its text.

    Args:
        is_stranger: of a vehicle that is not registered; `resident` is empty then.
        vehicles: in the largest of its galleries.
        other: scores of other vehicles by comparison, some of them chosen by chance.
        text: read on its plate; None where no text takes part.
    """

    pid: int
    is_stranger: bool = False
    vehicles: int = 0
    resident: dict[str, dict[int, float]] = field(default_factory=dict)
    stranger: dict[str, dict[int, float]] = field(default_factory=dict)
    other: dict[str, dict[int, float]] = field(default_factory=dict)
    text: ReadText | None = None


def trials_of(comparisons: Iterable[Comparison], texts: Texts | None = None) -> list[Trial]:
    """The trials of a labelled set; of more than `MOST_QUERIES` queries some."""
    found: dict[Hashable, Trial] = {}
    rng = np.random.default_rng(0)
    listed = list(comparisons)
    every = list(dict.fromkeys(key for comparison in listed for key in comparison.keys))
    chosen = set(every[:: -(-len(every) // MOST_QUERIES) or 1])
    for comparison in listed:
        part = _only(comparison, chosen)
        name, gallery, ids, keys = part.name, part.gallery, part.ids, part.keys
        pids = np.unique(ids["g_pids"])

        def around(block: slice, among: Floats = gallery) -> Floats:
            return among[block] @ among.T

        for asked in ask(part.similarities, around, ids, with_strangers=part.times is not None):
            key = keys[asked.query]
            text = (texts or {}).get(key)
            trial = found.setdefault(key, Trial(int(ids["q_pids"][asked.query]), is_stranger=True, text=text))
            trial.is_stranger &= asked.own < 0  # one comparison may lack its vehicle, as that of plates
            trial.vehicles = max(trial.vehicles, len(pids))
            own = np.empty(0, np.int64) if asked.own < 0 else np.array([asked.own])
            also = np.flatnonzero(np.isin(pids, list(text.near))) if text else np.empty(0, np.int64)
            for scores, held in ((asked.resident, trial.resident), (asked.stranger, trial.stranger)):
                best = np.argsort(-scores, kind="stable")[:SHORTLIST]
                there = np.unique(np.concatenate([best, own, also]))
                there = there[np.isfinite(scores[there])]
                held[name] = dict(zip(pids[there].tolist(), scores[there].tolist(), strict=True))
            others = np.setdiff1d(np.arange(len(pids)), own)
            others = others[np.isfinite(asked.resident[others])]
            few = len(others) <= _OTHERS
            others = others if few else others[rng.choice(len(others), _OTHERS, replace=False)]
            trial.other[name] = dict(zip(pids[others].tolist(), asked.resident[others].tolist(), strict=True))
    for trial in found.values():
        if trial.is_stranger:
            trial.resident.clear()
    return list(found.values())


def read_texts(
    directions: Sequence[Direction], readings: Mapping[Sample, PlateReading], errors: ReadingErrors
) -> dict[Hashable, ReadText]:
    """The texts of a labelled set's queries; a vehicle's plate is the first text that the set has of it.

    Args:
        readings: of enough confidence.
    """
    plates: dict[int, str] = {}
    for sample in (s for each in directions for s in (*each.gallery, *each.query)):
        if text := plain(sample.plate_text or ""):
            plates.setdefault(sample.pid, text)
    table = PlateTable()
    table.put(plates.items())
    found = dict[Sample, ReadText]()
    for sample, reading in readings.items():
        near = {each.vehicle for each in table.find(reading.text)[:NEAR_PLATES]}
        found[sample] = ReadText(reading, errors, plates, near)
    return {(each.name, sample): found[sample] for each in directions for sample in each.query if sample in found}


def alone(trials: Sequence[Trial], source: str) -> list[Trial]:
    """The queries as one source alone sees them: a comparison, now named `LOOK`, or the plate text.

    A query for which the source has nothing is left out."""
    if source == PLATE_TEXT:
        found = []
        for trial in trials:
            if trial.text is not None:
                blank = [
                    {LOOK: dict.fromkeys(set().union(*scores.values()), 0.0)}
                    for scores in (trial.resident, trial.stranger, trial.other)
                ]
                found.append(replace(trial, resident=blank[0], stranger=blank[1], other=blank[2]))
        return found
    return [
        replace(
            trial,
            resident={LOOK: trial.resident[source]} if source in trial.resident else {},
            stranger={LOOK: trial.stranger[source]},
            other={LOOK: trial.other[source]},
            text=None,
        )
        for trial in trials
        if source in trial.stranger
    ]


def _only(comparison: Comparison, keys: Container[Hashable]) -> Comparison:
    """The comparison with these queries alone, in all comparisons the same."""
    rows = [row for row, key in enumerate(comparison.keys) if key in keys]
    ids = comparison.ids.copy()
    ids["q_pids"], ids["q_camids"], ids["q_sequences"] = (
        values[rows] for values in (ids["q_pids"], ids["q_camids"], ids["q_sequences"])
    )
    kept = [comparison.keys[row] for row in rows]
    times = comparison.times and (comparison.times[0][rows], comparison.times[1])
    return comparison._replace(queries=comparison.queries[rows], ids=ids, keys=kept, times=times)
