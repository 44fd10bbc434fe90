"""Personal model of one client: the best of a few candidates between the global model and its own.

Candidates: the global model as it is; with BatchNorm statistics of the client's own images; the mean of the last global
models, if the run asks for it (Izmailov et al., 2018, arXiv:1803.05407); and the points 1/4, 1/2,
3/4 and 1 of straight lines from the global model to the client's copy of its last round, to the global model
fine-tuned on the client's images, a line for each rate (the line of weights as in Wortsman et al., 2022,
arXiv:2109.01903), and to a model that the client trains without the federation. BatchNorm statistics of points inside a
line are estimated anew, as averages of statistics fit neither end.

Chosen on held-out vehicles (`app.experiment.held_out`): the candidate whose gain over the global model has the highest
lower bound, by resampling vehicles; the global model stays unless that bound is above 0. The images of one vehicle are
alike, so that vehicles are resampled and not images. The bound and not the gain decides, as the best of a dozen
candidates is often best by chance. With a model trained alone nothing is chosen that scores below it, the global model
neither, so that no client is worse off than without the federation as far as its held-out vehicles show.
"""

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from app.core.arrays import Arrays, float_arrays, home_patterns, load_arrays
from app.core.sample import Sample
from app.evaluation.ranking import NoValidQueryError
from app.experiment.held_out import HeldOut
from app.experiment.held_out_scores import Judge, gain_bound, mean_score
from app.experiment.training_alone import KeptTraining, client_seed, train_alone, train_alone_kept
from app.settings.load import Settings
from app.tasks import make_task
from app.tasks.task import Batch, Task
from app.training.checkpoint import without_heads
from app.training.trainer import TrainingError, total_steps, train
from strategies.shared_arrays import is_private

_log = logging.getLogger("flwr")
SHARES = (0.25, 0.5, 0.75, 1.0)
"""Points of a line, as shares of the way from the global model."""
_STATISTICS_BATCHES = 16
GLOBAL, STATISTICS, AVERAGE, LOCAL, TUNED, ALONE = "global", "statistics", "average", "local", "tuned", "alone"


class Candidate(NamedTuple):
    """One point.

    Args:
        line: "global", "statistics", "average", "local", "alone", or "tuned" with its rate.
        share: of the way from the global model.
        arrays: of the network, without heads.
    """

    line: str
    share: float
    arrays: Arrays

    @property
    def name(self) -> str:
        return self.line if self.line in (GLOBAL, STATISTICS, AVERAGE) else f"{self.line}, {self.share:g} of the way"


class Personal(NamedTuple):
    """A client's personal model, without heads, and the figures that it was chosen by."""

    arrays: Arrays
    report: dict[str, Any]


def personalise(
    task: Task,
    settings: Settings,
    held_out: HeldOut,
    models: Mapping[str, Arrays],
    name: str,
    kept: KeptTraining | None = None,
) -> Personal:
    """The personal model of client `name`; the global one if none is better, and it is not below the one trained alone.

    Args:
        held_out: the client's images.
        models: "global", "local" if the client has trained, and "average" of the last global models if the run has
            them, each with private arrays.
        kept: what a process that was killed has left of the model trained alone.
    """
    unchanged = without_heads(models[GLOBAL], task)
    judge = Judge(task, held_out.directions, settings)
    report: dict[str, Any] = {"chosen": GLOBAL, "held_out": held_out.source, "measure": judge.headline}
    if not held_out.directions:
        return Personal(unchanged, {**report, "reason": held_out.source})
    whole, task, samples = task, _of_own_images(task, settings), task.learnable(held_out.samples)
    network = task.build(task.num_labels(samples), settings.seed, pretrained=False)
    load_arrays(network, models[GLOBAL])
    try:
        base = judge.scores(network)
    except NoValidQueryError as error:
        return Personal(unchanged, {**report, "reason": f"nothing to choose by: {error}"})
    report |= {"vehicles": len(base), GLOBAL: mean_score(base)}
    if len(base) < settings.personalise.least:
        few = f"{len(base)} held-out vehicles are fewer than the {settings.personalise.least} needed to choose by"
        return Personal(unchanged, {**report, "reason": few})
    if settings.personalise.alone and (alone := trained_alone(whole, settings, samples, models[GLOBAL], name, kept)):
        models = {**models, ALONE: alone}
    best, rows = Candidate(GLOBAL, 0.0, unchanged), [{"candidate": GLOBAL, "score": mean_score(base), "bound": 0.0}]
    highest, floor = 0.0, -np.inf
    for candidate in candidates(task, settings, network, samples, models, name):
        load_arrays(network, candidate.arrays)
        found = judge.scores(network)
        score, bound = mean_score(found), gain_bound(base, found, settings.personalise.confidence)
        rows.append({"candidate": candidate.name, "score": score, "bound": bound})
        if candidate.line == ALONE and candidate.share == 1:  # the first candidate
            report[ALONE] = floor = score
            if report[GLOBAL] < floor:
                best, highest = candidate, bound
        if bound > highest and score >= floor:
            best, highest = candidate, bound
    report |= {"chosen": best.name, "candidates": rows}
    report |= {"score": next(row["score"] for row in rows if row["candidate"] == best.name), "bound": highest}
    highest_bound = "its gain over the global model has the highest lower bound"
    if best.line == GLOBAL:
        report["reason"] = f"no candidate is better with a confidence of {settings.personalise.confidence:g}"
    elif report[GLOBAL] < floor:
        report["reason"] = f"the global model scores below the one trained alone; of what does not, {highest_bound}"
    else:
        report["reason"] = highest_bound
    return Personal(best.arrays, report)


def _of_own_images(task: Task, settings: Settings) -> Task:
    """A task whose batches hold the client's images alone, without rendered plates, which are of every country."""
    data = settings.data
    if not data.made_plates.share:
        return task
    return make_task(replace(settings, data=replace(data, made_plates=replace(data.made_plates, share=0.0))))


def candidates(
    task: Task,
    settings: Settings,
    network: nn.Module,
    samples: Sequence[Sample],
    models: Mapping[str, Arrays],
    name: str,
) -> Iterator[Candidate]:
    """All candidates but the global model, those nearest to it first in each line; the model trained alone before all
    others, as they are held against it. `network` is written to."""
    start = without_heads(models[GLOBAL], task)
    batches = task.batches(samples, client_seed(settings, name))
    # The same ones for every candidate; making a batch takes as long as a network needs for it.
    shown = [batches[index] for index in range(min(batches.batches_per_epoch, _STATISTICS_BATCHES))]
    inside = partial(_with_statistics, task, network, shown, settings.seed)
    if ALONE in models:
        yield Candidate(ALONE, 1.0, models[ALONE])
        yield from _line(ALONE, start, models[ALONE], inside, SHARES[:-1])
    if _norms(network):
        load_arrays(network, models[GLOBAL])
        yield Candidate(STATISTICS, 0.0, inside(start))
    if AVERAGE in models:
        yield Candidate(AVERAGE, 1.0, inside(without_heads(models[AVERAGE], task)))
    if LOCAL in models:
        yield from _line(LOCAL, start, without_heads(models[LOCAL], task), inside)
    if settings.personalise.tuning_epochs:
        for rate in settings.personalise.rates:
            try:
                end = fine_tuned(task, settings, network, samples, models[GLOBAL], rate, name)
            except TrainingError as error:  # too high a rate must not cost the other candidates
                _log.warning("%s: no candidates tuned at %g: %s", name, rate, error)
                continue
            yield from _line(f"{TUNED} at {rate:g}", start, end, inside)


def trained_alone(
    task: Task,
    settings: Settings,
    samples: Sequence[Sample],
    global_model: Arrays,
    name: str,
    kept: KeptTraining | None = None,
) -> Arrays | None:
    """The network trained on these images with the run's settings, from its start and for `train.epochs`, without
    heads. Arrays that no image of the client reached, as a plate network's without plates, are those of the global
    model. None if training fails."""
    _log.info("%s: trains a model alone, to hold the others against", name)
    try:
        if kept is None:
            network = train_alone(settings, samples, name, task=task)[1]
        else:
            network = train_alone_kept(settings, samples, name, task, kept)
    except (TrainingError, torch.OutOfMemoryError) as error:
        _log.warning("%s: no candidates trained alone: %s", name, error)
        return None
    start = float_arrays(task.build(task.num_labels(samples), settings.seed))
    found = without_heads(float_arrays(network), task)
    return {n: global_model[n] if np.array_equal(array, start[n]) else array for n, array in found.items()}


def _line(
    line: str, start: Arrays, end: Arrays, inside: Callable[[Arrays], Arrays], shares: Sequence[float] = SHARES
) -> Iterator[Candidate]:
    for share in shares:
        arrays = between(start, end, share)
        yield Candidate(line, share, inside(arrays) if share < 1 else arrays)


def _with_statistics(task: Task, network: nn.Module, batches: Sequence[Batch], seed: int, arrays: Arrays) -> Arrays:
    """The same arrays with BatchNorm statistics of these batches."""
    if not _norms(network):
        return arrays
    load_arrays(network, arrays)
    estimate_statistics(task, network, batches, seed)
    return without_heads(float_arrays(network), task)


def between(start: Arrays, end: Arrays, share: float) -> Arrays:
    """The point at `share` of the way; at 0 and 1 the very values of the ends."""
    if share in (0.0, 1.0):
        return dict(end if share else start)
    return {name: (array + np.float32(share) * (end[name] - array)).astype(np.float32) for name, array in start.items()}


def fine_tuned(
    task: Task,
    settings: Settings,
    network: nn.Module,
    samples: Sequence[Sample],
    start: Arrays,
    rate: float,
    name: str,
) -> Arrays:
    """The network after `personalise.tuning_epochs` epochs on these images, on a schedule of its own; without heads.

    Heads that `start` lacks are set to the class centres of its features."""
    options = settings.train
    load_arrays(network, start)
    if any(name not in start and is_private(name, task.heads) for name in float_arrays(network)):
        task.set_heads(network, samples, task.compute.device)
    batches = task.batches(samples, client_seed(settings, name))
    total = total_steps(batches, settings.personalise.tuning_epochs)
    train(
        task,
        network,
        batches,
        steps=(0, total),
        total=total,
        settings=replace(options, lr=options.lr * rate, epochs=settings.personalise.tuning_epochs, fedprox_mu=0.0),
        data=settings.data,
        compute=task.compute,
        private=home_patterns(network, settings.federation, task.heads),
    )
    return without_heads(float_arrays(network), task)


def estimate_statistics(task: Task, network: nn.Module, batches: Sequence[Batch], seed: int) -> None:
    """Set BatchNorm's running statistics to the means over training batches."""
    norms, momenta = _norms(network), [norm.momentum for norm in _norms(network)]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # the average over all batches
    network.train()
    try:
        with torch.no_grad(), torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)  # of dropout
            for batch in batches:
                task.losses(network, batch.to(task.compute.device))
    finally:
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum


def _norms(network: nn.Module) -> list[_BatchNorm]:
    return [module for module in network.modules() if isinstance(module, _BatchNorm) and module.track_running_stats]
