"""Check before training that the evaluation afterwards has queries with a true match."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from app.data.dataset import Source
from app.data.readers.reader import Direction
from app.evaluation.matches import Counts
from app.settings.checks import SettingsError
from app.settings.load import Settings
from app.tasks.task import Task
from models.errors import FedVehicleReidError

_REMEDIES = {
    "data.val_split": "data.val_split=SPLIT names another one, data.val_split= measures no rounds",
    "data.eval_split": "data.eval_split=SPLIT names another one, and with data.holdout=0.2 data.eval_split=holdout a "
    "fifth of the training vehicles is kept for it",
}

_FEW = 10
"""Queries of which one more or less is a tenth of every figure."""


def require_measurable(settings: Settings, source: Source, task: Task, num_clients: int = 0) -> None:
    """Open `data.val_split` and `data.eval_split`, without decoding an image.

    Args:
        num_clients: simulated clients between whom the first is divided; 0 if it is measured as a whole.

    Raises SettingsError naming the split, what is wrong with it, and the remedy."""
    for problem in evaluation_problems(settings, source, task, num_clients):
        raise SettingsError(problem)


def evaluation_problems(settings: Settings, source: Source, task: Task, num_clients: int = 0) -> Iterator[str]:
    """Faults of the measured splits; see `require_measurable`."""
    splits = {"data.val_split": settings.data.val_split, "data.eval_split": settings.data.eval_split}
    for key, split in splits.items():
        if not split and key == "data.val_split":
            continue
        try:
            if num_clients and key == "data.val_split":
                parts = source.evaluation_parts(split, num_clients)
            else:
                parts = [source.evaluation(split)]
            reason = unmeasurable(task, parts, settings.data.reader)
        except (FedVehicleReidError, OSError) as error:
            reason = str(error)
        if reason:
            yield f"{key}={split}: {reason}; {_REMEDIES[key]}"


def unmeasurable(task: Task, parts: Sequence[Sequence[Direction]], reader: str) -> str:
    """Reason why nothing can be measured on these directions of one client or several; "" if something can."""
    if any(counts.matched for part in parts for counts in task.countable(part).values()):
        return ""
    together: dict[str, Direction] = {}
    for direction in (each for part in parts for each in part):
        before = together.get(direction.name, Direction(direction.name, (), ()))
        query, gallery = (*before.query, *direction.query), (*before.gallery, *direction.gallery)
        together[direction.name] = Direction(direction.name, query, gallery)
    counts = task.countable(list(together.values()))
    queries = sum(each.queries for each in counts.values())
    if not queries:
        return "there is nothing to measure in it"
    if any(each.matched for each in counts.values()):
        return f"none of its {queries} queries has a true match at the same client"
    return f"none of its {queries} queries {task.unmatched}{_hint(counts, reader)}"


def _hint(counts: Mapping[str, Counts], reader: str) -> str:
    if any(each.cameras > 1 for each in counts.values()) or not any(each.cameras for each in counts.values()):
        return ""
    empty = (
        "; where the column camid is empty, each image counts as a camera of its own" if reader == "manifest" else ""
    )
    return f", and there is one camera alone{empty}"


def query_remarks(models: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Sentences about figures that rest on fewer queries than were asked, or on very few."""
    counts = {
        (int(row["queries"]), int(row.get("skipped", 0))) for row in models.values() if {"mAP", "queries"} <= row.keys()
    }
    remarks = []
    for queries, skipped in sorted(counts):
        if skipped:
            asked = queries + skipped
            remarks.append(
                f"measured by {queries} of {asked} queries: the others have no true match in another camera, or cannot "
                "be read"
            )
        elif queries < _FEW:
            remarks.append(f"measured by {queries} queries alone: one more or less changes every figure")
    return remarks


def evaluation_counts(task: Task, source: Source, splits: Iterable[str]) -> dict[str, dict[str, object]]:
    """Counts of each direction by split, or {"error": reason} for a split that cannot be opened."""
    found: dict[str, dict[str, object]] = {}
    for split in dict.fromkeys(filter(None, splits)):
        try:
            directions = source.evaluation(split)
        except (FedVehicleReidError, OSError) as error:
            found[split] = {"error": str(error)}
            continue
        rows = task.countable(directions).items()
        found[split] = {name: {"queries": c.queries, "gallery": c.gallery, "matched": c.matched} for name, c in rows}
    return found


def evaluation_table(found: Mapping[str, Mapping[str, object]]) -> str:
    """`evaluation_counts` as plain text."""
    rows: list[tuple[str, ...]] = [("split", "direction", "queries", "with a true match", "gallery")]
    errors: list[str] = []
    for split, directions in found.items():
        for name, row in directions.items():
            if isinstance(row, dict):
                rows.append((split, name, *(str(row[key]) for key in ("queries", "matched", "gallery"))))
            else:
                errors.append(f"{split}: {row}")
    widths = [max(len(cell) for cell in column) for column in zip(*rows, strict=True)]
    lines = ["  ".join(f"{cell:>{width}}" for cell, width in zip(row, widths, strict=True)) for row in rows]
    return "\n".join([*(lines if len(rows) > 1 else []), *errors])
