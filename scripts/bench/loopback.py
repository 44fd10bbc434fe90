"""Real federation on loopback: SuperLink, SuperNodes and runs as processes, from the folders of `init`."""

import contextlib
import io
import json
import os
import shlex
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Self

import psutil

from app.core.run_folder import RunFolder
from app.deployment.approval import read_allowed
from scripts import federation
from scripts.bench.errors import BenchError

NAME = "parks"
TRAINING = ("seconds_data", "seconds_forward", "seconds_backward", "seconds_step")
"""Parts of a client's reply that are training, in seconds."""

_WARM, _HANDOVER = "app.deployment.fork_server", "fork_client.py"
_START_SECONDS = 120
_END_SECONDS = 15


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Loopback:
    """The processes of one federation. Use it in a `with`: all its processes end with it.

    Args:
        folder: of the federation and all logs; written by `init`.
        sites: images by site; a manifest set each.
        words: further words of `init`.

    Attributes:
        approved: SHA-256 of the checkout's app bundle, the one that sites run.
    """

    def __init__(self, folder: Path, sites: Mapping[str, Path], words: Sequence[str] = ()) -> None:
        self.folder, self.sites = folder, dict(sites)
        self.root = self.folder / NAME
        self.port = free_port()
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        words = [
            *words,
            "--name",
            NAME,
            "--host",
            "127.0.0.1",
            "--port",
            str(self.port),
            "--sites",
            ",".join(self.sites),
        ]
        self.init([*words, "--out", str(self.root)])
        [app] = read_allowed(self.root / "authority").apps
        self.approved = app.sha256
        self.set("server", VENV=sys.prefix)
        _set(self.root / "operator" / "operator.env", VENV=sys.prefix)
        for name, pictures in self.sites.items():
            self.configure(name, pictures)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for name in list(self.processes):
            self.stop(name)

    def init(self, words: Sequence[str]) -> None:
        """Make the folders."""
        with contextlib.redirect_stdout(io.StringIO()):
            federation.main(["init", *words])

    def site(self, name: str) -> Path:
        """Its folder."""
        return self.root / "sites" / name

    def configure(self, name: str, pictures: Path) -> None:
        """Set the folder of the site's images."""
        self.set(name, VENV=sys.prefix, DATA_ROOT=pictures, RUNTIME_PORT=free_port())

    def set(self, name: str, **values: object) -> None:
        """Change settings of the server or a site; it reads them when it starts."""
        env = self.root / "server" / "server.env" if name == "server" else self.site(name) / "site.env"
        _set(env, **values)

    def log(self, name: str) -> str:
        """Output of a process so far."""
        path = self.folder / f"{name}.log"
        return path.read_text(errors="replace") if path.exists() else ""

    def start(self, name: str) -> "subprocess.Popen[bytes]":
        """Start the server, or a site, with its own start command."""
        folder = self.root / "server" if name == "server" else self.site(name)
        with (self.folder / f"{name}.log").open("ab") as log:
            self.processes[name] = subprocess.Popen(
                ["/bin/sh", str(folder / "start.sh")], stdout=log, stderr=log, cwd="/", start_new_session=True
            )
        return self.processes[name]

    def start_server(self) -> None:
        """Start it, and wait until its port is open."""
        process = self.start("server")

        def answers() -> bool:
            if process.poll() is not None:
                raise BenchError(f"the server ended: {self.log('server')}")
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), timeout=1):
                return True
            return False

        self.wait_for(answers, "the server to listen")

    def start_all(self) -> None:
        """Server, then all sites, registered."""
        self.start_server()
        self.register()
        for name in self.sites:
            self.start(name)

    def register(self, *names: str) -> None:
        """Register these sites, or all."""
        subprocess.run(
            ["/bin/sh", str(self.root / "operator" / "register.sh"), *names], check=True, stdout=subprocess.DEVNULL
        )

    def run(self, run_dir: Path, overrides: str) -> tuple[RunFolder, "subprocess.Popen[bytes]"]:
        """Start a run; its process shows the log in `run-<name>.log` and ends with the run."""
        name = f"run-{Path(run_dir).name}"
        words = [*overrides.split(), f"run_dir={run_dir}"]
        with (self.folder / f"{name}.log").open("ab") as log:
            self.processes[name] = subprocess.Popen(
                ["/bin/sh", str(self.root / "operator" / "run.sh"), *words],
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        return RunFolder(run_dir), self.processes[name]

    def start_app(self, project: Path, name: str) -> "subprocess.Popen[bytes]":
        """Start a run of any app with Flower's own command, as anybody with `ca.crt` can; its log is `NAME.log`."""
        with (self.folder / f"{name}.log").open("ab") as log:
            self.processes[name] = subprocess.Popen(
                [str(Path(sys.prefix) / "bin" / "flwr"), "run", str(project), NAME, "--stream"],
                env={**os.environ, "FLWR_HOME": str(self.root / "operator" / "flower"), "FLWR_TELEMETRY_ENABLED": "0"},
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        return self.processes[name]

    def stop(self, name: str, how: signal.Signals = signal.SIGTERM) -> None:
        """End a process and its descendants; with SIGKILL at once, like a power cut."""
        process = self.processes.pop(name)
        with contextlib.suppress(psutil.NoSuchProcess):
            family = [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]
            for member in family if how == signal.SIGKILL else family[:1]:
                with contextlib.suppress(psutil.NoSuchProcess):
                    member.send_signal(how)
            _, alive = psutil.wait_procs(family, _END_SECONDS)
            for member in alive:
                with contextlib.suppress(psutil.NoSuchProcess):
                    member.kill()
        process.wait()

    def node_ids(self, name: str) -> list[str]:
        """Node ids that the server gave a site, by its public key."""
        done = subprocess.run(
            [str(Path(sys.prefix) / "bin" / "flwr"), "supernode", "list", NAME, "--format", "json"],
            env={**os.environ, "FLWR_HOME": str(self.root / "operator" / "flower")},
            capture_output=True,
            text=True,
            check=True,
        )
        return [node["node-id"] for node in json.loads(done.stdout)["nodes"] if node.get("name") == name]

    def client_processes(self, name: str) -> list[psutil.Process]:
        """Running processes of a site's app: forks of its fork server, or Flower's own."""
        found = []
        for child in psutil.Process(self.processes[name].pid).children(recursive=True):
            with contextlib.suppress(psutil.NoSuchProcess):
                words, parent = " ".join(child.cmdline()), child.parent()
                forked = _WARM in words and parent is not None and _WARM in " ".join(parent.cmdline())
                if forked or ("flwr-clientapp" in words and _HANDOVER not in words):
                    found.append(child)
        return found

    def wait_for(self, condition: Callable[[], object], what: str, seconds: float = _START_SECONDS) -> None:
        """Raises TimeoutError with the last words of all processes."""
        deadline = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > deadline:
                raise TimeoutError(f"waited {seconds} s for {what}: {self.last_words()}")
            time.sleep(0.2)

    def last_words(self) -> dict[str, str]:
        """The end of each log."""
        return {path.name: path.read_text(errors="replace")[-1500:] for path in sorted(self.folder.glob("*.log"))}


def _set(path: Path, **values: object) -> None:
    lines = path.read_text(encoding="utf-8").splitlines()
    for name, value in values.items():
        lines = [f"{name}={shlex.quote(str(value))}" if line.startswith(f"{name}=") else line for line in lines]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
