"""An archive of the authority put in place on a party's machine, whole or not at all, and taken out again.

Nothing of an archive is written before the authority's signature by the key that the party already holds, every size
and SHA-256, the party, and the serial number are checked, and before the folder with the new files has no more problems
than without them. What is replaced lies in `.replaced` until the next archive. A `BIND` that a new certificate lacks is
no such problem: it is the operator's to change afterwards.
"""

import json
import shutil
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from app.deployment import approval, verify
from app.deployment import parties as p
from app.deployment.approval import AllowedApps
from app.deployment.archives import ArchiveError, Update, read_members, read_update
from app.deployment.changes import changing, require_inside
from app.deployment.owners import as_owner
from app.deployment.parties import DeploymentError, Kind, Party, write_file
from app.deployment.programs import write_programs
from strategies.signing import AUTHORITY_PUBLIC_KEY, SigningError, read_public_key

_BEFORE = "before.json"


def apply(archive: Path, folder: Path) -> tuple[Update, list[str]]:
    """Put the files of an archive into a party's folder; the names that changed, none if it has them all. The archive
    that it had last repairs files that were changed since.

    Raises DeploymentError, ArchiveError or SigningError, and changes nothing, for an archive that is damaged, hostile,
    older than the folder, or of another party."""
    members = read_members(archive)
    with as_owner(folder):
        party = p.read_party(folder)
        update, content = read_update(archive, members, read_public_key(folder / AUTHORITY_PUBLIC_KEY))
        _check_party(archive, update, party, folder)
        if update.whole:
            raise ArchiveError(f"{archive} is for a machine without the folder of {party.name}; it is there: {folder}")
        is_new = _is_new(archive, update, content, folder)
        if not is_new and _is_current(update, content, folder):
            return update, []
        with changing(folder) as copy:
            before = verify.problems_of_files(copy)
            names = _put(copy, party, update, content, keep=is_new)
            if worse := [each for each in verify.problems_of_files(copy) if each not in before]:
                raise ArchiveError(f"{archive} does not fit the folder, and nothing was changed: {worse[0]}")
            if p.ALLOWED_APPS in content:
                _check_list(copy, folder)
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
        added, replaced = _read_before(kept, folder)
        for name in added:
            (copy / name).unlink(missing_ok=True)
        for name in replaced:
            (copy / name).parent.mkdir(mode=0o700, exist_ok=True)
            (kept / name).replace(copy / name)
        shutil.rmtree(kept)
        stays = {p.APPLIED, p.ALLOWED_APPS} if _keep_newest(copy, folder) else {p.APPLIED}
    return sorted({*added, *replaced} - stays)


def _read_before(kept: Path, folder: Path) -> tuple[list[str], list[str]]:
    """Names that an archive added, and those that it replaced, which are kept. Raises DeploymentError for a damaged
    record, and if a file is not kept."""
    path = folder / p.REPLACED / _BEFORE
    try:
        said = json.loads((kept / _BEFORE).read_text(encoding="utf-8"))
        added, replaced = ([str(name) for name in list(said[key])] for key in ("added", "replaced"))
    except (ValueError, TypeError, KeyError) as error:
        raise DeploymentError(
            f"{path} is damaged: nothing can be undone; apply the authority's newest archive"
        ) from error
    require_inside([*added, *replaced], path)
    if gone := [name for name in replaced if not (kept / name).is_file()]:
        raise DeploymentError(f"{path.with_name(gone[0])} is missing: nothing can be undone; apply the newest archive")
    return added, replaced


def _check_party(archive: Path, update: Update, party: Party, folder: Path) -> None:
    for what, said, own in (
        ("federation", update.federation, party.federation),
        ("party", update.name, party.name),
        ("kind of party", update.kind, party.kind),
    ):
        if said != own:
            raise ArchiveError(f"{archive} is for the {what} {said!r}; {folder} is of {own!r}")


def _is_new(archive: Path, update: Update, content: Mapping[str, bytes], folder: Path) -> bool:
    """Whether an archive is newer than the last one. Raises ArchiveError if it is older than one that the folder had,
    or another of that number."""
    serial, digest = applied(folder)
    if update.serial < _highest(folder):
        raise ArchiveError(f"{archive} of {update.date} is older than the one that {folder} has: take the newest")
    if update.serial == serial and update.digest != digest and not _is_current(update, content, folder):
        raise ArchiveError(f"{archive} has the number of another archive that {folder} has: let the authority make one")
    return update.serial > serial


def _is_current(update: Update, content: Mapping[str, bytes], folder: Path) -> bool:
    """Whether a folder has all of an archive: the first one and one of changes can have the same number."""
    own = p.read_party(folder)
    sites = {path.stem for path in (folder / "sites").glob("*.pub")}
    said = (update.key_id, update.control_port, set(update.sites))
    held = {name: (folder / name).read_bytes() for name in content if (folder / name).is_file()}
    return said == (own.key_id, own.control_port, sites) and held == content


def _check_list(copy: Path, folder: Path) -> None:
    """Raise SigningError for a list of app bundles older than the folder's own: it may hold a revoked one."""
    new, own = approval.read_allowed(copy), _own_list(folder)
    if own is not None and new.serial < own.serial:
        raise SigningError(
            f"{folder / p.ALLOWED_APPS} of {own.date} is newer than the archive's of {new.date}: take the newest; an "
            f"authority that was restored from a backup makes one with {approval.APPROVE} --again"
        )


def _own_list(folder: Path) -> AllowedApps | None:
    with suppress(SigningError):
        return approval.read_allowed(folder)
    return None


def _keep_newest(copy: Path, folder: Path) -> bool:
    """After an undo: keep the newer list of app bundles, as the one before may hold a revoked bundle, and the highest
    serial number, so that archives in between stay refused; whether the list was kept."""
    serial, digest = applied(copy)
    write_file(copy / p.APPLIED, _record(serial, digest, "", _highest(folder)), p.PUBLIC)
    new, old = _own_list(folder), _own_list(copy)
    if new is None or (old is not None and old.serial >= new.serial):
        return False
    write_file(copy / p.ALLOWED_APPS, (folder / p.ALLOWED_APPS).read_bytes(), p.PUBLIC)
    return True


def _highest(folder: Path) -> int:
    """Largest serial number of an archive that a folder had, also of one that was taken out again."""
    serial, _ = applied(folder)
    with suppress(FileNotFoundError, KeyError):
        return max(serial, int(json.loads((folder / p.APPLIED).read_text(encoding="utf-8"))["highest"]))
    return serial


def applied(folder: Path) -> tuple[int, str]:
    """Serial number and digest of a folder's last archive; (0, "") without one. Raises DeploymentError for a damaged
    record."""
    path = folder / p.APPLIED
    try:
        said = json.loads(path.read_text(encoding="utf-8"))
        int(said.get("highest", 0))
        return int(said["serial"]), str(said["digest"])
    except FileNotFoundError:
        return 0, ""
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise DeploymentError(f"{path} is damaged: delete it, and apply the authority's newest archive") from error


def write_content(folder: Path, party: Party, update: Update, content: Mapping[str, bytes]) -> None:
    """Write an archive's files with their modes, the party's own file, and which archive the folder has."""
    modes = party.files()
    for name, data in content.items():
        (folder / name).parent.mkdir(mode=0o700, exist_ok=True)
        write_file(folder / name, data, modes.get(name, p.PUBLIC))
    party.write(folder)
    write_file(folder / p.APPLIED, _record(update.serial, update.digest, update.date), p.PUBLIC)


def _record(serial: int, digest: str, date: str, highest: int = 0) -> bytes:
    said = {"serial": serial, "digest": digest, "date": date}
    return (json.dumps({**said, "highest": highest} if highest > serial else said, indent=1) + "\n").encode()


def _put(copy: Path, party: Party, update: Update, content: dict[str, bytes], *, keep: bool) -> list[str]:
    """Write an update into a copy of the folder; the names that changed. With `keep` what it replaces is kept, in place
    of what the one before replaced."""
    old = {name: (path.read_bytes(), path.stat().st_mode & 0o777) for name, path in _files(copy).items()}
    new = replace(party, key_id=update.key_id, control_port=update.control_port)
    write_content(copy, new, update, content)
    if update.kind is Kind.operator:
        for path in (copy / "sites").glob("*"):
            if path.stem not in update.sites:
                path.unlink()
        write_programs(copy)  # they hold the sites, the key's id and the authority
    now = {name: path.read_bytes() for name, path in _files(copy).items()}
    replaced = sorted(name for name, (data, _) in old.items() if now.get(name) != data)
    added = sorted(now.keys() - old.keys())
    if keep:
        _keep(copy / p.REPLACED, {name: old[name] for name in replaced}, added)
    return sorted({*replaced, *added} - {p.APPLIED})


def _keep(kept: Path, replaced: Mapping[str, tuple[bytes, int]], added: list[str]) -> None:
    shutil.rmtree(kept, ignore_errors=True)
    kept.mkdir(mode=0o700)
    for name, (data, mode) in replaced.items():
        (kept / name).parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_file(kept / name, data, mode)
    write_file(kept / _BEFORE, json.dumps({"replaced": list(replaced), "added": added}).encode(), p.SECRET)


def _files(folder: Path) -> dict[str, Path]:
    found = {str(path.relative_to(folder)): path for path in folder.rglob("*") if path.is_file()}
    return {name: path for name, path in found.items() if not name.startswith(f"{p.REPLACED}/")}
