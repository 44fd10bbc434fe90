"""Figures over all folds of a cross-validation, from the run folders of its sweep."""

import shlex
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import mean
from typing import Any

from app.core.run_folder import RunFolder
from app.experiment.sweeps import Sweep, SweepError

FOLDS, FOLD = "data.folds", "data.fold"
_MEASURES = ("mAP", "rank1", "rank5", "mINP")


@dataclass(frozen=True)
class Pooled:
    """Figures of runs that differ in the fold alone.

    Args:
        label: the other keys in which the jobs of the sweep differ; "" without any.
        folds: those that have ended, of `of`.
        queries: of all of them.
        models: measures by model, in [0, 1].
        measured: by model the folds in which it could be measured, and their queries.
    """

    label: str
    folds: list[int]
    of: int
    queries: int
    models: dict[str, dict[str, float]]
    measured: dict[str, "Measured"]


@dataclass(frozen=True)
class Measured:
    """Folds in which one model was measured, and their queries."""

    folds: list[int]
    queries: int


def pooled(found: Sweep) -> list[Pooled]:
    """Means over the queries of all ended folds, for each combination of the sweep's other keys.

    A query counts once, whatever the size of its fold, and is ranked among the vehicles of its fold. Figures of several
    directions are pooled by direction, and their mean is taken last, as in a single run. A model counts in the folds in
    which it was measured.

    Raises SweepError for a sweep without folds."""
    groups = defaultdict[str, list[int]](list)
    words = [dict(word.partition("=")[::2] for word in job.words) for job in found.jobs]
    if any(FOLD not in each or not each.get(FOLDS, "").isdecimal() for each in words):
        raise SweepError(f"{found.path} is no cross-validation: its jobs have no {FOLDS} and {FOLD}")
    for place, row in enumerate(found.rows()):
        others = {key: value for key, value in row.keys.items() if key != FOLD}
        groups[shlex.join(f"{key}={value}" for key, value in others.items())].append(place)
    return [
        _pooled(label, [words[i] for i in places], [_models(found, i) for i in places])
        for label, places in groups.items()
    ]


def _models(found: Sweep, place: int) -> Mapping[str, Any]:
    """Measures by model of a job; empty if it has not ended."""
    job = found.jobs[place]
    if found.state_of(job) != "ended":
        return {}
    models: Mapping[str, Any] = RunFolder(found.folder_of(job)).read_summary()["models"]
    return models


def _pooled(label: str, words: Sequence[Mapping[str, str]], runs: Sequence[Mapping[str, Any]]) -> Pooled:
    ended = [(int(each[FOLD]), models) for each, models in zip(words, runs, strict=True) if models]
    ended.sort(key=lambda pair: pair[0])
    names = dict.fromkeys(name for _, models in ended for name in models)
    rows = {name: {fold: models[name] for fold, models in ended if _measured(models.get(name))} for name in names}
    held = {name: Measured(list(found), _queries(found.values())) for name, found in rows.items() if found}
    figures = {name: _mean(list(rows[name].values())) for name in held}
    queries = _queries(next(filter(_measured, models.values()), {"queries": 0}) for _, models in ended)
    return Pooled(label, [fold for fold, _ in ended], int(words[0][FOLDS]), queries, figures, held)


def _measured(row: Any) -> bool:
    return isinstance(row, Mapping) and "queries" in row


def _queries(rows: Iterable[Mapping[str, Any]]) -> int:
    return sum(int(row["queries"]) for row in rows)


def _mean(rows: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Measures of one model over all folds."""
    parts: list[Sequence[Mapping[str, Any]]] = [rows]
    directions = [_directions(row) for row in rows]
    if all(directions):
        parts = [[each[name] for each in directions] for name in directions[0]]
    measures = [name for name in _MEASURES if all(name in row for part in parts for row in part)]
    return {
        name: sum(
            sum(row[name] * row["queries"] for row in part) / sum(row["queries"] for row in part) for part in parts
        )
        / len(parts)
        for name in measures
    }


def _directions(row: Mapping[str, Any]) -> Mapping[str, Mapping[str, float]]:
    """Measures of one model in one fold by direction, of a mean over clients the means of theirs; empty for one
    direction."""
    if "directions" in row:
        found: Mapping[str, Mapping[str, float]] = row["directions"]
        return found
    clients = [each for each in row.get("clients", {}).values() if "error" not in each]
    if not clients or any("directions" not in each for each in clients):
        return {}
    names = (*_MEASURES, "queries")
    return {
        way: {name: mean(each["directions"][way][name] for each in clients) for name in names if name in first}
        for way, first in clients[0]["directions"].items()
    }


def pooled_table(rows: Sequence[Pooled], *, markdown: bool = False) -> str:
    """A line for each model and each combination of keys; figures in per cent."""
    measures = [name for name in _MEASURES if any(name in row for each in rows for row in each.models.values())]
    head = ["model", "folds", "queries", *measures]
    lines = [
        [f"{each.label} {name}".strip(), f"{len(held.folds)} of {each.of}", str(held.queries)]
        + [f"{100 * row[measure]:.2f}" if measure in row else "-" for measure in measures]
        for each in rows
        for name, held in each.measured.items()
        for row in [each.models[name]]
    ]
    if markdown:
        return "\n".join(f"| {' | '.join(line)} |" for line in [head, ["---"] * len(head), *lines])
    widths = [max(len(line[column]) for line in [head, *lines]) for column in range(len(head))]
    return "\n".join(
        "  ".join([line[0].ljust(widths[0]), *(c.rjust(w) for c, w in zip(line[1:], widths[1:], strict=True))])
        for line in [head, *lines]
    )
