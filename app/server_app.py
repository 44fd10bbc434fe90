"""Flower entry point of the server: settings in, rounds run, metrics and checkpoints written."""

import json
import logging
import secrets
import time
from dataclasses import asdict

import numpy as np
from flwr.app import Context
from flwr.serverapp import Grid, ServerApp

from app.arrays import shared_layout, statistics_mask
from app.dp import epsilon
from app.federated import make_rules, make_server_sum
from app.results import RunFolder
from app.run_dir import run_dir
from app.settings import Settings, load_settings
from app.tasks import make_task
from strategies.convergence import Convergence
from strategies.partial_sync import PartialSync, RoundReport, ServerState
from strategies.shared_arrays import SharedLayout

app = ServerApp()
_log = logging.getLogger("flwr")
_CHECKPOINT = "server"


@app.main()
def main(grid: Grid, context: Context) -> None:
    """Run the federation that the run config names."""
    settings = load_settings(str(context.run_config["overrides"]))
    with RunFolder(run_dir(settings, context.run_id)) as folder:
        run_federation(grid, settings, folder)


def run_federation(grid: Grid, settings: Settings, folder: RunFolder) -> None:
    """Rounds, metrics, checkpoints and summary; goes on after the last complete round if `federation.resume` is set."""
    started = time.monotonic()
    task = make_task(settings)
    network = task.build(1, settings.seed, pretrained=False)
    layout = shared_layout(network, settings.federation)
    run_key, state = _start(settings, folder, layout)
    rules = make_rules(settings, task=task.name, layout=layout.digest, run_key=run_key)
    earlier = folder.read_metrics()

    def on_round(report: RoundReport, after: ServerState) -> None:
        folder.append_metrics(_line(report))  # first: a resumed run drops a line that has no checkpoint
        _write_checkpoint(folder, run_key, layout, after)
        _log_scalars(folder, report)
        _log.info("%s", _sentence(report, settings.federation.rounds))

    def on_undone(before: ServerState) -> None:
        folder.drop_metrics_from(before.server_round + 1)
        _write_checkpoint(folder, run_key, layout, before)

    _log.info("run folder %s, %s shared values", folder.path, f"{layout.size:,}")
    new_sum = make_server_sum(settings, statistics_mask(network, layout), folder.path)
    strategy = PartialSync(rules, new_sum, on_round, on_undone)
    state, final = strategy.run(grid, state)
    folder.append_metrics(_line(final))
    _log_scalars(folder, final)
    _log.info("final model: %s", final.measures)
    lines = folder.read_metrics()
    privacy = {}
    if settings.privacy.dp.clip:
        releases = sum(line["attempts"] for line in lines)  # each attempt is trained and noised anew
        privacy = {"epsilon": epsilon(settings.privacy.dp, releases), "delta": settings.privacy.dp.delta}
    folder.write_summary(
        {
            **privacy,
            "run_dir": str(folder.path),
            "rounds": state.server_round,
            "converged": state.convergence.reached,
            "resumed_after": len(earlier),
            "seconds": time.monotonic() - started,
            "bytes_up": sum(line["bytes_up"] for line in lines),
            "bytes_down": sum(line["bytes_down"] for line in lines),
            "shared_values": layout.size,
            "left_out": [row for line in lines for row in line["left_out"]],
            "measures": final.measures,
        }
    )


def _start(settings: Settings, folder: RunFolder, layout: SharedLayout) -> tuple[str, ServerState]:
    """The state before the first round, or that of the checkpoint to go on from."""
    federation = settings.federation
    if not federation.resume or not folder.has_arrays(_CHECKPOINT):  # nothing to resume before the first round
        folder.write_settings(settings.as_dict())
        folder.drop_metrics_from(0)
        return secrets.token_hex(8), ServerState(0, Convergence(federation.patience, federation.min_delta))
    arrays, metadata = folder.load_arrays(_CHECKPOINT)
    if metadata.get("layout") != layout.digest:
        raise ValueError(f"{folder.path}: the checkpoint is of another network: layout {metadata.get('layout')!r}")
    kept = json.loads(metadata["state"])
    convergence = Convergence(federation.patience, federation.min_delta, kept["best"], kept["without_gain"])
    aggregate = arrays["aggregate"].tobytes()
    state = ServerState(kept["server_round"], convergence, aggregate, kept["coefficient_sum"], kept["key_id"])
    folder.drop_metrics_from(state.server_round + 1)
    return metadata["run_key"], state


def _write_checkpoint(folder: RunFolder, run_key: str, layout: SharedLayout, state: ServerState) -> None:
    kept = {
        "server_round": state.server_round,
        "coefficient_sum": state.coefficient_sum,
        "key_id": state.key_id,
        "best": state.convergence.best,
        "without_gain": state.convergence.without_gain,
    }
    metadata = {"run_key": run_key, "layout": layout.digest, "state": json.dumps(kept)}
    folder.save_arrays(_CHECKPOINT, {"aggregate": np.frombuffer(state.aggregate, np.uint8)}, metadata)


def _line(report: RoundReport) -> dict[str, object]:
    return asdict(report)


def _log_scalars(folder: RunFolder, report: RoundReport) -> None:
    """TensorBoard points; measures of the global model stand at its version, which is the round before."""
    tested = {k: v for k, v in report.measures.items() if k.startswith("global_")}
    others = {k: v for k, v in report.measures.items() if k not in tested}
    folder.log_scalars({k.replace("_", "/", 1): v for k, v in tested.items()}, report.server_round - 1)
    values = {f"round/{name}": value for name, value in others.items()}
    values |= {"round/seconds": report.seconds, "round/bytes_up": float(report.bytes_up)}
    folder.log_scalars(values, report.server_round)


def _sentence(report: RoundReport, rounds: int) -> str:
    parts = [f"round {report.server_round}/{rounds}", f"{report.seconds:.1f} s", f"{len(report.clients)} clients"]
    if "loss_total" in report.measures:
        parts.append(f"loss {report.measures['loss_total']:.3f}")
    if "global_mAP" in report.measures:
        parts.append(f"global mAP {100 * report.measures['global_mAP']:.1f} % after round {report.server_round - 1}")
    parts.append(f"{report.bytes_up / 1e6:.1f} MB up, {report.bytes_down / 1e6:.1f} MB down")
    parts += [f"left out {row['client']}: {row['reason']}" for row in report.left_out]
    return ", ".join(parts)
