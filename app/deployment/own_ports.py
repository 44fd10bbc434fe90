"""Ports on loopback that a party's settings name: free, or open by the party itself."""

import errno
import socket
from collections.abc import Mapping
from pathlib import Path

import psutil

from app.deployment.certificates import LOOPBACK
from app.deployment.server_way import FailedItemError

LOOPBACK_PORTS = ("METRICS_PORT", "HEALTH_PORT")
_OTHERS = ("PORT", "RUNTIME_PORT", *LOOPBACK_PORTS)


def check_loopback_port(name: str, values: Mapping[str, str], folder: Path, env: Path) -> None:
    """Raise FailedItemError unless a setting is the number of a port that the party has or can open, and no other
    setting's."""
    port = values[name]
    setting = f"{name}={port} in {env}"
    if not (port.isascii() and port.isdecimal() and 0 < int(port) < 65536):
        raise FailedItemError(f"{setting} is no port", "Set a number between 1024 and 65535, or nothing for none")
    if twice := [other for other in _OTHERS if other != name and values.get(other) == port]:
        raise FailedItemError(f"{setting} is {twice[0]} as well", "Set another free port")
    try:
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((LOOPBACK, int(port)))
    except OSError as error:
        if error.errno == errno.EADDRINUSE and _is_own(port, folder):
            return
        taken = error.errno == errno.EADDRINUSE
        fault = "is taken by another program" if taken else f"cannot be opened: {error.strerror}"
        raise FailedItemError(f"{setting} {fault}", "Set another free port above 1023, or nothing for none") from error


def _is_own(port: str, folder: Path) -> bool:
    """Whether a process of this party's was started with the port: its words name the folder as well."""
    for process in psutil.process_iter(["cmdline"]):
        words = process.info["cmdline"] or ()  # none of a process that has ended
        own = str(folder.resolve())
        if any(word == own or f"{own}/" in word for word in words) and any(
            word == port or word.endswith(f":{port}") for word in words
        ):
            return True
    return False
