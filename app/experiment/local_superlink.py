"""Flower's SuperLink for simulations on this machine, which runs use one after the other."""

import contextlib
import json
import os
import shlex
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import TypeAlias

import psutil

from app.experiment.flower_log import last_words
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
CONNECTION = "own"
"""Its name in the configuration of `flwr`."""
_PYPROJECT = "pyproject.toml"
_PACKAGES = ("app", "strategies", "models", "conf", "scripts")
_no_bytecode = shutil.ignore_patterns("__pycache__", "*.pyc")
Process: TypeAlias = "subprocess.Popen[bytes]"


class SimulationError(FedVehicleReidError, RuntimeError):
    """The run failed; the message holds the last output of the server or Flower."""


class LocalSuperLink:
    """A SuperLink in simulation mode, with its own home folder and free ports, that ends with the `with` block.

    It starts when a run first needs it, and anew after `end`. It runs in the folder of the project, because a SuperLink
    left over from another project would import that project's `app` package. Installed from a wheel, the project has no
    such folder: one is put together here, from which Flower makes its app bundle.

    Args:
        folder: absolute; holds `superlink.log` and Flower's home.
    """

    def __init__(self, folder: Path) -> None:
        self.log = folder / "superlink.log"
        self._home = folder / ".flwr"
        self._process: Process | None = None
        self._project: Path | None = None
        self._environment: dict[str, str] = {}

    def __enter__(self) -> "LocalSuperLink":
        end_of_home(self._home)  # of a command that was killed: its runs would go on beside these
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.end()

    def ready(self) -> dict[str, str]:
        """The environment in which `flwr` finds it. Raises SimulationError if it does not start."""
        if self._process is None or self._process.poll() is not None:
            self.end()
            self._start()
        return self._environment

    def end(self) -> None:
        """End it, and with it all processes of its runs."""
        if self._process is not None:
            end_family(self._process)
            end_of_home(self._home)
            self._process = None

    def project(self) -> Path:
        """The folder that Flower makes its app bundle from: the checkout, or a copy of the installed packages."""
        if self._project is None:
            self._project = _project(self._home)
        return self._project

    def ended(self) -> str:
        """How its process ended by itself, in words; "" while it runs."""
        status = self._process.poll() if self._process is not None else None
        if status is None:
            return ""
        how = f"was killed by signal {-status}" if status < 0 else f"ended with status {status}"
        return f"flower-superlink {how} while the run was going on (see {shlex.quote(str(self.log))})"

    def latest_end(self) -> str:
        """Flower's record of the latest run, whose process ended without an error message, as by a kill; "" if none."""
        command = [*flower("flwr"), "list", CONNECTION, "--format", "json"]
        try:
            done = subprocess.run(
                command, env=self._environment, capture_output=True, timeout=_START_SECONDS, check=False
            )
            run = max(json.loads(done.stdout)["runs"], key=lambda each: each.get("pending-at", ""))
            details = "" if run["status-details"] == "N/A" else run["status-details"]  # Flower's text for none
            said = f"{run['status']} {details}".strip()
            return f"the process of the run ended without an error message; Flower says: {said}"
        except (OSError, subprocess.SubprocessError, ValueError, LookupError, TypeError, AttributeError):
            return ""

    def _start(self) -> None:
        self._home.mkdir(parents=True, exist_ok=True)
        set_aside(self.log)
        port, control = _free_port(), _free_port()
        (self._home / "config.toml").write_text(
            f'[superlink]\ndefault = "{CONNECTION}"\n\n[superlink.{CONNECTION}]\n'
            f'address = "127.0.0.1:{port}"\ninsecure = true\n',
            encoding="utf-8",
        )
        self._environment = _environment(self._home)
        command = [*flower("flower-superlink"), "--insecure", "--simulation", "--isolation", "subprocess"]
        command += ["--host", "127.0.0.1", "--port", str(port), "--control-api-address", f"127.0.0.1:{control}"]
        with self.log.open("wb") as log:
            self._process = subprocess.Popen(
                command, cwd=self.project(), env=self._environment, stdout=log, stderr=log, start_new_session=True
            )
        try:
            _await_port(self._process, port, self.log)
        except BaseException:
            self.end()
            raise


def _project(home: Path) -> Path:
    installed = Path(__file__).resolve().parents[1]
    if (installed.parent / _PYPROJECT).is_file():
        return installed.parent
    project = home / "project"
    shutil.rmtree(project, ignore_errors=True)  # of an earlier start, perhaps of an earlier version
    for package in _PACKAGES:
        shutil.copytree(installed.parent / package, project / package, ignore=_no_bytecode)
    shutil.copyfile(installed / _PYPROJECT, project / _PYPROJECT)  # the wheel has it there
    return project


def _environment(home: Path) -> dict[str, str]:
    return {
        **_RAY_STARTS,
        **os.environ,
        "FLWR_HOME": str(home),
        "FLWR_TELEMETRY_ENABLED": "0",
        "FLWR_DISABLE_UPDATE_CHECK": "1",
        "FLWR_DISABLE_RUNTIME_DEPENDENCY_INSTALLATION": "1",
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")]),
    }


def end_family(process: Process) -> None:
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


def end_of_home(home: Path) -> None:
    """End processes with this home of Flower's: those of a killed SuperLink are nobody's children, and go on."""
    held = [each for each in psutil.process_iter() if each.pid != os.getpid() and _home_of(each) == str(home)]
    for process in held:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(held, _END_SECONDS)


def _home_of(process: psutil.Process) -> str:
    try:
        return str(process.environ().get("FLWR_HOME", ""))
    except (psutil.Error, OSError):
        return ""


def set_aside(log: Path) -> None:
    """Keep an earlier log as `NAME.1`: an error in it is not that of what is started now."""
    with contextlib.suppress(FileNotFoundError):
        log.replace(log.with_name(f"{log.name}.1"))


def flower(program: str) -> list[str]:
    """The beginning of a command of Flower's, of the Python that runs this."""
    return [str(Path(sys.executable).with_name(program))]


def _await_port(process: Process, port: int, log: Path) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise SimulationError(f"flower-superlink ended at once: {last_words({log: 0})}")
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return
        time.sleep(0.2)
    raise SimulationError(f"flower-superlink did not answer within {_START_SECONDS:.0f} s: {last_words({log: 0})}")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
