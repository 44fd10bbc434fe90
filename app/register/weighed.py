"""Evidence of queries with known answers: log odds as residents and as strangers, outcomes with their intervals, the
curve of a calibration, and Cllr and reliability of each source."""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from app.evaluation.calibration import shares_of_vehicles
from app.evaluation.likelihood import cllr, reliability
from app.register.evidence import Calibration, is_plate, plate_counts, sources_of, weigh
from app.register.matcher import PLATE_TEXT
from app.register.trials import Trial

SUM = "sum"
"""Stands for the name of a source where it is the sum of all."""
_POINTS = 24  # of a curve
Log = NDArray[np.float64]


class Weighed(NamedTuple):
    """Log odds of R queries of residents and S of strangers.

    Args:
        residents, strangers: (R,) and (S,), their vehicles.
        right: (R,), whether the best candidate is the query's own vehicle.
        resident, stranger: (R, 2) and (S, 2), the log odds of the best vehicle and of any registered one.
        resident_text, stranger_text: (R, 2) and (S, 2): whether the plate text is near no registered plate, and whether
            it was compared with the plate of the best candidate.
    """

    residents: NDArray[np.int64]
    strangers: NDArray[np.int64]
    right: NDArray[np.bool_]
    resident: Log
    stranger: Log
    resident_text: NDArray[np.bool_]
    stranger_text: NDArray[np.bool_]


def weigh_all(trials: Sequence[Trial], calibration: Calibration, *, texts: bool = True) -> Weighed:
    """Evidence as an identification has it; `texts` says whether the plate texts take part."""
    right, odds = list[bool](), (list[tuple[float, float]](), list[tuple[float, float]]())
    of_text: tuple[list[tuple[bool, bool]], list[tuple[bool, bool]]] = ([], [])
    for trial in trials:
        text = trial.text if texts else None
        for compared in (trial.resident, trial.stranger):
            is_resident = compared is trial.resident
            if is_resident and trial.is_stranger:
                continue
            vehicles = trial.vehicles - (not is_resident and not trial.is_stranger)
            usable = {name: of for name, of in compared.items() if name in calibration.lines and not is_plate(name)}
            there = set[int]().union(*usable.values())
            evidence = weigh(usable, calibration, vehicles, text.llr(there) if text else None)
            odds[not is_resident].append((evidence.named, evidence.registered))
            of_text[not is_resident].append((text is not None and not text.near & there, plate_counts(evidence)))
            if is_resident:
                right.append(bool(evidence.candidates) and evidence.candidates[0].vehicle == trial.pid)
    resident, stranger = (np.array(each, np.float64).reshape(-1, 2) for each in odds)
    residents = np.array([trial.pid for trial in trials if not trial.is_stranger], np.int64)
    pids = np.array([trial.pid for trial in trials], np.int64)
    resident_text, stranger_text = (np.array(each, bool).reshape(-1, 2) for each in of_text)
    return Weighed(residents, pids, np.array(right, bool), resident, stranger, resident_text, stranger_text)


def less_thresholds(weighed: Weighed, at: Calibration) -> Weighed:
    """The log odds less the thresholds of a calibration: 0 and more is named, and registered.

    Of the texts near no registered plate those stay that are answered so, as nothing else speaks for a resident."""
    thresholds = np.array([at.named, at.registered])
    texts = []
    for odds, text in ((weighed.resident, weighed.resident_text), (weighed.stranger, weighed.stranger_text)):
        least = np.where(text[:, 1], 0.0, at.registered)
        texts.append(np.column_stack([text[:, 0] & (odds[:, 1] < least), text[:, 1]]))
    with np.errstate(invalid="ignore"):
        resident, stranger = weighed.resident - thresholds, weighed.stranger - thresholds
    return weighed._replace(resident=resident, stranger=stranger, resident_text=texts[0], stranger_text=texts[1])


def outcomes_of(beyond: Weighed) -> dict[str, NDArray[np.bool_]]:
    """Of each query: what it would have been answered, as a resident and as a stranger."""
    found = dict[str, NDArray[np.bool_]]()
    asked = (
        ("residents", beyond.resident, beyond.resident_text),
        ("strangers", beyond.stranger, beyond.stranger_text),
    )
    for who, odds, text in asked:
        named = odds[:, 0] >= 0
        foreign = ~named & text[:, 0]
        unknown = ~named & ~foreign & (odds[:, 1] < 0)
        if who == "residents":
            found |= {"residents_right": named & beyond.right, "residents_wrong": named & ~beyond.right}
        else:
            found["strangers_named"] = named
        found |= {f"{who}_unsure": ~named & ~foreign & ~unknown, f"{who}_unknown": unknown}
        found[f"{who}_not_registered"] = foreign
    return found


def shares(beyond: Weighed) -> dict[str, dict[str, float]]:
    """Shares of outcomes with their intervals; of real strangers beside those that were left out of the register."""
    found, intervals = outcomes_of(beyond), dict[str, dict[str, float]]()
    for who, pids in (("residents", beyond.residents), ("strangers", beyond.strangers)):
        names = [name for name in found if name.startswith(who)]
        of_names = shares_of_vehicles(np.stack([found[name] for name in names]), pids)
        intervals |= {name: each._asdict() for name, each in zip(names, of_names, strict=True)}
    if (real := beyond.strangers < 0).any():
        [named] = shares_of_vehicles(found["strangers_named"][None, real], beyond.strangers[real])
        intervals["real_strangers_named"] = named._asdict()
    return intervals


def curve(beyond: Weighed) -> list[dict[str, float]]:
    """Residents named right over strangers named, with intervals, as the threshold falls."""
    odds = np.sort(beyond.stranger[:, 0])[::-1]
    ranks = np.unique(np.geomspace(1, len(odds), _POINTS).astype(int))
    thresholds = [float(np.nextafter(odds[0], math.inf)), *odds[ranks - 1].tolist()]
    named = [float((beyond.stranger[:, 0] >= threshold).mean()) for threshold in thresholds]
    hits = np.stack([beyond.right & (beyond.resident[:, 0] >= threshold) for threshold in thresholds])
    right = shares_of_vehicles(hits, beyond.residents)
    return [
        {"strangers": strangers, "right": each.share, "low": each.low, "high": each.high}
        for strangers, each in zip(named, right, strict=True)
    ]


def sources(trials: Sequence[Trial], calibration: Calibration) -> dict[str, dict[str, Any]]:
    """Cllr and reliability of each source's LLR, and of the `SUM`, over pairs of queries with their own vehicle and
    with others."""
    measured: dict[str, tuple[Log, Log]] = {}
    for name, line in calibration.lines.items():
        same, different = scores_of(trials, name)
        if len(same) and len(different):
            measured[name] = line.llr(same), line.llr(different)
    for name in (PLATE_TEXT, SUM):
        pairs = [_sums(trial, calibration, PLATE_TEXT if name == PLATE_TEXT else None) for trial in trials]
        same, different = (np.array([v for pair in pairs for v in pair[side]], np.float64) for side in (0, 1))
        if len(same) and len(different):
            measured[name] = same, different
    return {
        name: {
            "pairs_same": len(same),
            "pairs_different": len(different),
            "cllr": cllr(same, different),
            "reliability": [point._asdict() for point in reliability(same, different)],
        }
        for name, (same, different) in measured.items()
    }


def _sums(trial: Trial, calibration: Calibration, source: str | None) -> tuple[list[float], list[float]]:
    """LLRs of a query's own vehicle and of others, summed over sources, or of one source where it has one."""
    usable = [name for name in trial.resident if name in calibration.lines and not is_plate(name)]
    if not usable:
        return [], []
    others = set.intersection(*(set(trial.other[name]) for name in usable))
    compared = {
        name: {**{v: trial.other[name][v] for v in others}, **_own(trial.resident[name], trial.pid)} for name in usable
    }
    texts = trial.text.llr({*others, trial.pid}) if trial.text else {}
    found: tuple[list[float], list[float]] = ([], [])
    for vehicle in sorted(set().union(*compared.values())):
        llr = sources_of(vehicle, compared, calibration, texts)
        if source is None or source in llr:
            found[vehicle != trial.pid].append(sum(llr.values()) if source is None else llr[source])
    return found


def _own(scores: dict[int, float], pid: int) -> dict[int, float]:
    return {pid: scores[pid]} if pid in scores else {}


def scores_of(trials: Sequence[Trial], name: str) -> tuple[Log, Log]:
    """Scores of the same and of other vehicles in one comparison."""
    same = [trial.resident[name][trial.pid] for trial in trials if trial.pid in trial.resident.get(name, ())]
    other = [score for trial in trials for score in trial.other.get(name, {}).values()]
    return np.array(same, np.float64), np.array(other, np.float64)
