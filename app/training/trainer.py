"""Local training of any task: the one trainer of federated, stand-alone and centralised models.

Batch i and the learning rate of step i depend on the seed and on i alone, so training from step a to b and from b to c
equals training from a to c, as long as the optimiser's state is carried over.
"""

import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from app.core.device import Compute
from app.settings.sections import DataSettings, TrainSettings
from app.tasks.task import Batch, Batches, Task
from app.training.optimiser import (
    State,
    load_optimiser_state,
    make_optimiser,
    optimiser_state,
    set_learning_rate,
)
from models.errors import FedVehicleReidError
from models.losses.memory import EmbeddingMemory, taken_from

_TIMED_EVERY = 8  # steps; on a GPU a timed step waits for the device, the others do not


class TrainingError(FedVehicleReidError, RuntimeError):
    """Training cannot go on; the message says at which step and why."""


@dataclass
class TrainReport:
    """What a stretch of training did. `losses` are means over its steps; `seconds` by kind of work."""

    num_images: int = 0
    steps: int = 0
    losses: dict[str, float] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    lr: float = 0.0
    bad: set[str] = field(default_factory=set)
    optimiser: State = field(default_factory=dict)


def total_steps(batches: Batches, epochs: float) -> int:
    """Steps of a whole run of `epochs` epochs, at least 1."""
    return max(1, round(epochs * batches.batches_per_epoch))


def round_steps(total: int, server_round: int, rounds: int) -> tuple[int, int]:
    """First and one-past-last step of a round, 1..rounds: the run in equal parts, which may be less than an epoch."""
    return total * (server_round - 1) // rounds, total * server_round // rounds


def train(
    task: Task,
    network: nn.Module,
    batches: Batches,
    *,
    steps: tuple[int, int],
    total: int,
    settings: TrainSettings,
    data: DataSettings,
    compute: Compute,
    private: Sequence[str],
    optimiser: State | None = None,
    anchor: dict[str, Tensor] | None = None,
    progress: Callable[[int], None] | None = None,
) -> TrainReport:
    """Train `network` in place from step `steps[0]` up to, not including, `steps[1]` of `total`.

    Args:
        private: patterns of the private arrays, which learn at `head_lr_scale`.
        optimiser: moments to go on with, and what the task's losses remember; both are taken out of it. None starts
            afresh.
        anchor: parameters by name to which FedProx pulls; None for no pull.
        progress: called after each step with the number of images in it.

    Raises TrainingError naming the step, from 0, at which the loss or its gradient is not finite; the network is then
    not to be used.
    """
    first, last = steps
    report = TrainReport(seconds=dict.fromkeys(("data", "forward", "backward", "step"), 0.0))
    engine = make_optimiser(network, settings, list(private))
    memory = _memory_of(task)
    kept = taken_from(optimiser) if optimiser else {}
    if memory is not None:
        memory.begin(kept)
    if optimiser:
        load_optimiser_state(network, engine, optimiser)
    pull = _ProximalPull(network, anchor, settings.fedprox_mu) if anchor is not None and settings.fedprox_mu else None
    parameters = [parameter for parameter in network.parameters() if parameter.requires_grad]
    sums: dict[str, Tensor] = {}
    counts: dict[str, int] = {}
    clock, watch = _Clock(compute.device, report.seconds), _Watch(total, batches.batches_per_epoch)
    network.train()
    for index, batch in enumerate(_stream(batches, first, last, data), start=first):
        timed = compute.device.type == "cpu" or (index - first) % _TIMED_EVERY == _TIMED_EVERY - 1
        clock.lap("data", timed)
        moved = batch.to(compute.device)
        report.lr = set_learning_rate(engine, index, total, settings)
        if memory is not None:
            memory.progress = index / total
        parts = task.losses(network, moved)
        clock.lap("forward", timed)
        watch.note(index, report.lr, parts)
        if timed or index == last - 1:
            watch.require_finite()
        engine.zero_grad(set_to_none=True)
        parts["total"].backward()
        clock.lap("backward", timed)
        if pull is not None:
            pull.add_to_gradients()
        if settings.clip_norm:
            norm = nn.utils.clip_grad_norm_(parameters, settings.clip_norm)
            watch.note(index, report.lr, {"norm of the gradient": norm})
            if timed or index == last - 1:
                watch.require_finite()
        engine.step()
        for name, value in parts.items():
            sums[name] = sums[name] + value.detach() if name in sums else value.detach()
            counts[name] = counts.get(name, 0) + 1
        report.num_images += batch.num_images
        report.steps += 1
        report.bad.update(batch.bad)
        clock.lap("step", timed)
        if progress is not None:
            progress(batch.num_images)
    if report.steps and clock.timed_steps:
        report.seconds = {k: v * report.steps / clock.timed_steps for k, v in report.seconds.items()}
    report.losses = {name: float(value) / counts[name] for name, value in sums.items()}
    if report.steps:
        watch.require_finite_arrays(network, last - 1, report.lr)
    report.optimiser = optimiser_state(network, engine) | (memory.state() if memory is not None else {})
    engine.zero_grad(set_to_none=True)  # gradients take as much memory as the network
    return report


def _memory_of(task: Task) -> EmbeddingMemory | None:
    """What the losses of a task remember; few tasks have it."""
    memory = getattr(task, "memory", None)
    return memory if isinstance(memory, EmbeddingMemory) else None  # a task of another package may mean anything by it


class _ProximalPull:
    """FedProx: adds mu (w - w_anchor) to the gradient (Li et al., 2020, arXiv:1812.06127, Eq. 2)."""

    def __init__(self, network: nn.Module, anchor: dict[str, Tensor], mu: float) -> None:
        pairs = [(p, anchor[name]) for name, p in network.named_parameters() if name in anchor]
        self.parameters = [p for p, _ in pairs]
        self.targets = [target.to(p) for p, target in pairs]
        self.mu = mu

    @torch.no_grad()
    def add_to_gradients(self) -> None:
        chosen = [(p, t) for p, t in zip(self.parameters, self.targets, strict=True) if p.grad is not None]
        gradients: list[Any] = [p.grad for p, _ in chosen]
        torch._foreach_add_(gradients, [p.detach() - t for p, t in chosen], alpha=self.mu)


class _Clock:
    """Splits time between kinds of work; a GPU is waited for only at the laps that are counted."""

    def __init__(self, device: torch.device, seconds: dict[str, float]) -> None:
        self.device = device
        self.seconds = seconds
        self.timed_steps = 0
        self.last = time.perf_counter()

    def lap(self, kind: str, timed: bool) -> None:
        if timed and self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        now = time.perf_counter()
        if timed:
            self.seconds[kind] += now - self.last
            self.timed_steps += kind == "step"
        self.last = now


def _stream(batches: Batches, first: int, last: int, data: DataSettings) -> Iterator[Batch]:
    """Batches first..last - 1, made ahead of time by worker processes if there are any."""
    if not data.workers:
        for index in range(first, last):
            yield batches[index]
        return
    loader: DataLoader[Any] = DataLoader(
        batches,  # type: ignore[arg-type]  # indexable is enough with a sampler
        batch_size=None,
        sampler=range(first, last),
        num_workers=data.workers,
    )
    try:
        yield from loader
    except FedVehicleReidError as error:  # PyTorch puts the traceback of the worker before the message
        raise type(error)(str(error).strip().splitlines()[-1].partition(": ")[2]) from error
    except RuntimeError as error:
        if not str(error).startswith("DataLoader worker"):
            raise
        ended = "a process that makes batches was ended, such as for want of memory"
        raise TrainingError(f"{ended}; data.workers=0 makes them without one") from error


class _Watch:
    """Names the first step at which training diverged, though a GPU is waited for at some steps alone.

    Args:
        total: steps of the whole run.
        per_epoch: steps of an epoch.
    """

    def __init__(self, total: int, per_epoch: int) -> None:
        self.total, self.per_epoch = total, max(1, per_epoch)
        self._noted: list[tuple[int, float, dict[str, Tensor]]] = []

    def note(self, step: int, lr: float, values: dict[str, Tensor]) -> None:
        """Keep what has to be finite, to be looked at later."""
        self._noted.append((step, lr, {name: value.detach() for name, value in values.items()}))

    def require_finite(self) -> None:
        """Look at what was noted. Raises TrainingError naming the first step with a value that is not finite."""
        for step, lr, tensors in self._noted:
            values = {name: float(tensor) for name, tensor in tensors.items()}
            if not all(math.isfinite(value) for value in values.values()):
                raise self._diverged(step, lr, ", ".join(f"{name} {value:g}" for name, value in values.items()))
        self._noted.clear()

    def require_finite_arrays(self, network: nn.Module, step: int, lr: float) -> None:
        """Raise TrainingError naming an array of the network that is not finite after the last step."""
        for name, tensor in network.state_dict().items():
            if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
                raise self._diverged(step, lr, f"values of {name} after it")

    def _diverged(self, step: int, lr: float, found: str) -> TrainingError:
        place = f"steps 0 to {self.total - 1}, epoch {step // self.per_epoch + 1}, learning rate {lr:g}"
        return TrainingError(
            f"training diverged, not finite at step {step}: {found} ({place}); lower train.lr, or lengthen "
            "train.warm_up, or set train.clip_norm if it is 0"
        )
