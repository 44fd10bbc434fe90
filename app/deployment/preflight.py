"""Checks of one machine before it joins a federation: its folder, the way to the server, the clock, and its own means.

Each item that fails is named with its remedy. Items that need an earlier one, as TLS needs an open port, are then left
out.
"""

import os
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from app.core.limits import free_memory
from app.deployment import parties as p
from app.deployment import server_way as way
from app.deployment import verify
from app.deployment.env_file import read_env
from app.deployment.own_ports import LOOPBACK_PORTS, check_loopback_port
from app.deployment.parties import Kind, Party
from app.deployment.server_way import FailedItemError
from app.deployment.site_files import data_fault

_GIB = 2**30
_DISK = 2 * _GIB
_MEMORY = {Kind.site: 2 * _GIB, Kind.server: _GIB}
"""Least memory that is free: torch, a small network and its batches; a server and a run."""


@dataclass(frozen=True)
class Finding:
    """One item; `fault` is "" if it is in order."""

    item: str
    fault: str = ""
    remedy: str = ""

    def __str__(self) -> str:
        return f"{self.item}: {f'{self.fault}. {self.remedy}' if self.fault else 'in order'}"


@dataclass(frozen=True)
class Means:
    """Figures of the machine: seconds since 1970, and bytes of disk (of a folder) and memory that are free."""

    now: Callable[[], float] = time.time
    disk: Callable[[Path], int] = lambda folder: shutil.disk_usage(folder).free
    memory: Callable[[], int] = free_memory


Check = Callable[[], None]


def preflight(folder: Path, means: Means | None = None) -> list[Finding]:
    """The items of a party's machine. Raises DeploymentError if the folder is no party's."""
    party, chosen = p.read_party(folder), means or Means()
    found = [Finding("folder", sentence, "verify says so as well") for sentence in verify.problems(folder)]
    found = found or [Finding("folder")]
    for name, check in _own(party, folder, chosen):
        found.append(_tried(name, check))
    for name, check in _way(party, folder, chosen):
        found.append(_tried(name, check))
        if found[-1].fault and name != "clock":
            break
    return found


def _tried(item: str, check: Check) -> Finding:
    try:
        check()
    except FailedItemError as error:
        return Finding(item, error.fault, error.remedy)
    return Finding(item)


def _own(party: Party, folder: Path, means: Means) -> Iterator[tuple[str, Check]]:
    """Checks of the machine itself."""
    if party.kind is Kind.authority:
        return
    env = "site.env" if party.kind is Kind.site else f"{party.kind}.env"
    values = read_env(folder / env)
    yield "installation", lambda: _installation(party, values.get("VENV", ""), folder / env)
    if party.kind is Kind.operator:
        yield "project", lambda: _project(values.get("PROJECT", ""), folder / env)
        return
    yield "disk", lambda: _disk(folder, means)
    yield "memory", lambda: _memory(party, means)
    for name in LOOPBACK_PORTS:
        if values.get(name):
            yield name, partial(check_loopback_port, name, values, folder, folder / env)
    if party.kind is Kind.site:
        yield "images", lambda: _images(values.get("DATA", ""), values.get("DATA_ROOT", ""), folder / env)


def _way(party: Party, folder: Path, means: Means) -> Iterator[tuple[str, Check]]:
    """Checks of the way to the server, each of which needs the one before."""
    if party.kind is Kind.authority:
        return
    port = party.port
    if party.kind is Kind.operator and party.control_port:
        port = party.control_port
    yield "name", lambda: way.check_name(party.host, port)
    if party.kind is Kind.server:
        values = read_env(folder / "server.env")
        bind, own = values.get("BIND", "0.0.0.0"), values.get("PORT", "")
        yield "port", lambda: way.check_own_port(bind, own, folder / "server.env")
        if not way.is_open(bind, own):  # not started yet
            return
        yield "TLS", lambda: way.check_tls(party, port, folder)
        return
    yield "port", lambda: way.check_port(party, port)
    yield "TLS", lambda: way.check_tls(party, port, folder)
    if party.kind is Kind.operator:
        yield "access", lambda: way.check_access(party, port, folder)
    if party.kind is Kind.site:
        address = f"[{party.host}]:{port}" if ":" in party.host else f"{party.host}:{port}"
        yield "clock", lambda: way.check_clock(address, folder / p.AUTHORITY_CERTIFICATE, means.now)


def _installation(party: Party, venv: str, env: Path) -> None:
    program = {Kind.site: "flower-supernode", Kind.operator: "flwr"}.get(party.kind, "python")
    if not os.access(Path(venv) / "bin" / program, os.X_OK):
        raise FailedItemError(
            f"VENV={venv} in {env} has no bin/{program}",
            "Install the project there with `make .venv/.installed`, or set VENV to where it is installed",
        )


def _project(project: str, env: Path) -> None:
    if not (Path(project) / "pyproject.toml").is_file():
        raise FailedItemError(f"PROJECT={project} in {env} is no checkout of the project", "Set it to the checkout")


def _disk(folder: Path, means: Means) -> None:
    place = folder / p.STATE if (folder / p.STATE).is_dir() else folder
    if (free := means.disk(place)) < _DISK:
        raise FailedItemError(
            f"{place} has {free / _GIB:.1f} GiB left, and {_DISK / _GIB:.0f} are needed at least",
            "Make room: models of ended runs and caches lie in state/",
        )


def _memory(party: Party, means: Means) -> None:
    if (free := means.memory()) < _MEMORY[party.kind]:
        raise FailedItemError(
            f"{free / _GIB:.1f} GiB of memory are free, and {_MEMORY[party.kind] / _GIB:.0f} are needed at least",
            "End other programs, or use a machine with more memory",
        )


def _images(data: str, root: str, env: Path) -> None:
    setting = f"DATA_ROOT={root} in {env}"
    remedy = "Set DATA_ROOT to the folder of the images, and let the user of the service read it"
    if not Path(root).is_absolute():
        raise FailedItemError(f"{setting} is no absolute path", remedy)
    if fault := data_fault(data, root):
        raise FailedItemError(f"DATA={data} in {env}: {fault}", "Set DATA to the kind of data set that they are")
    try:
        files = (Path(place) / name for place, _, names in os.walk(root, onerror=_raise) for name in names)
        for path in files:
            with path.open("rb") as file:
                file.read(1)
            return
    except OSError as error:
        raise FailedItemError(f"{setting} cannot be read: {error.strerror}: {error.filename}", remedy) from error
    raise FailedItemError(f"{setting} holds no file", remedy)


def _raise(error: OSError) -> None:
    raise error
