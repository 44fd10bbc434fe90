"""Flower's simulation of one run, whose processes all end with it, or with the SuperLink that it is given."""

import contextlib
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from app.core.run_folder import RunFolder
from app.experiment.flower_log import is_slow_start, last_words
from app.experiment.local_superlink import (
    CONNECTION,
    LocalSuperLink,
    Process,
    SimulationError,
    end_family,
    flower,
    set_aside,
)
from app.experiment.machine import check_machine, cpus_to_use
from app.settings.load import Settings
from app.settings.overrides import toml_text


def simulate(
    run_dir: Path,
    overrides: str,
    settings: Settings,
    *,
    on_metrics: Callable[[dict[str, Any]], None],
    superlink: LocalSuperLink | None = None,
) -> dict[str, Any]:
    """Run the federation in Flower's simulation and return the server's summary.

    Args:
        run_dir: absolute; Flower's logs go to `flower.log` in it.
        overrides: of the run config.
        settings: number of clients, and their share of the machine.
        on_metrics: called with each line of metrics as it is written.
        superlink: that of several runs in turn; ended if this one fails, so that nothing of it is left. Default: one of
            its own, in `run_dir`, that ends with the run.

    Raises SimulationError with the server's last words if the run fails.
    """
    check_machine(settings)
    folder = RunFolder(run_dir)
    folder.forget_summary()
    before = (folder.read_metrics(), folder.read_progress())
    with LocalSuperLink(run_dir) if superlink is None else contextlib.nullcontext(superlink) as link:
        try:
            try:
                _run_flower(run_dir, overrides, settings, on_metrics, link)
            except SimulationError as error:
                begun = (folder.read_metrics(), folder.read_progress()) != before
                if begun or not is_slow_start(str(error)):
                    raise
                print(
                    f"Flower or Ray was not up in time, and is started once more ({error})", file=sys.stderr, flush=True
                )
                link.end()
                _run_flower(run_dir, overrides, settings, on_metrics, link)
        except BaseException:
            link.end()
            raise
    return folder.read_summary()


def _run_flower(
    run_dir: Path,
    overrides: str,
    settings: Settings,
    on_metrics: Callable[[dict[str, Any]], None],
    superlink: LocalSuperLink,
) -> None:
    """One start of the run, to its end. Raises SimulationError if the server wrote no summary."""
    machine, log = settings.simulation, run_dir / "flower.log"
    cpus, why = cpus_to_use(settings)
    if why:
        print(why, file=sys.stderr, flush=True)
    environment, project = superlink.ready(), superlink.project()
    said = superlink.log.stat().st_size
    set_aside(log)
    config = (
        f"num-supernodes={settings.federation.num_clients} "
        f"client-resources-num-cpus={machine.cpus_per_client} "
        f"client-resources-num-gpus={machine.gpus_per_client} "
        f"init-args-num-cpus={cpus}"
    )
    run_config = run_dir / ".flwr" / "run.toml"  # Flower splits values on the command line, quoted or not
    run_config.parent.mkdir(exist_ok=True)
    run_config.write_text(f"overrides = {toml_text(overrides)}\n", encoding="utf-8")
    command = [*flower("flwr"), "run", str(project), CONNECTION, "--stream"]
    command += ["--federation-config", config, "-c", str(run_config)]
    with log.open("wb") as output:
        process = subprocess.Popen(command, cwd=project, env=environment, stdout=output, stderr=output)
        try:
            _follow(process, RunFolder(run_dir), on_metrics)
        finally:
            end_family(process)
    if not (run_dir / "summary.json").exists():
        raise SimulationError(superlink.ended() or last_words({log: 0, superlink.log: said}, superlink.latest_end))


def _follow(process: Process, folder: RunFolder, on_metrics: Callable[[dict[str, Any]], None]) -> None:
    """Yield lines of metrics until Flower's command ends."""
    seen = len(folder.read_rounds())
    while True:
        ended = process.poll() is not None
        lines = folder.read_rounds()
        for line in lines[min(seen, len(lines)) :]:
            on_metrics(line)
        seen = len(lines)
        if ended:
            return
        time.sleep(0.5)
