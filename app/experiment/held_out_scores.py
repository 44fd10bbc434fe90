"""Scores of a client's candidates on the vehicles that it holds out, and how certain a gain is."""

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray
from torch import nn

from app.data.readers.reader import Direction
from app.evaluation.ranking import NoValidQueryError
from app.settings.load import Settings
from app.tasks.task import EmbeddingTask, Task

_RESAMPLES = 2000
Scores = dict[int, tuple[float, float]]
"""By vehicle: its score times its queries, and its queries."""


class Judge:
    """Scores of networks on held-out vehicles, by vehicle.

    Args:
        directions: the held-out queries and galleries.
    """

    def __init__(self, task: Task, directions: Sequence[Direction], settings: Settings) -> None:
        self.task = task
        self.headline = settings.measures[0]
        self._directions = [part for direction in directions for part in self._by_vehicle(direction)]

    def _by_vehicle(self, direction: Direction) -> Iterator[Direction]:
        """A direction for each vehicle, against the whole gallery; what is not compared is measured by itself."""
        ranks = isinstance(self.task, EmbeddingTask)
        images = direction.query if ranks else tuple(dict.fromkeys((*direction.query, *direction.gallery)))
        for pid in sorted({sample.pid for sample in images}):
            own = tuple(sample for sample in images if sample.pid == pid)
            yield Direction(f"{pid}:{direction.name}", own, direction.gallery if ranks else ())

    def scores(self, network: nn.Module) -> Scores:
        """The headline measure of each vehicle that has one. Raises NoValidQueryError if none has."""
        if not self._directions:
            raise NoValidQueryError("there are no queries")
        found: Scores = {}
        for name, row in self.task.evaluate(network, self._directions, self.task.compute.device).directions.items():
            pid = int(name.partition(":")[0])
            total, count = found.get(pid, (0.0, 0.0))
            found[pid] = total + row[self.headline] * row["queries"], count + row["queries"]
        return found


def mean_score(scores: Scores) -> float:
    """Mean over all queries."""
    return sum(total for total, _ in scores.values()) / sum(count for _, count in scores.values())


def gain_bound(base: Scores, found: Scores, confidence: float) -> float:
    """Lower bound of the gain of `found` over `base`, from resampled vehicles; always of the same resamples."""
    pids = sorted(base)
    gains: NDArray[np.float64] = np.array([found.get(pid, (0.0, 0.0))[0] - base[pid][0] for pid in pids])
    counts: NDArray[np.float64] = np.array([base[pid][1] for pid in pids])
    chosen = np.random.default_rng(0).integers(len(pids), size=(_RESAMPLES, len(pids)))
    return float(np.quantile(gains[chosen].sum(axis=1) / counts[chosen].sum(axis=1), 1 - confidence))
