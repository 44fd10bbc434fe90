"""Test images of each client's own place, and measures on them."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import nn

from app.data.dataset import Source
from app.data.readers.reader import Direction
from app.evaluation.ranking import NoValidQueryError
from app.settings.load import Settings
from app.tasks.task import Task

OWN, PLACE, OWN_REASON = "own", "place", "own_reason"
"""Keys of measures: those on a client's own images, the client's site, and the reason why there are none."""


@dataclass(frozen=True)
class OwnTests:
    """Parts of `data.eval_split`.

    Args:
        directions: by client; empty if the split does not tell whose its images are.
        places: the site of a client, where sites are the clients.
        reason: why `directions` is empty.
    """

    directions: dict[str, list[Direction]] = field(default_factory=dict)
    places: dict[str, str] = field(default_factory=dict)
    reason: str = ""

    @classmethod
    def of(cls, source: Source, settings: Settings) -> "OwnTests":
        """The parts for the simulated clients of a run."""
        count = settings.federation.num_clients
        parts, reason = source.own_parts(settings.data.eval_split, count)
        if parts is None:
            return cls(reason=reason)
        clients = [f"client-{number}" for number in range(len(parts))]
        sites = sorted({sample.site for sample in source.train() if sample.site is not None})
        by_site = settings.data.partition.by == "site"
        return cls(dict(zip(clients, parts, strict=True)), dict(zip(clients, sites, strict=False)) if by_site else {})

    def measure(self, task: Task, network: nn.Module, client: str) -> dict[str, Any]:
        """Measures of a network on this client's part; its place alone if nothing can be measured there."""
        place = {PLACE: self.places[client]} if client in self.places else {}
        return {**place, **_measured(task, network, self.directions.get(client, []))}


def _measured(task: Task, network: nn.Module, directions: Sequence[Direction]) -> dict[str, float]:
    if not any(direction.query for direction in directions):
        return {}
    try:
        return task.evaluate(network, directions, task.compute.device).measures
    except NoValidQueryError:
        return {}
