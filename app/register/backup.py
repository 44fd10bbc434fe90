"""Backup of a register that is in use: tables, images, models and calibrations at one moment, with their digests."""

import hashlib
import os
import re
import shutil
import sqlite3
import subprocess
import tempfile
from collections.abc import Iterable
from contextlib import closing
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError
from sqlalchemy import URL, create_engine, text
from sqlalchemy.orm import Session

from app.core.errors import AlreadyThereError
from app.register.database import Database
from app.register.errors import RegisterError
from app.register.folder import RegisterFolder
from app.register.receivers import CAMERAS_FILE, EVENTS_FILE
from app.register.records import named_images
from app.register.schema import Base, Setting, now
from models.errors import MissingFileError

MANIFEST = "backup.json"
PICTURES, FOLDERS, SETTINGS = "pictures", ("models", "calibration"), (EVENTS_FILE, CAMERAS_FILE)
_FORMAT = 1
_ATTEMPTS = 5  # where images that the copied tables name are forgotten meanwhile, the tables are copied again
_PIECE = 2**20
_PLACE = re.compile(
    rf"(({PICTURES}|{'|'.join(FOLDERS)})(/[\w-][\w.-]*)+)|{'|'.join(map(re.escape, SETTINGS))}", re.ASCII
)


class File(BaseModel):
    """A file of a backup."""

    model_config = ConfigDict(extra="forbid")
    bytes: int
    sha256: str


class Manifest(BaseModel):
    """What a backup holds.

    Args:
        format: of the backup.
        tables: version of the register's tables.
        missing: images that rows name and that were not there.
        files: by their place in the backup.
    """

    format: int
    tables: int
    database: Literal["sqlite", "postgresql"]
    created: str
    counts: dict[str, int]
    missing: list[str]
    files: dict[str, File]

    @property
    def tables_file(self) -> str:
        """The file of the tables."""
        return "register.sqlite" if self.database == "sqlite" else "register.sql"

    def places(self) -> list[str]:
        """The places of all files but the tables."""
        return [place for place in self.files if place != self.tables_file]


def back_up(register: RegisterFolder, folder: Path, account: str) -> Manifest:
    """Write a backup to a new folder while the register is in use. It holds the tables as they were at one moment, and
    all images that they name then.

    Raises AlreadyThereError if the folder is there, RegisterError where PostgreSQL has no `pg_dump`, and OSError. After
    an error there is no folder."""
    if folder.exists():
        raise AlreadyThereError(f"{folder} is there already")
    if folder.resolve().is_relative_to(register.folder.resolve()):
        raise RegisterError(f"{folder} lies in the register itself: give a folder elsewhere, best on another disk")
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}-") as temporary:
        unfinished = Path(temporary) / "backup"
        unfinished.mkdir(mode=0o700)
        manifest = _fill(register, unfinished)
        (unfinished / MANIFEST).write_text(manifest.model_dump_json(indent=1), encoding="utf-8")
        os.sync()
        unfinished.rename(folder)
        os.sync()
    register.journal.write(account, "back up", "", manifest.counts)
    return manifest


def read_manifest(folder: Path) -> Manifest:
    """The manifest of a backup. Raises MissingFileError, and RegisterError for one that is damaged, of a newer format,
    or names files outside the backup."""
    path = folder / MANIFEST
    if not path.is_file():
        raise MissingFileError(f"no backup in {folder}: {MANIFEST} is missing")
    try:
        manifest = Manifest.model_validate_json(path.read_bytes())
    except ValidationError as error:
        fault = error.errors()[0]
        place = ".".join(map(str, fault["loc"]))
        raise RegisterError(f"{path} is damaged: {place or 'file'}: {fault['msg']}") from error
    if manifest.format > _FORMAT:
        raise RegisterError(f"{path} is of format {manifest.format}, this program knows {_FORMAT}")
    if strange := next((place for place in manifest.places() if not _PLACE.fullmatch(place)), None):
        raise RegisterError(f"{path} is damaged: it names {strange[:80]!r}")
    return manifest


def kept_files(folder: Path) -> list[str]:
    """Places of the files of a register that are neither tables nor images: models, calibrations, settings."""
    below = [path for name in FOLDERS for path in sorted((folder / name).rglob("*"))]
    places = [path.relative_to(folder) for path in [*below, *(folder / name for name in SETTINGS)] if path.is_file()]
    return [place.as_posix() for place in places if not any(part.startswith(".") for part in place.parts)]


def copied(source: Path, target: Path | None = None) -> File:
    """Size and digest of a file, and a copy of it at `target`."""
    digest, size = hashlib.sha256(), 0
    with source.open("rb") as file, (target or Path(os.devnull)).open("wb") as copy:
        while piece := file.read(_PIECE):
            digest.update(piece)
            size += copy.write(piece)
    return File(bytes=size, sha256=digest.hexdigest())


def tables_engine(path: Path) -> Any:
    """An engine over a copy of SQLite tables, which nobody else uses."""
    return create_engine(URL.create("sqlite", database=str(path)), hide_parameters=True)


def require_program(name: str) -> str:
    """The path of a program of PostgreSQL's. Raises RegisterError without it."""
    found = shutil.which(name)
    if found is None:
        raise RegisterError(
            f"a PostgreSQL register needs {name}, which is not installed (Debian: apt-get install postgresql-client)"
        )
    return found


def run_program(database: Database, words: Iterable[str], path: Path) -> None:
    """Run a program of PostgreSQL's on a database. Its password is not among the words, which other users see.

    Raises RegisterError with the first line that it says."""
    url = database.engine.url
    plain = url.set(drivername="postgresql")._replace(password=None).difference_update_query(["answer_timeout"])
    environment = {**os.environ, **({"PGPASSWORD": str(url.password)} if url.password else {})}
    command = [*words, "--dbname", plain.render_as_string(hide_password=False)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        said = next((line for line in done.stderr.splitlines() if "error" in line.lower()), done.stderr[:200])
        raise RegisterError(f"{path.name} failed, and nothing was changed: {said.strip()}")


def _fill(register: RegisterFolder, folder: Path) -> Manifest:
    for name in (PICTURES, *FOLDERS):
        (folder / name).mkdir(mode=0o700)
    files: dict[str, File] = {}
    with register.database.reading() as session:
        _copy_images(register, folder, named_images(session), files)  # most of the time, and before the tables
    missing: list[str] | None = None
    for _ in range(_ATTEMPTS):
        named, tables, counts = _copy_tables(register.database, folder)
        before, missing = missing, _copy_images(register, folder, named, files)
        if not missing or missing == before:  # or they are lost to the register as well
            break
    for place in [place for place in files if Path(place).name not in named]:
        (folder / place).unlink()
        del files[place]
    for place in kept_files(register.folder):
        target = folder / place
        target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        files[place] = copied(register.folder / place, target)
    kind: Literal["sqlite", "postgresql"] = "sqlite" if register.database.is_sqlite else "postgresql"
    manifest = Manifest(
        format=_FORMAT,
        tables=tables,
        database=kind,
        created=now().isoformat(timespec="seconds"),
        counts=counts,
        missing=missing or [],
        files=files,
    )
    files[manifest.tables_file] = copied(folder / manifest.tables_file)
    return manifest.model_copy(update={"files": files})


def _copy_images(register: RegisterFolder, folder: Path, names: Iterable[str], files: dict[str, File]) -> list[str]:
    """Copy images that are not copied yet; names of those that are not there."""
    missing = []
    for name in sorted(names):
        if (place := f"{PICTURES}/{name}") not in files:
            try:
                files[place] = copied(register.photos.path(name), folder / place)
            except FileNotFoundError:
                missing.append(name)
    return missing


def _copy_tables(database: Database, folder: Path) -> tuple[set[str], int, dict[str, int]]:
    """Copy the tables as they are at one moment; names of their images, their version, and how many rows there are."""
    if database.is_sqlite:
        path = folder / "register.sqlite"
        path.unlink(missing_ok=True)
        with closing(database.engine.raw_connection()) as raw, closing(sqlite3.connect(path)) as copy:
            raw.driver_connection.backup(copy)  # type: ignore[union-attr]  # writers go on beside it
            copy.execute("PRAGMA journal_mode=DELETE")  # one file
        engine = tables_engine(path)
        try:
            with Session(engine) as session:
                return _about(session)
        finally:
            engine.dispose()
    program = Path(require_program("pg_dump"))
    with database.reading() as session:
        moment = session.scalar(text("SELECT pg_export_snapshot()"))
        tables = [f"--table={table.name}" for table in Base.metadata.sorted_tables]
        options = ["--no-owner", "--no-privileges", f"--snapshot={moment}", f"--file={folder / 'register.sql'}"]
        run_program(database, [str(program), *options, *tables], program)
        return _about(session)


def _about(session: Session) -> tuple[set[str], int, dict[str, int]]:
    version = session.get(Setting, "version")
    counts = {}
    for name in ("owner", "vehicle", "view", "sighting", "incident", "account"):
        counts[name] = session.execute(text(f'SELECT count(*) FROM "{name}"')).scalar_one()
    return named_images(session), int(version.value) if version else 0, counts
