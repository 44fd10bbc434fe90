"""Checks of one machine before it joins a federation: its folder, the way to the server, the clock, and its own means.

Each item that fails is named with its remedy. Items that need an earlier one, as TLS needs an open port, are then left
out.
"""

import http.client
import os
import re
import shlex
import shutil
import socket
import ssl
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
from cryptography import x509

from app.deployment import clock, verify
from app.deployment import parties as p
from app.deployment.certificates import names_of
from app.deployment.parties import Kind, Party

_TIMEOUT = 10.0
_GIB = 2**30
_DISK = 2 * _GIB
_MEMORY = {Kind.site: 2 * _GIB, Kind.server: _GIB}
"""Least memory that is free: torch, a small network and its batches; a server and a run."""
_CLOCK_SECONDS = 5.0
_LINE = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)=(.*)")
_FOREIGN = {7, 18, 19, 20, 21}
_WRONG_NAME = {62, 64}
_EXPIRED, _NOT_YET = 10, 9
"""OpenSSL's numbers for what is wrong with a certificate."""


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
    memory: Callable[[], int] = lambda: int(psutil.virtual_memory().available)


class _FailedError(Exception):
    """An item that fails, with its remedy."""

    def __init__(self, fault: str, remedy: str) -> None:
        super().__init__(fault)
        self.fault, self.remedy = fault, remedy


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
    except _FailedError as error:
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
    if party.kind is Kind.site:
        yield "images", lambda: _images(values.get("DATA_ROOT", ""), folder / env)


def _way(party: Party, folder: Path, means: Means) -> Iterator[tuple[str, Check]]:
    """Checks of the way to the server, each of which needs the one before."""
    if party.kind is Kind.authority:
        return
    port = party.port
    if party.kind is Kind.operator and party.control_port:
        port = party.control_port
    yield "name", lambda: _name(party.host, port)
    yield "port", lambda: _port(party, port)
    yield "TLS", lambda: _tls(party, port, folder)
    if party.kind is Kind.site:
        address = f"[{party.host}]:{port}" if ":" in party.host else f"{party.host}:{port}"
        yield "clock", lambda: _clock(address, folder / p.AUTHORITY_CERTIFICATE, means)


def read_env(path: Path) -> dict[str, str]:
    """Values of a settings file as the shell reads them; without lines that it would change, which start.sh names."""
    found = {}
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError):  # `verify` names a missing one
        return {}
    for line in lines:
        if match := _LINE.match(line.strip()):
            try:
                words = shlex.split(match[2], comments=True)
            except ValueError:
                continue
            found[match[1]] = words[0] if words else ""
    return found


def _installation(party: Party, venv: str, env: Path) -> None:
    program = {Kind.site: "flower-supernode", Kind.operator: "flwr"}.get(party.kind, "python")
    if not os.access(Path(venv) / "bin" / program, os.X_OK):
        raise _FailedError(
            f"VENV={venv} in {env} has no bin/{program}",
            "Install the project there with `make .venv/.installed`, or set VENV to where it is installed",
        )


def _project(project: str, env: Path) -> None:
    if not (Path(project) / "pyproject.toml").is_file():
        raise _FailedError(f"PROJECT={project} in {env} is no checkout of the project", "Set it to the checkout")


def _disk(folder: Path, means: Means) -> None:
    place = folder / p.STATE if (folder / p.STATE).is_dir() else folder
    if (free := means.disk(place)) < _DISK:
        raise _FailedError(
            f"{place} has {free / _GIB:.1f} GiB left, and {_DISK / _GIB:.0f} are needed at least",
            "Make room: models of ended runs and caches lie in state/",
        )


def _memory(party: Party, means: Means) -> None:
    if (free := means.memory()) < _MEMORY[party.kind]:
        raise _FailedError(
            f"{free / _GIB:.1f} GiB of memory are free, and {_MEMORY[party.kind] / _GIB:.0f} are needed at least",
            "End other programs, or use a machine with more memory",
        )


def _images(root: str, env: Path) -> None:
    setting = f"DATA_ROOT={root} in {env}"
    remedy = "Set DATA_ROOT to the folder of the images, and let the user of the service read it"
    if not Path(root).is_absolute():
        raise _FailedError(f"{setting} is no absolute path", remedy)
    try:
        files = (Path(place) / name for place, _, names in os.walk(root, onerror=_raise) for name in names)
        for path in files:
            with path.open("rb") as file:
                file.read(1)
            return
    except OSError as error:
        raise _FailedError(f"{setting} cannot be read: {error.strerror}: {error.filename}", remedy) from error
    raise _FailedError(f"{setting} holds no file", remedy)


def _raise(error: OSError) -> None:
    raise error


def _name(host: str, port: int) -> None:
    try:
        socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except OSError as error:
        raise _FailedError(
            f"{host} has no address: {error.strerror or error}",
            "Put the server's name into the DNS, or its address and name into /etc/hosts of this machine",
        ) from error


def _port(party: Party, port: int) -> None:
    try:
        socket.create_connection((party.host, port), timeout=_TIMEOUT).close()
    except OSError as error:
        raise _FailedError(
            f"{party.host} port {port} cannot be reached: {error.strerror or 'no answer'}",
            "Start the server, and let its firewall and this machine's let the connection through",
        ) from error


def _tls(party: Party, port: int, folder: Path) -> None:
    try:
        context = ssl.create_default_context(cafile=str(folder / p.AUTHORITY_CERTIFICATE))
        if party.kind is Kind.operator and party.control_port:
            context.load_cert_chain(folder / p.OPERATOR_CERTIFICATE, folder / p.OPERATOR_KEY)
    except OSError as error:
        raise _FailedError(f"the certificates in {folder} cannot be used: {error}", "verify names them") from error
    try:
        with (
            socket.create_connection((party.host, port), timeout=_TIMEOUT) as plain,
            context.wrap_socket(plain, server_hostname=party.host),
        ):
            return
    except ssl.SSLCertVerificationError as error:
        raise _certificate_fault(error, party, port) from error
    except OSError as error:
        raise _FailedError(
            f"{party.host} port {port} does not speak TLS: {error.strerror or error}",
            "Another program listens there: see whether host and port are the server's",
        ) from error


def _certificate_fault(error: ssl.SSLCertVerificationError, party: Party, port: int) -> _FailedError:
    renew = "python -m scripts.federation renew FOLDER --server, at the authority, and restart the server with the new"
    code = error.verify_code
    if code in (_EXPIRED, _NOT_YET):
        state = "has expired" if code == _EXPIRED else "is not yet valid"
        return _FailedError(f"the server's certificate {state} by this machine's clock", f"Set the clock; else {renew}")
    if code in _WRONG_NAME:
        names = ", ".join(sorted(_names_shown(party.host, port))) or "another name"
        return _FailedError(
            f"the server's certificate is for {names} and not for {party.host}",
            f"See whether {party.host} leads to the server; else {renew}",
        )
    if code in _FOREIGN:
        return _FailedError(
            "the server's certificate is not by the authority of this federation",
            f"See whether {party.host} port {port} is the server; else copy the authority's {p.AUTHORITY_CERTIFICATE} "
            "to server and sites",
        )
    return _FailedError(f"the server's certificate is not valid: {error.verify_message}", f"At the server: {renew}")


def _names_shown(host: str, port: int) -> set[str]:
    """Names of a certificate that is not believed."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    try:
        with (
            socket.create_connection((host, port), timeout=_TIMEOUT) as plain,
            context.wrap_socket(plain) as connection,
        ):
            return names_of(x509.load_der_x509_certificate(connection.getpeercert(binary_form=True) or b""))
    except (OSError, ValueError):
        return set()


def _clock(address: str, certificate: Path, means: Means) -> None:
    try:
        ahead = clock.seconds_ahead(*clock.server_date(address, certificate, means.now))
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise _FailedError(
            f"the server does not say its time: {error}", "See the server's log: it should answer with a date"
        ) from error
    if abs(ahead) > _CLOCK_SECONDS:
        where = "ahead of" if ahead > 0 else "behind"
        raise _FailedError(
            f"this machine's clock is {abs(ahead):.0f} s {where} the server's",
            "Set the clocks of all machines by NTP: apt-get install chrony, and chronyc tracking shows the offset",
        )
