"""A party's folder made of its backup, whole or not at all.

Everything is checked before anything is written: names, sizes and digests of all files, and the room on the disk. The
folder is then made under another name and renamed. Programs and service are those of the version installed here.
"""

import hashlib
import os
import re
import shutil
import stat
import tarfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, BinaryIO

from pydantic import ValidationError

from app.core.errors import AlreadyThereError
from app.core.files import sync_to_disk
from app.core.site_runs import NODE
from app.deployment import parties as p
from app.deployment.backup import FORMAT, MANIFEST, File, Manifest
from app.deployment.owners import give, names_of, require_roots_path
from app.deployment.parties import DeploymentError, Kind, write_file
from app.deployment.party_fields import INSTALL
from app.deployment.programs import write_programs, write_unit
from app.deployment.snapshot import PASSING, programs_of
from app.federation import restored
from app.federation.share_store import OPEN

_PIECE = 2**20
_LARGEST_MANIFEST = 64 * 2**20
_PLACE = re.compile(r"(?!\.{1,2}(/|$))[^/\0]+(/(?!\.{1,2}(/|$))[^/\0]+)*")


class BackupError(DeploymentError):
    """A backup that is not used; the message names it and the reason."""


@dataclass(frozen=True)
class Restored:
    """A folder that was restored.

    Args:
        owner: whom its files belong to now, where that is not as it was; else "".
    """

    folder: Path
    manifest: Manifest
    owner: str


def restore(file: Path, folder: Path) -> Restored:
    """Make a party's folder from a backup.

    Args:
        folder: missing or empty.

    Raises AlreadyThereError if the folder holds anything, BackupError, having written nothing, for a file that is no
    whole backup, does not fit the disk, or was made later than this machine's clock says, and OSError."""
    folder = folder.absolute()
    if os.path.ismount(folder):
        raise BackupError(f"{folder} is a mount point, which cannot be replaced: give a folder below it")
    if os.path.lexists(folder) and (folder.is_symlink() or not folder.is_dir() or any(folder.iterdir())):
        raise AlreadyThereError(f"{folder} is there and not empty: give a new folder, or move that one away")
    with _archive(file) as archive:
        manifest = _checked(archive, file)
        _check_room(manifest, folder)
        now = _clock(manifest, file)
        folder.parent.mkdir(parents=True, exist_ok=True)
        making = folder.with_name(f".{folder.name}.new")
        shutil.rmtree(making, ignore_errors=True)  # of a process that was killed
        making.mkdir(mode=0o700)
        try:
            _require_own_place(making)
            _fill(making, archive, file, manifest)
            for own in p.parties_of(making):
                _settle(own, folder / own.relative_to(making), making, now)
            owner = _hand_over(making, manifest)
            os.sync()
            making.replace(folder)
        finally:
            shutil.rmtree(making, ignore_errors=True)
    sync_to_disk(folder.parent)
    return Restored(folder, manifest, owner)


def _require_own_place(making: Path) -> None:
    """As root, write only where no other user can put a link in the way."""
    if os.geteuid() != 0:
        return
    try:
        require_roots_path(making)
    except DeploymentError as error:
        raise BackupError(
            f"{making.parent} can be changed by another user than root, who would choose where root writes: restore as "
            "that user, or to a place of root's, and move it afterwards"
        ) from error


def _archive(file: Path) -> BinaryIO:
    """The file, opened once and read twice: whoever replaces it in between changes nothing."""
    try:
        opened = file.open("rb")
    except OSError as error:
        raise BackupError(f"cannot read {file}: {error.strerror}") from error
    if not stat.S_ISREG(os.fstat(opened.fileno()).st_mode):
        opened.close()
        raise BackupError(f"{file} is no file")
    return opened


def _members(archive: BinaryIO, file: Path) -> Iterator[tuple[str, int, Iterator[bytes]]]:
    """Place, size and content of each file of the archive. Raises BackupError for one that `back_up` does not write."""
    archive.seek(0)
    with _named(file), tarfile.open(fileobj=archive, mode="r:") as tar:
        for about in tar:
            if about.type != tarfile.REGTYPE or about.sparse is not None:
                raise BackupError(f"{file} holds {about.name!r}, which is no plain file")
            content = tar.extractfile(about)
            assert content is not None
            yield about.name, about.size, _pieces(content, file)


def _pieces(content: IO[bytes], file: Path) -> Iterator[bytes]:
    with _named(file):
        while piece := content.read(_PIECE):
            yield piece


@contextmanager
def _named(file: Path) -> Iterator[None]:
    """Errors of an archive that cannot be read, as a BackupError."""
    try:
        yield
    except DeploymentError:
        raise
    except (tarfile.TarError, EOFError, ValueError, OverflowError) as error:
        raise BackupError(f"{file} is cut short, damaged, or no backup of `federation`: {error}") from error


def _checked(archive: BinaryIO, file: Path) -> Manifest:
    """The manifest of a backup, with all of whose files it agrees."""
    found: dict[str, tuple[int, str]] = {}
    last = b""
    for place, size, pieces in _members(archive, file):
        if last:
            raise BackupError(f"{file} goes on after its end")
        if place in found:
            raise BackupError(f"{file} holds {place!r} twice")
        if place == MANIFEST:
            if size > _LARGEST_MANIFEST:
                raise BackupError(f"{file}: {MANIFEST} has {size} bytes")
            last = b"".join(pieces)
        else:
            found[place] = _digest(pieces)
    if not last:
        raise BackupError(f"{file} is cut short, or no backup of `federation`: it does not end with {MANIFEST}")
    manifest = _manifest(last, file)
    for place in {**manifest.folders, **manifest.files}:
        if not _PLACE.fullmatch(place):
            raise BackupError(f"{file} names {place[:80]!r}, which is no place in a folder")
        if any(PASSING.fullmatch(part) for part in place.split("/")):
            raise BackupError(f"{file} holds {place[:80]!r}, a change that was under way, which no backup does")
        above = place.rpartition("/")[0]
        if above and above not in manifest.folders:
            raise BackupError(f"{file} has {place!r} in no folder")
    if twice := manifest.folders.keys() & manifest.files.keys():
        raise BackupError(f"{file} has {min(twice)!r} as a file and as a folder")
    expected = {place: (about.bytes, about.sha256) for place, about in manifest.files.items()}
    for place in sorted(expected.keys() | found.keys()):
        if place not in found:
            raise BackupError(f"{file} is not whole: {place} is missing")
        if place not in expected:
            raise BackupError(f"{file} was changed: it holds {place!r}, which was not in the folder")
        if found[place] != expected[place]:
            raise BackupError(f"{file} is damaged: {place} is not as it was put in")
    return manifest


def _manifest(data: bytes, file: Path) -> Manifest:
    try:
        manifest = Manifest.model_validate_json(data)
    except ValidationError as error:
        fault = error.errors()[0]
        place = ".".join(map(str, fault["loc"]))
        raise BackupError(f"{file} is damaged: {MANIFEST}: {place or 'file'}: {fault['msg']}") from error
    if manifest.format > FORMAT:
        raise BackupError(
            f"{file} is of format {manifest.format}, made by version {manifest.version}; this one knows {FORMAT}: "
            "restore it with that version"
        )
    return manifest


def _check_room(manifest: Manifest, folder: Path) -> None:
    place = folder.absolute()
    while not place.is_dir():
        place = place.parent
    needed, free = sum(about.bytes for about in manifest.files.values()), shutil.disk_usage(place).free
    if needed > free:
        raise BackupError(f"{place} has {free} bytes free, and the backup needs {needed}: make room, or go elsewhere")


def _clock(manifest: Manifest, file: Path) -> float:
    """Seconds since 1970. Raises BackupError for a clock that is behind the backup: a site knows by it what is from
    before its restoration."""
    now = time.time()
    try:
        created = datetime.fromisoformat(manifest.created).timestamp()
    except (ValueError, OverflowError) as error:
        raise BackupError(f"{file} is damaged: {MANIFEST}: created {manifest.created[:40]!r} is no time") from error
    if now < created:
        raise BackupError(
            f"{file} was made at {manifest.created}, and this machine's clock says "
            f"{datetime.fromtimestamp(now, UTC).isoformat(timespec='seconds')}: set the clock by NTP; if that of the "
            "backup's machine was ahead, restore once that time has come"
        )
    return now


def _fill(making: Path, archive: BinaryIO, file: Path, manifest: Manifest) -> None:
    for place in sorted(manifest.folders):
        (making / place).mkdir(mode=0o700)
    for place, _, pieces in _members(archive, file):
        if place != MANIFEST:
            about = manifest.files[place]
            if _digest(_written(making / place, pieces)) != (about.bytes, about.sha256):
                raise BackupError(f"{file} was changed while it was read: {place}")


def _written(path: Path, pieces: Iterator[bytes]) -> Iterator[bytes]:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "wb") as out:
        for piece in pieces:
            out.write(piece)
            yield piece


def _digest(pieces: Iterator[bytes]) -> tuple[int, str]:
    size, digest = 0, hashlib.sha256()
    for piece in pieces:
        size += len(piece)
        digest.update(piece)
    return size, digest.hexdigest()


def _settle(making: Path, folder: Path, root: Path, now: float) -> None:
    """Write a party's programs of this version, and let a site neither answer a question about shares that it dealt
    before nor deal any for an attempt of that time: it may have answered another question since the backup, and both
    together would open what they are to hide."""
    party = p.read_party(making)
    if making == root and party.kind is not Kind.authority:
        write_programs(making)
        if party.kind in (Kind.site, Kind.server):
            place = folder.absolute()
            write_unit(party, making, place if INSTALL.fullmatch(str(place)) else place.with_name(party.unit))
    if party.kind is Kind.site:
        node = making / p.STATE / NODE
        node.mkdir(parents=True, exist_ok=True, mode=0o700)
        if (node / OPEN).exists():
            write_file(node / OPEN, b"{}", p.SECRET)
        restored.mark(node, now)


def _hand_over(making: Path, manifest: Manifest) -> str:
    """Give folder and files their modes, times and owners; whom they belong to, where that is another."""
    others: set[str] = set()
    for place, about in [*manifest.files.items(), *sorted(manifest.folders.items(), reverse=True), ("", manifest.root)]:
        path = making / place
        if isinstance(about, File):
            os.utime(path, ns=(about.time, about.time))
        others |= give(path, about.user, about.group)
        path.chmod(about.mode)
    for own in p.parties_of(making):
        above = manifest.folders.get(own.relative_to(making).as_posix(), manifest.root)
        for path in _written_here(own):
            if path.relative_to(making).as_posix() not in {**manifest.files, **manifest.folders}:
                give(path, above.user, above.group)
    return f"{names_of(making.stat())[0]}, not {', '.join(sorted(others))}" if others else ""


def _written_here(folder: Path) -> list[Path]:
    """Files of a party that `restore` writes: programs, and a site's record of it, with the folders for that."""
    node = folder / p.STATE / NODE
    paths = [*(folder / name for name in programs_of(p.read_party(folder))), node.parent, node, node / restored.FILE]
    return [path for path in paths if path.exists()]
