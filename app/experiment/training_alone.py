"""Training of a model without the federation: of a client on its own images, or centralised on all."""

import logging
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from functools import partial

import numpy as np
from torch import nn

from app.core.arrays import Arrays, float_views, home_patterns, load_arrays
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
_KIND, _NUMBER = "alone", 0  # of the store's files: the training depends on no round
_ARRAY, _MOMENT = "array/", "moment/"
_PARTS = 25  # each begins with empty caches of the processes that read images


class KeptTraining:
    """What a node has of a model that it trains alone, in its store: a process that is killed goes on from there.

    Args:
        key: of everything that the training depends on; with another one nothing is taken.
        keeping: block in which this process may write to the store.
        every: seconds at least between two writes but the last.
    """

    def __init__(
        self, store: NodeStore, key: str, keeping: Callable[[], AbstractContextManager[None]], every: float = 300.0
    ) -> None:
        self.store, self.key, self.keeping, self.every = store, key, keeping, every
        self._written = time.monotonic()

    def take(self, network: nn.Module, total: int) -> tuple[int, State]:
        """Load what is kept into the network; returns the steps done, of `total`, and the optimiser's moments. 0 steps
        and the network as it is if nothing is kept that fits, with a line in the log for what does not."""
        if _NUMBER not in self.store.rounds(_KIND):
            return 0, {}
        try:
            held, about = self.store.read(_KIND, _NUMBER)
            done = int(about["steps"])
            arrays = _of(_ARRAY, held)
            if (about["key"], about["total"]) != (self.key, str(total)) or not 0 <= done <= total:
                raise NodeStoreError("what is kept of it has other settings or images")
            if _shapes(arrays) != _shapes(float_views(network)):
                raise NodeStoreError("what is kept of it is of another network")
        except (NodeStoreError, KeyError, ValueError) as error:
            _log.warning("the model trained alone begins anew: %s", error)
            return 0, {}
        load_arrays(network, arrays)
        return done, _of(_MOMENT, held)

    def keep(self, done: int, total: int, network: nn.Module, moments: State) -> None:
        """Keep the state after `done` steps, unless the last time is less than `every` seconds ago. A full disk, or
        another error of it, costs no training: only what is kept is older then.

        Raises OutdatedAttemptError if this process may no longer write."""
        if done < total and time.monotonic() - self._written < self.every:
            return
        named = {f"{_ARRAY}{name}": array for name, array in float_views(network).items()}
        if done < total:
            named |= {f"{_MOMENT}{name}": array for name, array in moments.items()}
        try:
            with self.keeping():
                self._sweep()
                self.store.write(_KIND, _NUMBER, named, {"key": self.key, "steps": str(done), "total": str(total)})
        except OSError as error:
            _log.warning("the model trained alone is not kept after step %d: %s", done, error)
        self._written = time.monotonic()

    def drop(self) -> None:
        """Forget it: the personal model is made."""
        self._sweep()
        self.store.drop_after(_KIND, _NUMBER - 1)

    def _sweep(self) -> None:
        """Delete what a process that was killed while it wrote has left: three times the network."""
        for path in self.store.folder.glob(f".{_KIND}-*.tmp"):
            path.unlink(missing_ok=True)


def _of(prefix: str, held: Arrays) -> Arrays:
    return {name.removeprefix(prefix): array for name, array in held.items() if name.startswith(prefix)}


def _shapes(arrays: Arrays) -> dict[str, tuple[int, ...]]:
    return {name: array.shape for name, array in arrays.items()}


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
    """The network of `train_alone`, trained in parts that are kept: a process that is killed meanwhile goes on from
    there, with the same result as far as training draws no random numbers (dropout does).

    Raises OutdatedAttemptError if this process may no longer write to the store."""
    network, total, stretch = _begun(settings, samples, name, task)
    done, moments = kept.take(network, total)
    if done:
        _log.info("%s: goes on at step %d of %d of the model trained alone", name, done, total)
    for part in range(1, _PARTS + 1):
        end = round_steps(total, part, _PARTS)[1]
        if end > done:
            moments = stretch(steps=(done, end), optimiser=moments).optimiser
            done = end
            kept.keep(done, total, network, moments)
    return network


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
