"""Flower's simulation of one run, whose processes all end with it.

It starts a SuperLink of its own, with its own home folder and free ports, in the folder of the project, because a
SuperLink left over from another project would import that project's `app` package. Installed from a wheel, the project
has no such folder: one is put together in the run folder, from which Flower makes its app bundle.
"""

import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeAlias

import psutil

from app.core.run_folder import RunFolder
from app.experiment.flower_log import is_slow_start, last_words
from app.settings.checks import SettingsError
from app.settings.load import Settings
from app.settings.overrides import toml_text
from models.errors import FedVehicleReidError

_START_SECONDS = 180.0  # a machine under load needs more than the minute that Ray allows
_END_SECONDS = 10.0
_RAY_STARTS = {
    f"RAY_{name}": f"{_START_SECONDS:.0f}"
    for name in (
        "gcs_server_request_timeout_seconds",
        "gcs_rpc_server_connect_timeout_s",
        "worker_register_timeout_seconds",
    )
}
"""Ray's variables for the time in which its parts have to be up."""
_CONNECTION = "own"
_LOGS = ("flower.log", "superlink.log")
_PYPROJECT = "pyproject.toml"
_PACKAGES = ("app", "strategies", "models", "conf", "scripts")
_no_bytecode = shutil.ignore_patterns("__pycache__", "*.pyc")
Process: TypeAlias = "subprocess.Popen[bytes]"


class SimulationError(FedVehicleReidError, RuntimeError):
    """The run failed; the message holds the last output of the server or Flower."""


def simulate(
    run_dir: Path,
    overrides: str,
    settings: Settings,
    *,
    on_metrics: Callable[[dict[str, Any]], None],
) -> dict[str, Any]:
    """Run the federation in Flower's simulation and return the server's summary.

    Args:
        run_dir: absolute; Flower's logs go to `flower.log` in it.
        overrides: of the run config.
        settings: number of clients, and their share of the machine.
        on_metrics: called with each line of metrics as it is written.

    Raises SimulationError with the server's last words if the run fails.
    """
    check_machine(settings)
    folder = RunFolder(run_dir)
    folder.forget_summary()
    before = (folder.read_metrics(), folder.read_progress())
    try:
        _run_flower(run_dir, overrides, settings, on_metrics)
    except SimulationError as error:
        begun = (folder.read_metrics(), folder.read_progress()) != before
        if begun or not is_slow_start(str(error)):
            raise
        print(f"Flower or Ray was not up in time, and is started once more ({error})", file=sys.stderr, flush=True)
        for name in _LOGS:
            with contextlib.suppress(FileNotFoundError):
                (run_dir / name).replace(run_dir / f"{name}.1")
        _run_flower(run_dir, overrides, settings, on_metrics)
    return folder.read_summary()


def check_machine(settings: Settings) -> None:
    """Raise SettingsError if this machine has no room for even one simulated client."""
    machine = settings.simulation
    cpus = machine.cpus or os.cpu_count() or 1
    if machine.cpus_per_client > cpus:
        raise SettingsError(
            f"simulation.cpus_per_client={machine.cpus_per_client} is more than the {cpus} CPUs available "
            "(simulation.cpus, or this machine)"
        )
    if machine.gpus_per_client > 0:
        from torch import cuda  # a simulation without GPUs need not wait for it here

        if machine.gpus_per_client > cuda.device_count():
            raise SettingsError(
                f"simulation.gpus_per_client={machine.gpus_per_client:g} is more than the {cuda.device_count()} GPUs "
                "of this machine"
            )


def _run_flower(
    run_dir: Path, overrides: str, settings: Settings, on_metrics: Callable[[dict[str, Any]], None]
) -> None:
    """One start of SuperLink and run, to its end. Raises SimulationError if the server wrote no summary."""
    machine = settings.simulation
    project = _project(run_dir)
    with _superlink(run_dir, project) as environment, (run_dir / "flower.log").open("ab") as log:
        config = (
            f"num-supernodes={settings.federation.num_clients} "
            f"client-resources-num-cpus={machine.cpus_per_client} "
            f"client-resources-num-gpus={machine.gpus_per_client} "
            f"init-args-num-cpus={machine.cpus or os.cpu_count() or 1}"
        )
        run_config = run_dir / ".flwr" / "run.toml"  # Flower splits values on the command line, quoted or not
        run_config.write_text(f"overrides = {toml_text(overrides)}\n", encoding="utf-8")
        command = [*_flower("flwr"), "run", str(project), _CONNECTION, "--stream"]
        command += ["--federation-config", config, "-c", str(run_config)]
        process = subprocess.Popen(command, cwd=project, env=environment, stdout=log, stderr=log)
        try:
            _follow(process, RunFolder(run_dir), on_metrics)
        finally:
            _end(process)
        if not (run_dir / "summary.json").exists():
            raise SimulationError(last_words([run_dir / name for name in _LOGS], lambda: _ended_as(environment)))


def _ended_as(environment: Mapping[str, str]) -> str:
    """Flower's record of a run whose process ended without an error message, for example by a kill; "" without one."""
    command = [*_flower("flwr"), "list", _CONNECTION, "--format", "json"]
    try:
        done = subprocess.run(command, env=environment, capture_output=True, timeout=_START_SECONDS, check=False)
        run = json.loads(done.stdout)["runs"][0]
        details = "" if run["status-details"] == "N/A" else run["status-details"]  # Flower's text for none
        return f"the process of the run ended without an error message; Flower says: {run['status']} {details}".strip()
    except (OSError, subprocess.SubprocessError, ValueError, LookupError, TypeError):
        return ""


@contextlib.contextmanager
def _superlink(run_dir: Path, project: Path) -> Iterator[dict[str, str]]:
    """A SuperLink in simulation mode; yields the environment in which `flwr` finds it."""
    home = run_dir / ".flwr"
    home.mkdir(parents=True, exist_ok=True)
    port, control = _free_port(), _free_port()
    (home / "config.toml").write_text(
        f'[superlink]\ndefault = "{_CONNECTION}"\n\n[superlink.{_CONNECTION}]\n'
        f'address = "127.0.0.1:{port}"\ninsecure = true\n',
        encoding="utf-8",
    )
    environment = {
        **_RAY_STARTS,
        **os.environ,
        "FLWR_HOME": str(home),
        "FLWR_TELEMETRY_ENABLED": "0",
        "FLWR_DISABLE_UPDATE_CHECK": "1",
        "FLWR_DISABLE_RUNTIME_DEPENDENCY_INSTALLATION": "1",
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")]),
    }
    command = [*_flower("flower-superlink"), "--insecure", "--simulation", "--isolation", "subprocess"]
    command += ["--host", "127.0.0.1", "--port", str(port), "--control-api-address", f"127.0.0.1:{control}"]
    with (run_dir / "superlink.log").open("ab") as log:
        process = subprocess.Popen(
            command, cwd=project, env=environment, stdout=log, stderr=log, start_new_session=True
        )
        try:
            _await_port(process, port, run_dir / "superlink.log")
            yield environment
        finally:
            _end(process)


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


def _end(process: Process) -> None:
    """End a process of ours and its descendants: SIGTERM to it, ten seconds, then SIGKILL to the remaining ones.

    Ray's processes lead sessions of their own, so a signal to a process group would not reach them."""
    with contextlib.suppress(psutil.NoSuchProcess):
        family = [*psutil.Process(process.pid).children(recursive=True), psutil.Process(process.pid)]
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        _, alive = psutil.wait_procs(family, _END_SECONDS)
        for member in alive:
            with contextlib.suppress(psutil.NoSuchProcess):
                member.kill()
        psutil.wait_procs(alive, _END_SECONDS)
    process.wait()


def _await_port(process: Process, port: int, log: Path) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise SimulationError(f"flower-superlink ended at once: {last_words([log])}")
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return
        time.sleep(0.2)
    raise SimulationError(f"flower-superlink did not answer within {_START_SECONDS:.0f} s: {last_words([log])}")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _flower(program: str) -> list[str]:
    return [str(Path(sys.executable).with_name(program))]


def _project(run_dir: Path) -> Path:
    """The folder that Flower makes its app bundle from: the checkout, or a copy of the installed packages."""
    installed = Path(__file__).resolve().parents[1]
    if (installed.parent / _PYPROJECT).is_file():
        return installed.parent
    project = run_dir / ".flwr" / "project"
    for package in _PACKAGES:
        shutil.copytree(installed.parent / package, project / package, ignore=_no_bytecode, dirs_exist_ok=True)
    shutil.copyfile(installed / _PYPROJECT, project / _PYPROJECT)  # the wheel has it there
    return project
