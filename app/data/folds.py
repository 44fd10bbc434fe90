"""Division of the vehicles into folds for cross-validation; a sequence of photographs is never divided."""

from collections.abc import Sequence

from app.core.sample import Sample
from app.data.readers.errors import DataSetError

FOLD = "fold"
"""The split of the vehicles that `data.fold` keeps out of training."""


def folds_of(samples: Sequence[Sample], number: int) -> list[set[int]]:
    """The pids of each of `number` folds; no seed but a reader's own and no order of `samples` changes them.

    Vehicles of one sequence are in one fold, and so are sequences with a vehicle in common. Groups are dealt by size,
    the largest first, each to the fold with the fewest vehicles.

    Raises DataSetError if there are fewer groups than folds."""
    groups = _together(samples)
    if len(groups) < number:
        kind = "sequences" if any(sample.sequence is not None for sample in samples) else "vehicles"
        raise DataSetError(f"data.folds={number}: the set has {len(groups)} {kind} that can be kept apart")
    folds: list[set[int]] = [set() for _ in range(number)]
    for group in sorted(groups, key=lambda pids: (-len(pids), min(pids))):
        min(folds, key=len).update(group)  # the first of those with as few
    return folds


def _together(samples: Sequence[Sample]) -> list[set[int]]:
    """Vehicles that share a sequence, directly or through others."""
    groups: dict[int, set[int]] = {sample.pid: {sample.pid} for sample in samples}
    first: dict[str, int] = {}  # a vehicle of each sequence
    for sample in samples:
        if sample.sequence is None:
            continue
        one, other = groups[first.setdefault(sample.sequence, sample.pid)], groups[sample.pid]
        if one is not other:
            one |= other
            groups |= dict.fromkeys(other, one)
    return list({id(group): group for group in groups.values()}.values())
