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
    if not INSTALL.fullmatch(str(folder.with_name(party.unit))):
        raise DeploymentError(_other_parent(folder, party.unit))
    if folder.name != party.unit:
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
    unit, target = UNITS / f"{party.unit}.service", place.with_name(party.unit)
    if not INSTALL.fullmatch(str(target)):
        return _other_parent(place, party.unit)
    starts = None
    with suppress(OSError):
        starts = f"\nWorkingDirectory={place}\n" in unit.read_text(encoding="utf-8", errors="replace")
    if starts or (starts is None and place == target):
        return ""
    step = f"as root, python -m scripts.federation service {target}"
    if place != target:
        away = f"move {target} away, " if os.path.lexists(target) else ""
        step = f"{away}rename {place} to {target}, and, {step}"
    why = f"the service is for a folder named {party.unit}" if starts is None else f"{unit} starts another folder"
    return f"{why}: {step}"


def _other_parent(place: Path, unit: str) -> str:
    return (
        f"no service has a path like {str(place.parent)!r}: move the folder to a path of letters, digits and ._-, as "
        f"{unit}, and there, as root, python -m scripts.federation service {unit}"
    )


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
