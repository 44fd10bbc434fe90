"""Measures of a client's network on its own validation images, as they travel to the server."""

import math
import time
from collections.abc import Mapping, Sequence

from torch import nn

from app.data.readers.reader import Direction
from app.evaluation.ranking import NoValidQueryError
from app.tasks.task import Task


def evaluation_loss(measures: Mapping[str, float], headline: str) -> float:
    """1 less the headline measure of the global model, a share; NaN if nothing was measured."""
    return 1.0 - measures.get(f"global_{headline}", math.nan)


def global_measures(task: Task, network: nn.Module, directions: Sequence[Direction]) -> dict[str, float]:
    """Measures of the global model by name, with their seconds; empty if there is nothing to rank."""
    if not directions:
        return {}
    started = time.perf_counter()
    try:
        evaluation = task.evaluate(network, directions, task.compute.device)
    except NoValidQueryError:
        return {}  # this client's share of the split has nothing to rank; the others measure
    measures = {f"global_{name}": value for name, value in evaluation.measures.items()}
    return {**measures, "seconds_measure": time.perf_counter() - started}
