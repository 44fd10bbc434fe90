"""Backup of a party's folder as one file, taken while the party runs.

It is a plain tar file: the folder's files by their places, and last `backup.json` with size, SHA-256, mode, time and
owner of each; a file that is cut short has none. It holds private keys, as the folder does, and is for its owner alone.
"""

import fcntl
import hashlib
import json
import os
import shutil
import sqlite3
import stat
import tarfile
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from datetime import UTC, datetime
from importlib.metadata import version
from io import BytesIO
from pathlib import Path
from tempfile import mkdtemp
from typing import BinaryIO

from pydantic import BaseModel, ConfigDict, Field

from app.core.errors import AlreadyThereError
from app.core.files import sync_to_disk
from app.core.versions import PROJECT
from app.deployment import parties as p
from app.deployment.changes import unchanged
from app.deployment.owners import as_owner, names_of
from app.deployment.parties import DeploymentError, Kind
from app.deployment.snapshot import content, copy_database, opened

MANIFEST = "backup.json"
FORMAT = 1
_UNFINISHED = ".unfinished"


class Entry(BaseModel):
    """A folder of a backup. `user` and `group` are names, or numbers that have none."""

    model_config = ConfigDict(extra="forbid")
    mode: int = Field(ge=0, le=0o777)
    user: str
    group: str


class File(Entry):
    """A file of a backup; `time` of its last change in nanoseconds since 1970."""

    bytes: int = Field(ge=0)
    sha256: str
    time: int


class Manifest(BaseModel):
    """What a backup holds.

    Args:
        version: of the project that made it.
        kind, federation, name: of the party; of a whole federation's folder those of its authority.
        root: the folder itself.
        folders, files: by place, relative and with slashes.
    """

    model_config = ConfigDict(extra="forbid")
    format: int
    version: str
    created: str
    kind: Kind
    federation: str
    name: str
    root: Entry
    folders: dict[str, Entry]
    files: dict[str, File]


def back_up(folder: Path, file: Path) -> Manifest:
    """Write a backup of a party's folder to a new file.

    Args:
        folder: of a party; for the authority that of the federation, whose archives and public keys it needs.

    Raises AlreadyThereError if the file is there, DeploymentError for a folder of no party, a link in it, or files that
    never rest, and OSError. After an error, and after a kill, there is no such file."""
    root = whole_folder(folder)
    if file.exists():
        raise AlreadyThereError(f"{file} is there already: give another name")
    if file.resolve().is_relative_to(root.resolve()):
        raise DeploymentError(f"{file} lies in the folder itself: give a place elsewhere, best on another disk")
    file.parent.mkdir(parents=True, exist_ok=True)
    with _beside(file) as place:
        archive = place / "archive.tar"
        descriptor = os.open(archive, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, p.SECRET)
        with os.fdopen(descriptor, "wb") as out:  # opened as this user: the owner of the folder may not write here
            manifest = _write(root, place, out)
            out.flush()
            os.fsync(out.fileno())
        try:
            os.link(archive, file)  # fails where another command has made it meanwhile
        except FileExistsError as error:
            raise AlreadyThereError(f"{file} is there already: give another name") from error
        except OSError:  # a disk without links
            archive.replace(file)
    sync_to_disk(file.parent)
    return manifest


def whole_folder(folder: Path) -> Path:
    """The folder to back up. Raises DeploymentError for a folder of no party."""
    if not (folder / p.PARTY_FILE).exists() and (folder / "authority" / p.PARTY_FILE).exists():
        return folder
    own = folder.resolve()
    is_authority = p.read_party(folder).kind is Kind.authority
    return own.parent if is_authority and own.name == "authority" else folder


@contextmanager
def _beside(file: Path) -> Iterator[Path]:
    """A folder for unfinished files beside `file`, locked meanwhile. What killed processes left there is deleted: it
    holds private keys."""
    for left in file.parent.glob(f".*{_UNFINISHED}"):
        with _locked(left) as is_free:
            if is_free:
                shutil.rmtree(left, ignore_errors=True)
    place = Path(mkdtemp(prefix=f".{file.name}.", suffix=_UNFINISHED, dir=file.parent))
    with _locked(place):
        try:
            yield place
        finally:
            shutil.rmtree(place)


@contextmanager
def _locked(folder: Path) -> Iterator[bool]:
    """A folder's lock, which ends with the process however it ends; whether it was free."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            is_free = True
        except BlockingIOError:
            is_free = False
        yield is_free
    finally:
        os.close(descriptor)


def _write(root: Path, place: Path, out: BinaryIO) -> Manifest:
    with as_owner(root):
        party = p.read_party(root if (root / p.PARTY_FILE).exists() else root / "authority")
        databases = list(content(root).databases)
    copies = {name: place / f"{number}.db" for number, name in enumerate(databases)}
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as tar:
        with ExitStack() as stack:
            targets = {name: stack.enter_context(_empty_database(path)) for name, path in copies.items()}
            with as_owner(root), unchanged(root), opened(lambda: content(root)) as (found, files):
                for name, path in found.databases.items():
                    copy_database(path, targets[name])
                known = {name: path.stat() for name, path in found.databases.items()}
                entries = {
                    name: _add(tar, name, each.file, each.about, each.about.st_size) for name, each in files.items()
                }
                folders = {name: entry(path.stat()) for name, path in found.folders.items()}
                own = entry(root.stat())
        for name, about in known.items():
            with closing(sqlite3.connect(copies[name])) as copy:
                copy.execute("PRAGMA journal_mode=DELETE")  # one file
            with copies[name].open("rb") as file:
                entries[name] = _add(tar, name, file, about, os.fstat(file.fileno()).st_size)
        manifest = Manifest(
            format=FORMAT,
            version=version(PROJECT),
            created=datetime.now(UTC).isoformat(timespec="seconds"),
            kind=party.kind,
            federation=party.federation,
            name=party.name,
            root=own,
            folders=folders,
            files=entries,
        )
        data = json.dumps(manifest.model_dump(), indent=1).encode()
        tar.addfile(_header(MANIFEST, len(data)), BytesIO(data))
    return manifest


def _empty_database(path: Path) -> closing[sqlite3.Connection]:
    """A new database, open: its files are this user's, whoever writes it."""
    database = sqlite3.connect(path)
    database.execute("PRAGMA journal_mode=OFF")  # no further file
    return closing(database)


def _add(tar: tarfile.TarFile, place: str, file: BinaryIO, about: os.stat_result, size: int) -> File:
    """Put the first bytes of an open file into the archive."""
    reader = _Digested(file)
    tar.addfile(_header(place, size), reader)
    return File(**dict(entry(about)), bytes=size, sha256=reader.digest.hexdigest(), time=about.st_mtime_ns)


class _Digested:
    """A file with the SHA-256 of what was read of it."""

    def __init__(self, file: BinaryIO) -> None:
        self.file, self.digest = file, hashlib.sha256()

    def read(self, count: int = -1, /) -> bytes:
        data = self.file.read(count)
        self.digest.update(data)
        return data


def entry(about: os.stat_result) -> Entry:
    """Mode and owner."""
    user, group = names_of(about)
    return Entry(mode=stat.S_IMODE(about.st_mode) & 0o777, user=user, group=group)


def _header(name: str, size: int) -> tarfile.TarInfo:
    about = tarfile.TarInfo(name)
    about.size, about.mode = size, p.SECRET
    return about
