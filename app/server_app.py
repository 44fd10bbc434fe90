"""Flower entry point of the server: takes settings, runs the rounds, writes metrics and checkpoints."""

import contextlib
import json
import logging
import secrets
import time
from collections.abc import Mapping, Sequence
from typing import Any

from flwr.app import Context
from flwr.serverapp import Grid, ServerApp
from flwr.superlink.grid import InMemoryGrid  # of Flower's simulation only

from app.core.errors import StoredFileError
from app.core.run_dir import run_dir
from app.core.run_folder import SERVER_CHECKPOINT, RunFolder
from app.core.run_records import RunSettings
from app.core.typed_json import require_shape
from app.core.versions import record_versions
from app.deployment.site_names import SiteNames
from app.federation.build import make_rules, make_server_sum, share_authority
from app.federation.dp import epsilon
from app.federation.layout import shared_part
from app.federation.recorder import Recorder
from app.federation.site_versions import SiteVersions
from app.settings.load import Settings, load_settings
from app.settings.privacy import DpSettings
from strategies import messages as m
from strategies.partial_sync import PartialSync
from strategies.rounds import Convergence, ServerState
from strategies.shared_arrays import SharedLayout

app = ServerApp()
_log = logging.getLogger("flwr")


@app.main()
def main(grid: Grid, context: Context) -> None:
    """Run the federation that the run config names."""
    settings = load_settings(str(context.run_config["overrides"]))
    with RunFolder(run_dir(settings, context.run_id)) as folder:
        run_federation(grid, settings, folder)


def run_federation(
    grid: Grid,
    settings: Settings,
    folder: RunFolder,
    strategy: type[PartialSync] = PartialSync,
    *,
    simulated: bool | None = None,
) -> None:
    """Rounds, metrics, checkpoints and summary; continues after the last complete round if `federation.resume` is set.

    Args:
        simulated: whether the nodes are simulated, and have their keys in the run folder; None: as the grid is.

    Raises RuntimeError if another process writes to the folder, and FileExistsError if it holds an earlier run without
    `federation.resume`; any other end of the run is recorded in `progress.json`."""
    folder.hold()
    if not settings.federation.resume:
        folder.refuse_earlier_run()
    try:
        own = isinstance(grid, InMemoryGrid) if simulated is None else simulated
        _run_rounds(grid, settings, folder, strategy, simulated=own)
    except BaseException as error:
        stopped = isinstance(error, KeyboardInterrupt | SystemExit)
        reason = "the server, or the run, was stopped" if stopped else f"{type(error).__name__}: {error}"
        with contextlib.suppress(OSError):  # of a full disk, say
            folder.write_progress({**folder.read_progress(), "failed": reason})
        raise


def _run_rounds(
    grid: Grid, settings: Settings, folder: RunFolder, strategy: type[PartialSync], *, simulated: bool
) -> None:
    started = time.monotonic()
    layout, statistics = shared_part(settings)
    run_key, state = _start(settings, folder, layout)
    if not simulated:  # the command of a simulation has written them
        record_versions(folder.path)
    names = _names(settings)
    rules = make_rules(
        settings,
        task=settings.task,
        layout=layout.digest,
        run_key=run_key,
        simulated=simulated,
        share_authority=share_authority(settings, folder.path, simulated=simulated),
        check_versions=None if simulated else SiteVersions(folder.path, settings.privacy.cipher),
    )
    earlier = folder.read_rounds()
    recorder = Recorder(folder, run_key, layout, settings.federation.rounds, settings.measures[0])
    _log.info("run folder %s, %s shared values", folder.path, f"{layout.size:,}")
    new_sum = make_server_sum(settings, statistics, folder.path)
    running = strategy(rules, new_sum, recorder, names, state=state)
    running.start(grid)
    state, final = running.state, running.report
    recorder.delivered(final)
    lines = folder.read_rounds()
    privacy = _privacy(settings.privacy.dp, recorder.attempts, lines) if settings.privacy.dp.clip else {}
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


def _names(settings: Settings) -> SiteNames | None:
    """Names certified by the federation's authority, if the run names one."""
    authority = settings.federation.authority
    return SiteNames.of(authority, settings.privacy.key_id) if authority else None


def _privacy(settings: DpSettings, attempts: int, lines: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Largest epsilon of a client: each attempt is trained and noised anew, whatever its outcome, and a node also
    counts runs that the server has not seen."""
    reported = [row[m.DP_EPSILON] for line in lines for row in line["clients"].values() if m.DP_EPSILON in row]
    return {"epsilon": max(epsilon(settings, attempts), *reported, 0.0), "delta": settings.delta}


def _start(settings: Settings, folder: RunFolder, layout: SharedLayout) -> tuple[str, ServerState]:
    """The state before the first round, or that of the checkpoint to resume from."""
    federation = settings.federation
    if not federation.resume or not folder.has_arrays(SERVER_CHECKPOINT):  # nothing to resume before the first round
        folder.write_settings(settings.as_dict())
        attempts = folder.read_progress().get("attempts", 0) if federation.resume else 0
        folder.clear()
        if attempts:  # updates left their clients before the first checkpoint: they count
            folder.write_progress({"attempts": attempts})
        begin = ServerState(0, Convergence(federation.patience, federation.min_delta), generation=_next_generation())
        return secrets.token_hex(8), begin
    arrays, metadata = folder.load_arrays(SERVER_CHECKPOINT)
    if metadata.get("layout") != layout.digest:
        raise StoredFileError(f"{folder.path}: the checkpoint is of another network: layout {metadata.get('layout')!r}")
    stored = require_shape(folder.path / "settings.json", RunSettings, folder.read_stored_settings())
    began = stored["privacy"]["cipher"]
    if began == "packed_bfv":
        raise StoredFileError(
            f"{folder.path}: the run was begun with privacy.cipher={began}, which is retired: it goes on with the "
            "version of the project that began it; a new run has privacy=kahe"
        )
    kept = json.loads(metadata["state"])
    if kept["key_id"] and settings.privacy.key_id not in ("", kept["key_id"]):
        raise StoredFileError(
            f"{folder.path}: the run was begun with the federation key {kept['key_id']}, and cannot be resumed with "
            f"{settings.privacy.key_id}"
        )
    folder.forget_summary()  # a run that had ended continues
    rule = (kept["best"], kept["without_gain"], kept["measured"])
    convergence = Convergence(federation.patience, federation.min_delta, *rule)
    aggregate = arrays["aggregate"].tobytes()
    generation = _next_generation(int(metadata.get("generation", 0)))
    # Stored before any message: the next start must not take the generation of one that was cut off at once.
    folder.save_arrays(SERVER_CHECKPOINT, arrays, {**metadata, "generation": str(generation)})
    begun = (kept["coefficient_sum"], kept["key_id"], generation, kept.get("mean_from"))
    state = ServerState(kept["server_round"], convergence, aggregate, *begun)
    folder.drop_metrics_from(state.server_round + 1)
    return metadata["run_key"], state


def _next_generation(last: int = 0) -> int:
    """Larger than that of the last start, whatever the clock says; if the clock goes right, larger than that of any
    start since a checkpoint that was restored from a copy."""
    return max(last + 1, int(time.time()))
