"""Trains and measures the models a federated one is compared with, and the models that clients hold.

Imports neither flwr nor tenseal nor ray: `scripts.baseline` runs where only torch, torchvision, timm and hydra are.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from app.arrays import Arrays, float_arrays, load_arrays, private_patterns
from app.data.reader import Direction
from app.data.sample import Sample
from app.settings import Settings
from app.tasks import make_task
from app.tasks.task import Task
from app.training import TrainReport, total_steps, train
from strategies.shared_arrays import is_private

Measures = dict[str, Any]
Progress = Callable[[str, int, int], None]
"""Called with a model's name, steps done and steps in all."""
SETTINGS_KEY = "settings"


def client_seed(settings: Settings, name: str) -> int:
    """The seed of a client's batches; depends on its name, not on the order in which nodes connect."""
    return int(np.random.SeedSequence([settings.seed, *name.encode()]).generate_state(1)[0])


def train_alone(
    settings: Settings, samples: Sequence[Sample], name: str, progress: Progress | None = None
) -> tuple[Task, nn.Module, TrainReport]:
    """One model on these pictures for the whole run's epochs: stand-alone for a client's, centralised for all."""
    task = make_task(settings)
    network = task.build(task.num_labels(samples), settings.seed)
    if settings.train.head_init == "centres":
        task.set_heads(network, samples, task.compute.device)
    batches = task.batches(samples, client_seed(settings, name))
    total = total_steps(batches, settings.train.epochs)
    done = 0

    def step(_: int) -> None:
        nonlocal done
        done += 1
        if progress is not None:
            progress(name, done, total)

    report = train(
        task,
        network,
        batches,
        steps=(0, total),
        total=total,
        settings=replace(settings.train, fedprox_mu=0.0),
        data=settings.data,
        compute=task.compute,
        private=private_patterns(network, settings.federation),
        progress=step,
    )
    return task, network, report


def measure(task: Task, network: nn.Module, directions: Sequence[Direction]) -> Measures:
    """Measures of one network; "directions" holds those of each direction where there are several."""
    evaluation = task.evaluate(network, directions, task.compute.device)
    measures: Measures = dict(evaluation.measures)
    if len(evaluation.directions) > 1:
        measures["directions"] = evaluation.directions
    return measures


def measure_arrays(settings: Settings, arrays: Arrays, directions: Sequence[Direction]) -> Measures:
    """Measures of the network that these arrays belong to; private classifiers may be missing."""
    task = make_task(settings)
    network = task.build(1, settings.seed)
    require_complete(network, arrays, settings)
    load_arrays(network, arrays)
    return measure(task, network, directions)


def require_complete(network: nn.Module, arrays: Mapping[str, Any], settings: Settings) -> None:
    """Raise ValueError naming the first array that the network needs to embed and that is not there."""
    for name in float_arrays(network):
        if name not in arrays and not is_private(name, settings.federation.private):
            raise ValueError(f"array {name!r} is missing: it is another network's checkpoint")


def mean_of_clients(rows: Mapping[str, Measures]) -> Measures:
    """Means over clients of every plain measure, the rows beside them under "clients"."""
    first = next(iter(rows.values()))
    names = [name for name, value in first.items() if isinstance(value, int | float)]
    means: Measures = {name: float(np.mean([row[name] for row in rows.values()])) for name in names}
    return {**means, "clients": dict(rows)}


def without_classifier(arrays: Arrays, settings: Settings) -> Arrays:
    """The arrays of a checkpoint: what is needed to embed, not the rows that stand for a client's vehicles."""
    return {name: array for name, array in arrays.items() if not is_private(name, settings.federation.private)}


def checkpoint_metadata(settings: Settings) -> dict[str, str]:
    """What a checkpoint carries so that its network can be built again."""
    return {SETTINGS_KEY: json.dumps(settings.as_dict())}


def bad_pictures(folder: Path) -> dict[str, str]:
    """Pictures that the clients below `folder` could not read, with the reason."""
    found: dict[str, str] = {}
    for path in sorted(folder.rglob("bad_pictures.json")):
        found |= json.loads(path.read_text(encoding="utf-8"))
    return found
