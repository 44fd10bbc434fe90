"""Comparison after a run: measures of the federated models and the baselines, with checkpoints and charts."""

import os
import shlex
from collections.abc import Mapping
from typing import Any

from app.core.arrays import Arrays, shared_layout
from app.core.device import make_compute
from app.core.node_store import NodeStore
from app.core.run_folder import SERVER_CHECKPOINT, RunFolder
from app.data.dataset import open_source
from app.data.readers.reader import Direction
from app.evaluation.figures import curves_picture
from app.experiment.baselines import (
    Measures,
    Progress,
    by_kind,
    calibration_directions,
    comparison_jobs,
    comparison_settings,
    mean_of_clients,
    measure_arrays,
    run_jobs,
)
from app.experiment.kept_overrides import OVERRIDES_FILE, read_overrides
from app.settings.load import Settings
from app.tasks import make_task
from app.training.checkpoint import network_of, save_checkpoint, without_heads
from models.errors import MissingFileError

_DRAWN = 8  # directions with a chart of their own: each country of plates_countries, not each trial of a protocol


def compare_models(settings: Settings, folder: RunFolder, progress: Progress | None = None) -> dict[str, Measures]:
    """Measures on `data.eval_split` of "global", "local" and the models in `evaluation.compare`.

    "global" is the federated model, "local" each client's model as it was just before its last upload, "stand_alone" a
    model trained on a client's images alone for as many images, "central" one trained on all images.
    Checkpoints, curves and ranked lists are written to the run folder.
    """
    held = read_nodes(settings, folder)
    task = make_task(settings)
    save_checkpoint(folder, "global", next(iter(held["global"].values())), settings, task)
    for client, arrays in held["local"].items():  # before anything is measured, which may fail
        save_checkpoint(folder, f"local-{client}", arrays, settings, task)
    source = open_source(settings.data, settings.seed)
    directions = source.evaluation(settings.data.eval_split)
    calibration = calibration_directions(source, settings)
    models: dict[str, Measures] = {}
    for name in ("global", "local"):
        rows: dict[str, Measures] = {}
        for client, arrays in held[name].items():
            if name == "global" and rows and not _differ(settings, held[name]):
                break
            rows[client] = measure_arrays(settings, without_heads(arrays, task), directions, calibration)
        models[name] = next(iter(rows.values())) if len(rows) == 1 else mean_of_clients(rows)
    parts = len(source.parts(settings.federation.num_clients))
    kinds: dict[str, Settings] = {
        kind: comparison_settings(settings, kind, _overrides(folder)) for kind in settings.evaluation.compare
    }
    jobs = comparison_jobs(kinds, folder.path, parts)
    models |= by_kind(run_jobs(jobs, workers(settings), progress))
    _draw(settings, folder, directions, held["global"])
    return models


def read_nodes(settings: Settings, folder: RunFolder) -> dict[str, dict[str, Arrays]]:
    """Networks of the simulated clients: {"global" | "local": {client: arrays}}, private arrays included.

    Raises FileNotFoundError if no client holds the last model."""
    task = make_task(settings)
    layout = shared_layout(task.build(1, settings.seed, pretrained=False), settings.federation, task.heads)
    found: dict[str, dict[str, Arrays]] = {"global": {}, "local": {}}
    # Nodes also keep models of earlier runs in this folder.
    run_key = folder.load_arrays(SERVER_CHECKPOINT)[1]["run_key"]
    paths = sorted((folder.path / "nodes").glob(f"*/{run_key}"))
    stores = {path.parent.name: NodeStore(path) for path in paths if NodeStore(path).rounds("private")}
    last = max((version for store in stores.values() for version in store.rounds("global")), default=0)
    for client, store in stores.items():
        own, _ = store.read("private", store.rounds("private")[-1])
        for kind, models in found.items():
            held = store.rounds(kind)
            if not held or (kind == "global" and held[-1] != last):  # a node that dropped out holds an older model
                continue
            arrays: Arrays = layout.unflatten(store.read(kind, held[-1])[0]["vector"])
            arrays |= {name.removeprefix("array/"): a for name, a in own.items() if name.startswith("array/")}
            models[client] = arrays
    if not found["global"]:
        raise MissingFileError(f"no client holds a model below {folder.path / 'nodes'}")
    return found


def _differ(settings: Settings, models: Mapping[str, Arrays]) -> bool:
    """Whether the global model differs between clients, because more arrays than classifiers are private."""
    first = next(iter(models.values()))
    task = make_task(settings)
    shared = shared_layout(task.build(1, settings.seed, pretrained=False), settings.federation, task.heads)
    return set(without_heads(first, task)) != set(shared.names)


def _overrides(folder: RunFolder) -> list[str]:
    """The overrides of a run that `scripts.simulate` started."""
    return shlex.split(read_overrides(folder.path)) if (folder.path / OVERRIDES_FILE).exists() else []


def workers(settings: Settings) -> int:
    """Number of parallel training processes: as for simulated clients; one on a GPU."""
    if make_compute(settings.device, "float32", False, 0).device.type != "cpu":
        return 1
    return max(1, (settings.simulation.cpus or os.cpu_count() or 1) // max(1, settings.simulation.cpus_per_client))


def _draw(settings: Settings, folder: RunFolder, directions: list[Direction], models: Mapping[str, Arrays]) -> None:
    lines = folder.read_rounds()
    losses = [(line["server_round"], line["measures"]["loss_total"]) for line in lines if _has(line, "loss_total")]
    if losses:
        curves_picture(
            {"loss": losses}, folder.path / "loss.png", x_label="round", y_label="loss", title=f"{settings.name}: loss"
        )
    measured = [line for line in lines if _has(line, f"global_{settings.measures[0]}")]
    if measured:
        curves = {
            name: [(line["server_round"] - 1, line["measures"][f"global_{name}"]) for line in measured]
            for name in (*settings.measures[:2], "vehicle_mAP", "plate_mAP")
            if all(_has(line, f"global_{name}") for line in measured)
        }
        title = f"{settings.name}: global model on {settings.data.val_split}"
        curves_picture(curves, folder.path / "measures.png", x_label="round", y_label="measure", title=title)
    if settings.evaluation.ranked_lists:
        task, network = network_of(without_heads(next(iter(models.values())), make_task(settings)), settings)
        for direction in directions[:_DRAWN]:
            path = folder.path / f"ranked-{direction.name.replace('/', '-')}.png"
            count = settings.evaluation.ranked_lists
            task.ranked_lists(network, direction, task.compute.device, path, count, settings.seed)


def _has(line: Mapping[str, Any], measure_name: str) -> bool:
    return line["measures"].get(measure_name) is not None
