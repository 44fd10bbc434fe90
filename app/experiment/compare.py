"""Comparison after a run: measures of the federated models and the baselines, with checkpoints and charts."""

import shlex
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from app.core import limits
from app.core.arrays import Arrays, shared_layout
from app.core.device import make_compute
from app.core.global_state import GlobalModel
from app.core.node_store import NodeStore
from app.core.run_folder import SERVER_CHECKPOINT, RunFolder
from app.data.dataset import open_source
from app.data.readers.reader import Direction
from app.evaluation.figures import curves_picture
from app.experiment.baselines import (
    Measures,
    by_kind,
    calibration_directions,
    comparison_jobs,
    comparison_settings,
    mean_of_clients,
    measure,
    run_jobs,
)
from app.experiment.client_table import client_curves
from app.experiment.kept_overrides import OVERRIDES_FILE, read_overrides
from app.experiment.own_tests import OWN, OWN_REASON, OwnTests
from app.experiment.personal_store import read_personal
from app.experiment.personalise import GLOBAL, Personal
from app.experiment.training_alone import Progress
from app.settings.load import Settings
from app.tasks import make_task
from app.training.checkpoint import network_of, save_checkpoint, without_heads
from models.adapters import frozen_arrays
from models.errors import MissingFileError

_DRAWN = 8  # directions with a chart of their own: each country of plates_countries, not each trial of a protocol


def compare_models(settings: Settings, folder: RunFolder, progress: Progress | None = None) -> dict[str, Measures]:
    """Measures on `data.eval_split` of "global", "local" and "personalised", and of the models in `evaluation.compare`.

    "global" is the federated model, "local" each client's model as it was just before its last upload, "personalised"
    each client's own choice with `personalise=on`, "stand_alone" a model trained on a client's images alone for as many
    images, "central" one trained on all images. Checkpoints, curves and ranked lists are written to the run folder.
    """
    held = read_nodes(settings, folder)
    task = make_task(settings)
    save_checkpoint(folder, "global", next(iter(held["global"].values())), settings, task)
    personal = read_personal_models(settings, folder)
    for client, arrays in held["local"].items():  # before anything is measured, which may fail
        save_checkpoint(folder, f"local-{client}", arrays, settings, task)
    for client, found in personal.items():
        save_checkpoint(folder, f"personalised-{client}", found.arrays, settings, task)
    source = open_source(settings.data, settings.seed)
    tests = MeasuredOn(
        source.evaluation(settings.data.eval_split),
        calibration_directions(source, settings),
        OwnTests.of(source, settings),
    )
    one = not _differ(settings, held["global"])
    models = {name: _measures(settings, held[name], tests, one=one and name == "global") for name in held}
    if settings.personalise.enabled:
        models["personalised"] = _personal_measures(settings, held["global"], personal, tests, models["global"])
    if tests.own.reason:
        models["global"][OWN_REASON] = tests.own.reason
    parts = len(source.parts(settings.federation.num_clients))
    kinds: dict[str, Settings] = {
        kind: comparison_settings(settings, kind, _overrides(folder)) for kind in settings.evaluation.compare
    }
    jobs = comparison_jobs(kinds, folder.path, parts)
    models |= by_kind(run_jobs(jobs, workers(settings), progress))
    _draw(settings, folder, tests.directions, held["global"])
    return models


class MeasuredOn(NamedTuple):
    """What models are measured on.

    Args:
        directions: of all clients together.
        calibration: see `measure`.
        own: of each client's own place.
    """

    directions: list[Direction]
    calibration: list[Direction]
    own: OwnTests


def _measures(settings: Settings, models: Mapping[str, Arrays], tests: MeasuredOn, *, one: bool) -> Measures:
    """Measures of a kind of model.

    Args:
        models: by client.
        one: whether all clients have the same, which is measured once, save on each client's own images.
    """
    task, rows, own = make_task(settings), dict[str, Measures](), dict[str, Measures]()
    network = None
    for client, arrays in models.items():
        if network is None or not one:
            _, network = network_of(without_heads(arrays, task), settings)
            rows[client] = measure(task, network, tests.directions, tests.calibration)
        own[client] = tests.own.measure(task, network, client)
    if len(rows) == 1 and (one or len(models) == 1):
        return {**next(iter(rows.values())), **({OWN: own} if any(own.values()) else {})}
    return mean_of_clients({client: {**row, OWN: own[client]} if own[client] else row for client, row in rows.items()})


def _personal_measures(
    settings: Settings,
    clients: Iterable[str],
    personal: Mapping[str, Personal],
    tests: MeasuredOn,
    measured: Measures,
) -> Measures:
    """Measures of the personal models, with what each was chosen by; an "error" for a client without one.

    Args:
        measured: of the global model, for the clients that keep it.
    """
    rows: dict[str, Measures] = {}
    for client in clients:
        if client not in personal:
            rows[client] = {"error": f"{client} made no personal model; flower.log of the run folder has its reason"}
            continue
        arrays, report = personal[client]
        same = report["chosen"] == GLOBAL and "clients" not in measured
        row = dict(measured) if same else _measures(settings, {client: arrays}, tests, one=False)
        own = {OWN: row.pop(OWN)[client]} if OWN in row else {}
        rows[client] = {**row, **own, "choice": report}
    return mean_of_clients(rows)


def read_nodes(settings: Settings, folder: RunFolder) -> dict[str, dict[str, Arrays]]:
    """Networks of the simulated clients: {"global" | "local": {client: arrays}}, private arrays included.

    Raises FileNotFoundError if no client holds the last model."""
    task = make_task(settings)
    layout = shared_layout(task.build(1, settings.seed, pretrained=False), settings.federation, task.heads)
    found: dict[str, dict[str, Arrays]] = {"global": {}, "local": {}}
    stores = {client: store for client, store in node_stores(folder).items() if store.rounds("private")}
    last = max((version for store in stores.values() for version in store.rounds("global")), default=0)
    shared = dict[tuple[int, int], Arrays]()
    for client, store in stores.items():
        own, _ = store.read("private", store.rounds("private")[-1])
        for kind, models in found.items():
            held = store.rounds(kind)
            if not held or (kind == "global" and held[-1] != last):  # a node that dropped out holds an older model
                continue
            file = store.file_number(kind, held[-1])  # one for the global model of all clients, which is read once
            if file not in shared:
                stored, _ = store.read(kind, held[-1])
                shared[file] = layout.unflatten(GlobalModel.of(stored).result(settings.federation))  # local: no mean
            arrays = dict(shared[file])
            arrays |= {name.removeprefix("array/"): a for name, a in own.items() if name.startswith("array/")}
            models[client] = arrays
    if not found["global"]:
        raise MissingFileError(f"no client holds a model below {folder.path / 'nodes'}")
    return found


def node_stores(folder: RunFolder) -> dict[str, NodeStore]:
    """The node stores of this run by client; nodes also keep models of earlier runs in this folder."""
    run_key = folder.load_arrays(SERVER_CHECKPOINT)[1]["run_key"]
    return {path.parent.name: NodeStore(path) for path in sorted((folder.path / "nodes").glob(f"*/{run_key}"))}


def read_personal_models(settings: Settings, folder: RunFolder) -> dict[str, Personal]:
    """The personal models of the simulated clients that have one of the final global model."""
    if not settings.personalise.enabled:
        return {}
    stores = node_stores(folder)
    last = max((version for store in stores.values() for version in store.rounds("global")), default=0)
    found = {client: read_personal(store, last) for client, store in stores.items()}
    return {client: personal for client, personal in found.items() if personal is not None}


def _differ(settings: Settings, models: Mapping[str, Arrays]) -> bool:
    """Whether the global model differs between clients, because more arrays than classifiers are learnt at home."""
    first = next(iter(models.values()))
    task = make_task(settings)
    network = task.build(1, settings.seed, pretrained=False)
    shared = shared_layout(network, settings.federation, task.heads)
    return set(without_heads(first, task)) != {*shared.names, *frozen_arrays(network)}


def _overrides(folder: RunFolder) -> list[str]:
    """The overrides of a run that `scripts.simulate` started."""
    return shlex.split(read_overrides(folder.path)) if (folder.path / OVERRIDES_FILE).exists() else []


def workers(settings: Settings) -> int:
    """Number of parallel training processes: as for simulated clients; one on a GPU."""
    if make_compute(settings.device, "float32", False, 0).device.type != "cpu":
        return 1
    return max(1, (settings.simulation.cpus or limits.usable_cpus()) // max(1, settings.simulation.cpus_per_client))


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
    if (clients := client_curves(lines, settings.measures[0])) is not None:
        curves, label = clients
        path = folder.path / "clients.png"
        curves_picture(curves, path, x_label="round", y_label=label, title=f"{settings.name}: {label} by client")
    if settings.evaluation.ranked_lists:
        task, network = network_of(without_heads(next(iter(models.values())), make_task(settings)), settings)
        for direction in directions[:_DRAWN]:
            path = folder.path / f"ranked-{direction.name.replace('/', '-')}.png"
            count = settings.evaluation.ranked_lists
            task.ranked_lists(network, direction, task.compute.device, path, count, settings.seed)


def _has(line: Mapping[str, Any], measure_name: str) -> bool:
    return line["measures"].get(measure_name) is not None
