"""The systemd service of a server or site, set up on its machine: user, owner of the folder, unit, start."""

import os
import pwd
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from app.deployment import parties as p
from app.deployment.parties import DeploymentError, Kind
from app.deployment.programs import write_unit
from app.deployment.setup import INSTALL

UNITS = Path("/etc/systemd/system")
USER = "fed-vehicle-reid"


def start_service(folder: Path) -> str:
    """Set the service of a party's folder up, start it, and return its name. It may be repeated. The unit is filled in
    anew: systemd keeps an administrator's own lines in a drop-in.

    Raises DeploymentError for an operator or authority, who have none, for another user than root, and with the words
    of a program that fails."""
    party = p.read_party(folder)
    if party.kind not in (Kind.server, Kind.site):
        raise DeploymentError(f"{folder}: of this party there is no service")
    if os.geteuid() != 0:
        raise DeploymentError("a service is set up by root: run this with sudo")
    folder = folder.resolve()  # `chown` would change the owner of a link alone
    p.check_name("federation", party.federation)  # both become the name of a file that root writes
    p.check_name(party.kind, party.name)
    name = f"{party.unit}.service"
    if folder.name != party.unit or not INSTALL.fullmatch(str(folder)):
        raise DeploymentError(f"{folder}: the service is for another folder than this: name it {party.unit}")
    try:
        pwd.getpwnam(USER)
    except KeyError:
        _run("useradd", "--system", USER)
    (folder / p.STATE).mkdir(mode=0o700, exist_ok=True)
    _run("chown", "-R", f"{USER}:", str(folder))
    write_unit(party, UNITS, folder)  # not the folder's copy, which the service's user can change
    _run("systemctl", "daemon-reload")
    _run("systemctl", "enable", "--now", name)
    return name


def unit_step(folder: Path) -> str:
    """What a person has left to do so that the service of a restored folder starts it; "" if nothing is."""
    party, place = p.read_party(folder), folder.absolute()
    name = f"{party.unit}.service"
    if not INSTALL.fullmatch(str(place)):
        return (
            f"{place / name} is for {place.with_name(party.unit)}, since no service has a path like {str(place)!r}: "
            "move the folder there"
        )
    if place.name == party.unit:
        step = f"python -m scripts.federation service {place}"
    else:
        step = f"cp {place / name} {UNITS} && systemctl daemon-reload"
    with suppress(OSError):
        if f"\nWorkingDirectory={place}\n" not in (UNITS / name).read_text(encoding="utf-8", errors="replace"):
            return f"{UNITS / name} starts another folder than {place}: as root, {step}"
        return ""
    return "" if place.name == party.unit else f"{place / name} starts {place}: as root, {step}"


def control_step(folder: Path) -> Iterator[str]:
    """What a person has left to do about nginx's settings in a server's restored folder."""
    with suppress(OSError):
        if f" {folder.absolute()}/{p.SERVER_CERTIFICATE};" not in (folder / p.CONTROL).read_text(encoding="utf-8"):
            yield f"{folder / p.CONTROL} names files of another folder: set its paths to {folder.absolute()}"


def _run(*words: str) -> None:
    try:
        done = subprocess.run(words, capture_output=True, text=True, check=False)
    except OSError as error:
        raise DeploymentError(f"{words[0]} cannot be run here: {error.strerror}") from error
    if done.returncode:
        said = (done.stderr.strip().splitlines() or [f"status {done.returncode}"])[0]
        raise DeploymentError(f"{' '.join(words)}: {said}")
