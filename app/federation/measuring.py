"""Measures of a client's network on its own validation images, as they travel to the server."""

import time
from collections.abc import Sequence

from torch import nn

from app.data.readers.reader import Direction
from app.evaluation.ranking import NoValidQueryError
from app.tasks.task import Task


def global_measures(task: Task, network: nn.Module, directions: Sequence[Direction]) -> dict[str, float]:
    """Measures of the global model by name, with the seconds they took; empty where there is nothing to rank."""
    if not directions:
        return {}
    started = time.perf_counter()
    try:
        evaluation = task.evaluate(network, directions, task.compute.device)
    except NoValidQueryError:
        return {}  # this client's share of the split has nothing to rank; the others measure
    measures = {f"global_{name}": value for name, value in evaluation.measures.items()}
    return {**measures, "seconds_measure": time.perf_counter() - started}
