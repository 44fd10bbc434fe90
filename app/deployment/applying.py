"""An archive of the authority put in place on a party's machine, whole or not at all, and taken out again.

Nothing of an archive is written before the authority's signature by the key that the party already holds, every size
and SHA-256, the party, and the serial number are checked, and before the folder with the new files has no more problems
than without them. What is replaced lies in `.replaced` until the next archive.
"""

import json
import os
import pwd
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from app.deployment import approval, verify
from app.deployment import parties as p
from app.deployment.archives import ArchiveError, Update, read_members, read_update
from app.deployment.changes import changing
from app.deployment.parties import DeploymentError, Kind, Party, write_file
from app.deployment.programs import write_programs
from strategies.signing import AUTHORITY_PUBLIC_KEY, read_public_key

_BEFORE = "before.json"


def apply(archive: Path, folder: Path) -> tuple[Update, list[str]]:
    """Put the files of an archive into a party's folder; the names that changed, none if it had been applied.

    Raises DeploymentError, ArchiveError or SigningError, and changes nothing, for an archive that is damaged, hostile,
    older than the folder, or of another party."""
    members = read_members(archive)
    with as_owner(folder):
        party = p.read_party(folder)
        update, content = read_update(archive, members, read_public_key(folder / AUTHORITY_PUBLIC_KEY))
        _check_party(archive, update, party, folder)
        if update.whole:
            raise ArchiveError(f"{archive} is for a machine without the folder of {party.name}; it is there: {folder}")
        if not _is_new(archive, update, folder):
            return update, []
        with changing(folder) as copy:
            before = verify.problems(copy)
            names = _put(copy, party, update, content)
            if worse := [each for each in verify.problems(copy) if each not in before]:
                raise ArchiveError(f"{archive} does not fit the folder, and nothing was changed: {worse[0]}")
            if p.ALLOWED_APPS in content and update.kind is Kind.site:
                approval.check_newest(approval.read_allowed(copy), folder)
    return update, names


def undo(folder: Path) -> list[str]:
    """Put back what the last archive replaced; the names that changed. Raises DeploymentError if nothing is kept."""
    with as_owner(folder), changing(folder) as copy:
        p.read_party(folder)
        kept = copy / p.REPLACED
        if not (kept / _BEFORE).exists():
            raise DeploymentError(f"{folder} keeps nothing that an archive replaced: there is nothing to undo")
        said = json.loads((kept / _BEFORE).read_text(encoding="utf-8"))
        for name in said["added"]:
            (copy / name).unlink(missing_ok=True)
        for name in said["replaced"]:
            (copy / name).parent.mkdir(mode=0o700, exist_ok=True)
            (kept / name).replace(copy / name)
        shutil.rmtree(kept)
    return sorted({*said["added"], *said["replaced"]} - {p.APPLIED})


@contextmanager
def as_owner(folder: Path) -> Iterator[None]:
    """Write as the user whom a folder belongs to, who is the service's: root becomes that user meanwhile.

    Raises DeploymentError for any other user, if there is no such folder, and for a folder of root's on a path that
    another user can change: that user would choose where root writes."""
    if not folder.is_dir():
        raise DeploymentError(f"{folder} is no folder")
    owner, own = folder.stat(), (os.geteuid(), os.getegid())
    if owner.st_uid == own[0]:
        if own[0] == 0:
            _check_path(folder)
        yield
        return
    if own[0] != 0:
        raise DeploymentError(f"{folder} belongs to {_user(owner.st_uid)}: run this as that user, or as root")
    groups = os.getgroups()
    os.setgroups([])
    os.setegid(owner.st_gid)
    os.seteuid(owner.st_uid)
    try:
        yield
    finally:
        os.seteuid(own[0])
        os.setegid(own[1])
        os.setgroups(groups)


def _check_path(folder: Path) -> None:
    """Raise DeploymentError unless root alone can change where a path leads, as it is given and with links followed."""
    for path in (folder.absolute(), folder.resolve()):
        for child, parent in zip((path, *path.parents), path.parents, strict=False):
            found = parent.stat()
            by_others = found.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
            sticky = found.st_mode & stat.S_ISVTX and child.lstat().st_uid == 0  # as /tmp: others cannot rename it
            if found.st_uid != 0 or (by_others and not sticky):
                raise DeploymentError(
                    f"{folder} belongs to root, and another user can change {parent}: give the folder to the service's "
                    "user, or make that one root's alone"
                )


def _check_party(archive: Path, update: Update, party: Party, folder: Path) -> None:
    for what, said, own in (
        ("federation", update.federation, party.federation),
        ("party", update.name, party.name),
        ("kind of party", update.kind, party.kind),
    ):
        if said != own:
            raise ArchiveError(f"{archive} is for the {what} {said!r}; {folder} is of {own!r}")


def _is_new(archive: Path, update: Update, folder: Path) -> bool:
    """Whether an archive is newer than the last one. Raises ArchiveError if it is older, or another of that number."""
    serial, digest = applied(folder)
    if update.serial < serial:
        raise ArchiveError(f"{archive} of {update.date} is older than the one that {folder} has: take the newest")
    if update.serial == serial and update.digest != digest:
        raise ArchiveError(f"{archive} has the number of another archive that {folder} has: let the authority make one")
    return update.serial > serial


def applied(folder: Path) -> tuple[int, str]:
    """Serial number and digest of a folder's last archive; (0, "") without one. Raises DeploymentError for a damaged
    record."""
    path = folder / p.APPLIED
    try:
        said = json.loads(path.read_text(encoding="utf-8"))
        return int(said["serial"]), str(said["digest"])
    except FileNotFoundError:
        return 0, ""
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise DeploymentError(f"{path} is damaged: delete it, and apply the authority's newest archive") from error


def record(folder: Path, update: Update) -> None:
    """Write which archive a folder has."""
    text = json.dumps({"serial": update.serial, "digest": update.digest, "date": update.date}, indent=1) + "\n"
    write_file(folder / p.APPLIED, text.encode(), p.PUBLIC)


def _put(copy: Path, party: Party, update: Update, content: dict[str, bytes]) -> list[str]:
    """Write an update into a copy of the folder, and keep what it replaces; the names that changed."""
    shutil.rmtree(copy / p.REPLACED, ignore_errors=True)
    old = {name: (path.read_bytes(), path.stat().st_mode & 0o777) for name, path in _files(copy).items()}
    new = replace(party, key_id=update.key_id, control_port=update.control_port)
    modes = new.files()
    for name, data in content.items():
        (copy / name).parent.mkdir(mode=0o700, exist_ok=True)
        write_file(copy / name, data, modes.get(name, p.PUBLIC))
    new.write(copy)
    record(copy, update)
    if update.kind is Kind.operator:
        for path in (copy / "sites").glob("*"):
            if path.stem not in update.sites:
                path.unlink()
        write_programs(copy)  # they hold the sites, the key's id and the authority
    now = {name: path.read_bytes() for name, path in _files(copy).items()}
    replaced = sorted(name for name, (data, _) in old.items() if now.get(name) != data)
    kept = copy / p.REPLACED
    kept.mkdir(mode=0o700)
    for name in replaced:
        (kept / name).parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_file(kept / name, *old[name])
    added = sorted(now.keys() - old.keys())
    write_file(kept / _BEFORE, json.dumps({"replaced": replaced, "added": added}).encode(), p.SECRET)
    return sorted({*replaced, *added} - {p.APPLIED})


def _files(folder: Path) -> dict[str, Path]:
    found = {str(path.relative_to(folder)): path for path in folder.rglob("*") if path.is_file()}
    return {name: path for name, path in found.items() if not name.startswith(f"{p.REPLACED}/")}


def _user(number: int) -> str:
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return f"the user {number}"
