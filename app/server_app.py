"""Flower entry point of the server: settings in, rounds run, metrics and checkpoints written."""

import contextlib
import json
import logging
import secrets
import time

from flwr.app import Context
from flwr.serverapp import Grid, ServerApp

from app.dp import epsilon
from app.federated import make_rules, make_server_sum
from app.recorder import Recorder
from app.results import SERVER_CHECKPOINT, RunFolder
from app.run_dir import run_dir
from app.settings import Settings, load_settings
from app.shared_part import shared_part
from strategies.convergence import Convergence
from strategies.partial_sync import PartialSync
from strategies.rounds import ServerState
from strategies.shared_arrays import SharedLayout

app = ServerApp()
_log = logging.getLogger("flwr")


@app.main()
def main(grid: Grid, context: Context) -> None:
    """Run the federation that the run config names."""
    settings = load_settings(str(context.run_config["overrides"]))
    with RunFolder(run_dir(settings, context.run_id)) as folder:
        run_federation(grid, settings, folder)


def run_federation(grid: Grid, settings: Settings, folder: RunFolder) -> None:
    """Rounds, metrics, checkpoints and summary; goes on after the last complete round if `federation.resume` is set.

    Raises RuntimeError if another process writes to the folder, and FileExistsError if it holds an earlier run that is
    not to be resumed; what else ends the run stands in `progress.json`."""
    folder.hold()
    if not settings.federation.resume:
        folder.refuse_earlier_run()
    try:
        _run_rounds(grid, settings, folder)
    except BaseException as error:
        stopped = isinstance(error, KeyboardInterrupt | SystemExit)
        reason = "the server, or the run, was stopped" if stopped else f"{type(error).__name__}: {error}"
        with contextlib.suppress(OSError):  # of a full disk, say
            folder.write_progress({**folder.read_progress(), "failed": reason})
        raise


def _run_rounds(grid: Grid, settings: Settings, folder: RunFolder) -> None:
    started = time.monotonic()
    layout, statistics = shared_part(settings)
    run_key, state = _start(settings, folder, layout)
    rules = make_rules(settings, task=settings.task, layout=layout.digest, run_key=run_key)
    earlier = folder.read_rounds()
    recorder = Recorder(folder, run_key, layout, settings.federation.rounds, settings.measures[0])
    _log.info("run folder %s, %s shared values", folder.path, f"{layout.size:,}")
    new_sum = make_server_sum(settings, statistics, folder.path)
    state, final = PartialSync(rules, new_sum, recorder).run(grid, state)
    recorder.delivered(final)
    lines = folder.read_rounds()
    privacy = {}
    if settings.privacy.dp.clip:
        releases = recorder.attempts  # each attempt is trained and noised anew, whatever became of it
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
    if not federation.resume or not folder.has_arrays(SERVER_CHECKPOINT):  # nothing to resume before the first round
        folder.write_settings(settings.as_dict())
        folder.clear()
        return secrets.token_hex(8), ServerState(0, Convergence(federation.patience, federation.min_delta))
    arrays, metadata = folder.load_arrays(SERVER_CHECKPOINT)
    if metadata.get("layout") != layout.digest:
        raise ValueError(f"{folder.path}: the checkpoint is of another network: layout {metadata.get('layout')!r}")
    kept = json.loads(metadata["state"])
    if kept["key_id"] and settings.privacy.key_id not in ("", kept["key_id"]):
        raise ValueError(
            f"{folder.path}: the run was begun with the federation key {kept['key_id']}, and cannot be resumed with "
            f"{settings.privacy.key_id}"
        )
    folder.forget_summary()  # a run that had ended goes on
    rule = (kept["best"], kept["without_gain"], kept["measured"])
    convergence = Convergence(federation.patience, federation.min_delta, *rule)
    aggregate = arrays["aggregate"].tobytes()
    state = ServerState(kept["server_round"], convergence, aggregate, kept["coefficient_sum"], kept["key_id"])
    folder.drop_metrics_from(state.server_round + 1)
    return metadata["run_key"], state
