"""Training of a model without the federation: of a client on its own images, or centralised on all."""

import logging
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from functools import partial

import numpy as np
from torch import nn

from app.core.arrays import Arrays, float_arrays, float_views, home_patterns, load_arrays
from app.core.node_store import NodeStore, NodeStoreError
from app.core.sample import Sample
from app.settings.load import Settings
from app.tasks import make_task
from app.tasks.task import Task
from app.training.optimiser import State
from app.training.trainer import TrainReport, round_steps, total_steps, train

_log = logging.getLogger("flwr")
Progress = Callable[[str, int, int], None]
"""Called with a model's name, steps done and steps in all."""
_KIND, _ARRAY, _MOMENT = "alone", "array/", "moment/"


class KeptTraining:
    """What a node has of a model that it trains alone, in its store: a process that is killed goes on from there.

    Args:
        server_round: of the global model that the model is held against.
        key: of everything that the training depends on; with another one nothing is read.
        keeping: block in which this process may write to the store.
    """

    def __init__(
        self, store: NodeStore, server_round: int, key: str, keeping: Callable[[], AbstractContextManager[None]]
    ) -> None:
        self.store, self.server_round, self.key, self.keeping = store, server_round, key, keeping

    def read(self) -> tuple[int, Arrays, State] | None:
        """Steps done, the network's arrays, and the optimiser's moments; None if nothing that fits is kept."""
        if self.server_round not in self.store.rounds(_KIND):
            return None
        try:
            held, about = self.store.read(_KIND, self.server_round)
            if about.get("key") != self.key:
                return None
            done = int(about["steps"])
        except (NodeStoreError, KeyError, ValueError) as error:
            _log.warning("a model trained alone begins anew: %s", error)
            return None
        return done, _of(_ARRAY, held), _of(_MOMENT, held)

    def write(self, done: int, arrays: Arrays, moments: State) -> None:
        """Keep the state after `done` steps. A full disk costs no training: only what was kept is older then.

        Raises OutdatedAttemptError if this process may no longer write."""
        named = {f"{_ARRAY}{name}": array for name, array in arrays.items()}
        named |= {f"{_MOMENT}{name}": array for name, array in moments.items()}
        with self.keeping():
            try:
                self.store.write(_KIND, self.server_round, named, {"key": self.key, "steps": str(done)})
            except OSError as error:
                _log.warning("the model trained alone is not kept after step %d: %s", done, error)

    def drop(self) -> None:
        """Forget it: the personal model is made."""
        self.store.drop_after(_KIND, -1)


def _of(prefix: str, held: Arrays) -> Arrays:
    return {name.removeprefix(prefix): array for name, array in held.items() if name.startswith(prefix)}


def client_seed(settings: Settings, name: str) -> int:
    """The seed of a client's batches; depends on its name, not on the order in which nodes connect."""
    return int(np.random.SeedSequence([settings.seed, *name.encode()]).generate_state(1)[0])


def train_alone(
    settings: Settings,
    samples: Sequence[Sample],
    name: str,
    progress: Progress | None = None,
    task: Task | None = None,
) -> tuple[Task, nn.Module, TrainReport]:
    """One model on these images, as they are, for the whole run's epochs: stand-alone for a client's, centralised for
    all. Enhanced images among them are used for training, and not for the classifier's centres. A task that is given is
    of these settings, and lends its cache of images."""
    task = task or make_task(settings)
    network, total, stretch = _begun(settings, samples, name, task)
    done = 0

    def step(_: int) -> None:
        nonlocal done
        done += 1
        if progress is not None:
            progress(name, done, total)

    if progress is not None:
        progress(name, 0, total)
    return task, network, stretch(steps=(0, total), progress=step)


def train_alone_kept(
    settings: Settings, samples: Sequence[Sample], name: str, task: Task, kept: KeptTraining
) -> nn.Module:
    """The network of `train_alone`, kept as often as the federation has rounds: a process that is killed meanwhile goes
    on from there, with the same result as far as training draws no random numbers (dropout does).

    Raises OutdatedAttemptError if this process may no longer write to the store."""
    network, total, stretch = _begun(settings, samples, name, task)
    done, moments = 0, None
    held = kept.read()
    if held is not None and _fits(network, held[1]):
        done, arrays, moments = held
        load_arrays(network, arrays)
        _log.info("%s: goes on at step %d of %d of the model trained alone", name, done, total)
    for server_round in range(1, settings.federation.rounds + 1):
        end = round_steps(total, server_round, settings.federation.rounds)[1]
        if end > done:
            moments = stretch(steps=(done, end), optimiser=moments).optimiser
            done = end
            kept.write(done, float_arrays(network), moments)
    return network


def _fits(network: nn.Module, arrays: Arrays) -> bool:
    own = float_views(network)
    return own.keys() == arrays.keys() and all(own[name].shape == arrays[name].shape for name in own)


def _begun(
    settings: Settings, samples: Sequence[Sample], name: str, task: Task
) -> tuple[nn.Module, int, Callable[..., TrainReport]]:
    """The network before its first step, all steps, and `train` for some of them."""
    network = task.build(task.num_labels(samples), settings.seed)
    if settings.train.head_init == "centres":
        task.set_heads(network, [s for s in samples if not s.enhanced], task.compute.device)
    batches = task.batches(samples, client_seed(settings, name))
    total = total_steps(batches, settings.train.epochs)
    stretch = partial(
        train,
        task,
        network,
        batches,
        total=total,
        settings=replace(settings.train, fedprox_mu=0.0),
        data=settings.data,
        compute=task.compute,
        private=home_patterns(network, settings.federation, task.heads),
    )
    return network, total, stretch
