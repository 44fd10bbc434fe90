"""Training and measures of models for comparison with a federated one, and measures of the clients' models.

Imports neither flwr nor tenseal nor ray: `scripts.baseline` needs only torch, torchvision, timm and hydra.
"""

import json
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, replace
from multiprocessing import active_children, get_context
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from app.core.arrays import Arrays, float_arrays
from app.core.run_folder import RunFolder
from app.core.sample import Sample
from app.data.dataset import Source, open_source
from app.data.readers.errors import DataSetError
from app.data.readers.reader import Direction
from app.equalise.decision import needs_embeddings
from app.equalise.keyed_settings import keyed
from app.equalise.pre_model import checkpoint_model
from app.equalise.run import Equalised, equalise
from app.experiment.own_tests import OWN, OwnTests
from app.experiment.training_alone import Progress, client_seed, train_alone
from app.settings.load import Settings, load_settings
from app.settings.ranking import OPEN_SET_MEASURES
from app.tasks.task import EmbeddingTask, Task
from app.training.checkpoint import network_of, save_checkpoint
from models.errors import FedVehicleReidError

Measures = dict[str, Any]


def equalise_alone(
    settings: Settings, samples: Sequence[Sample], name: str, *, always: bool = False
) -> Equalised | None:
    """Result of `data.equalise` on these images; None if it is off or not needed, unless `always` is
    set.

    Without a federation there is no global model: the pre-model is then the client's own.

    Raises SettingsError for a checkpoint that does not fit."""
    options = settings.data.equalise
    if not always and not needs_embeddings(samples, options):
        return None
    seed = client_seed(settings, name)
    if options.model not in ("own", "global"):
        pre_model, key = checkpoint_model(settings)
        return equalise(settings, samples, pre_model, model_key=key, seed=seed, name=name)
    data = replace(settings.data, equalise=replace(options, target="", suspects="report"))
    epochs = options.own_epochs or settings.train.epochs
    plain = replace(settings, data=data, train=replace(settings.train, epochs=epochs))
    # The record's key holds the inputs of the model's training, so that it need not be trained to find the record.
    depends = [keyed("train", plain.train), keyed("loss", plain.loss), settings.seed, name]
    return equalise(
        settings,
        samples,
        lambda: train_alone(plain, samples, name)[1],
        model_key=json.dumps(depends),
        seed=seed,
        name=name,
    )


class ComparisonError(FedVehicleReidError, ValueError):
    """A model for comparison cannot be trained or measured; the message names the model."""


@dataclass(frozen=True)
class Job:
    """A model to be trained for comparison: of client `partition_id`, or of all images if that is None."""

    name: str
    partition_id: int | None
    settings: Settings
    folder: Path


def run_job(job: Job, progress: Progress | None = None) -> Measures:
    """Train, write the checkpoint `<name>.safetensors`, and measure on `data.eval_split`.

    Adds "training", its images, losses and seconds, and "bad_pictures" to the measures."""
    settings = job.settings
    source = open_source(settings.data, settings.seed)
    if job.partition_id is None:
        samples, client = source.union(settings.federation.num_clients), "central"
    else:
        samples, client = source.parts(settings.federation.num_clients)[job.partition_id], f"client-{job.partition_id}"
    samples = source.with_background(samples)
    try:
        equalised = equalise_alone(settings, samples, client)
        task, network, report = train_alone(settings, equalised.samples if equalised else samples, client, progress)
    except FedVehicleReidError as error:
        raise ComparisonError(f"{job.name}: {error}") from error
    path = save_checkpoint(RunFolder(job.folder), job.name, float_arrays(network), settings, task)
    try:
        measures = measure(
            task, network, source.evaluation(settings.data.eval_split), calibration_directions(source, settings)
        )
        if job.partition_id is not None:
            own = OwnTests.of(source, settings).measure(task, network, client)
            measures |= {OWN: own} if own else {}
    except FedVehicleReidError as error:
        raise ComparisonError(f"{job.name}: {error}; the model is in {path}") from error
    training: Measures = {"pictures": report.num_images, "losses": report.losses, "seconds": report.seconds}
    if equalised:
        training["equalised"] = equalised.summary
    return {**measures, "training": training, "bad_pictures": task.bad_images}


def run_jobs(jobs: Sequence[Job], workers: int, progress: Progress | None = None) -> dict[str, Measures]:
    """Measures by job name; the jobs run in `workers` processes with one thread each, or here if that is 1.

    Two processes of one thread train more images a second than one process of two threads."""
    if workers <= 1 or len(jobs) <= 1:
        return {job.name: _try(job, progress) for job in jobs}
    found: dict[str, Measures] = {}
    if progress is not None:
        progress("models for comparison", 0, len(jobs))
    with ProcessPoolExecutor(min(workers, len(jobs)), get_context("spawn"), torch.set_num_threads, (1,)) as pool:
        waiting = {pool.submit(_try, job): job.name for job in jobs}
        try:
            for future in as_completed(waiting):
                found[waiting[future]] = future.result()
                if progress is not None:
                    progress("models for comparison", len(found), len(jobs))
        except BrokenProcessPool as error:
            few = "simulation.cpus=1 trains one model after the other"
            raise ComparisonError(f"a training process was killed, for example out of memory; {few}") from error
        except BaseException:  # an interrupt must not wait for hours of training
            pool.shutdown(wait=False, cancel_futures=True)
            for worker in active_children():
                worker.terminate()
            raise
    return {job.name: found[job.name] for job in jobs}


def _try(job: Job, progress: Progress | None = None) -> Measures:
    """`run_job`, or {"error": reason} if its images cannot be used for training: the other models are not affected."""
    try:
        return run_job(job, progress)
    except ComparisonError as error:
        return {"error": str(error)}


def comparison_jobs(settings: Mapping[str, Settings], folder: Path, num_parts: int) -> list[Job]:
    """The jobs of "central" and "stand_alone" in `settings`; the longest comes first, so that no process waits for it
    at the end."""
    jobs = [Job("central", None, settings["central"], folder)] if "central" in settings else []
    if "stand_alone" in settings:
        jobs += [Job(f"stand_alone-client-{i}", i, settings["stand_alone"], folder) for i in range(num_parts)]
    return jobs


def comparison_settings(settings: Settings, kind: str, overrides: Sequence[str]) -> Settings:
    """The settings of "central" or "stand_alone": the run's overrides with those of the kind."""
    evaluation = settings.evaluation
    wanted = evaluation.central_overrides if kind == "central" else evaluation.stand_alone_overrides
    given = {word.split("=", 1)[0] for word in overrides}  # overrides of the user apply to every model
    changes = [word for word in wanted if word.split("=", 1)[0] not in given]
    return load_settings([*overrides, *changes]) if changes else settings


def by_kind(rows: Mapping[str, Measures]) -> dict[str, Measures]:
    """Figures of "stand_alone" (mean of clients) and "central" from `run_jobs`."""
    models: dict[str, Measures] = {}
    alone = {name.removeprefix("stand_alone-"): row for name, row in rows.items() if name.startswith("stand_alone-")}
    if alone:
        models["stand_alone"] = mean_of_clients(alone)
    if "central" in rows:
        models["central"] = rows["central"]
    return models


def calibration_directions(source: Source, settings: Settings) -> list[Direction]:
    """Queries and galleries whose strangers calibrate open-set measures: of `data.val_split`, or "val" where a run has
    none; none where the set has no such split, or it is measured itself."""
    split = settings.data.val_split or "val"
    if split == settings.data.eval_split:
        return []
    try:
        return source.evaluation(split)
    except DataSetError:
        return []


def measure(
    task: Task, network: nn.Module, directions: Sequence[Direction], calibration: Sequence[Direction] = ()
) -> Measures:
    """Measures of one network; "directions" holds those of each direction where there are several.

    Args:
        calibration: other vehicles, for the open-set measures of a task with embeddings.
    """
    device = task.compute.device
    if isinstance(task, EmbeddingTask):
        evaluation = task.evaluate_open_set(network, directions, device, calibration)
    else:
        evaluation = task.evaluate(network, directions, device)
    measures = _with_open_set(evaluation.measures)
    if len(evaluation.directions) > 1:
        measures["directions"] = {name: _with_open_set(row) for name, row in evaluation.directions.items()}
    if evaluation.bad:
        measures["bad_pictures"] = evaluation.bad
    return measures


def _with_open_set(row: Mapping[str, float]) -> Measures:
    """The measures, those of the open set under "open_set"."""
    apart = {name: row[name] for name in OPEN_SET_MEASURES if name in row}
    return {name: value for name, value in row.items() if name not in apart} | ({"open_set": apart} if apart else {})


def measure_arrays(
    settings: Settings, arrays: Arrays, directions: Sequence[Direction], calibration: Sequence[Direction] = ()
) -> Measures:
    """Measures of the network with these arrays; private classifiers may be missing. See `measure`."""
    task, network = network_of(arrays, settings)
    return measure(task, network, directions, calibration)


def mean_of_clients(rows: Mapping[str, Measures]) -> Measures:
    """Means over clients of every plain measure, the rows beside them under "clients"."""
    good = [row for row in rows.values() if "error" not in row]
    names = [name for name, value in (good[0] if good else {}).items() if isinstance(value, int | float)]
    means: Measures = {name: float(np.mean([row[name] for row in good])) for name in names}
    if good and all("open_set" in row for row in good):
        apart = good[0]["open_set"]
        means["open_set"] = {name: float(np.mean([row["open_set"][name] for row in good])) for name in apart}
    return {**means, "clients": dict(rows)}


def bad_pictures(folder: Path) -> dict[str, str]:
    """Images that the clients below `folder` could not read, with the reason."""
    found: dict[str, str] = {}
    for path in sorted(folder.rglob("bad_pictures.json")):
        found |= json.loads(path.read_text(encoding="utf-8"))
    return found
