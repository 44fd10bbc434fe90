"""Restoration of a backup. All of it is checked before anything is replaced, and the tables change in one transaction:
whoever is killed before has the register that was there, and whoever is killed after it, the restored one."""

import os
import sqlite3
from contextlib import closing
from pathlib import Path

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.core.files import replacing, sync_to_disk
from app.register.backup import Manifest, copied, kept_files, read_manifest, require_program, run_program, tables_engine
from app.register.dump import require_statements
from app.register.errors import BusyError, RegisterError
from app.register.folder import RegisterFolder, hold_alone
from app.register.records import named_images
from app.register.schema import Account, Base, Model, Setting
from app.register.upgrades import STEPS

_NAMED = 3  # faults in an error


def restore(backup: Path, folder: Path, url: str, account: str, *, replace: bool = False) -> Manifest:
    """Restore a backup to the register in a folder, which is made if it is not there.

    Args:
        replace: even if the register holds something, which is lost.

    Raises MissingFileError and RegisterError, before anything is changed: for a backup that is not whole or of a newer
    version, for another kind of database, for a register that holds something, and while a service uses it."""
    manifest = read_manifest(backup)
    _require_whole(backup, manifest)
    with closing(RegisterFolder(folder, url)) as register:
        kind = "sqlite" if register.database.is_sqlite else "postgresql"
        if kind != manifest.database:
            raise RegisterError(f"the backup is of {manifest.database}, and the register is in {kind}")
        lock = hold_alone(folder)
        try:
            if not replace and (held := _content(register)):
                raise RegisterError(f"the register in {folder} holds {held}: with --replace all of it is lost")
            _bring(register, backup, manifest, [place for place in manifest.places() if _is_new(register, place)])
            _replace_tables(register, backup, manifest)
            # From here on the register is the restored one; the same command ends what is left to do.
            _bring(register, backup, manifest, manifest.places())
        finally:
            lock.release()
    with closing(RegisterFolder(folder, url)) as register:  # tables of an older version are upgraded
        _drop_others(register, manifest)
        register.database.forget_traces()
        register.journal.write(account, "restore", "", {**manifest.counts, "created": manifest.created})
    return manifest


def _require_whole(backup: Path, manifest: Manifest) -> None:
    """Raise RegisterError for a backup with files that are missing or altered, tables that are damaged or of a newer
    version, and images that are named and not there."""
    if manifest.tables > STEPS[-1].version:
        raise RegisterError(
            f"the backup has tables of version {manifest.tables}, this program knows them up to {STEPS[-1].version}"
        )
    faults = []
    for place, file in {manifest.tables_file: None, **manifest.files}.items():
        path = backup / place
        if file is None or not path.is_file():
            faults.append(f"{place} is missing")
        elif copied(path) != file:
            faults.append(f"{place} was altered")
    if faults:
        raise RegisterError(f"the backup in {backup} is not whole: {_some(faults)}")
    if manifest.database == "sqlite":
        _require_tables(backup / manifest.tables_file, manifest)
    else:
        require_statements(backup / manifest.tables_file)


def _require_tables(path: Path, manifest: Manifest) -> None:
    try:
        with closing(sqlite3.connect(f"file:{path}?mode=ro&immutable=1", uri=True)) as tables:
            said = tables.execute("PRAGMA integrity_check").fetchone()[0]
    except sqlite3.Error as error:
        said = str(error)
    if said != "ok":
        raise RegisterError(f"{path} is damaged: {said}")
    engine = tables_engine(path)
    try:
        with Session(engine) as session:
            absent = named_images(session) - {Path(place).name for place in manifest.files} - set(manifest.missing)
    finally:
        engine.dispose()
    if absent:
        raise RegisterError(f"the backup lacks images that its tables name: {_some(sorted(absent))}")


def _some(faults: list[str]) -> str:
    more = f" and {len(faults) - _NAMED} more" if len(faults) > _NAMED else ""
    return ", ".join(faults[:_NAMED]) + more


def _content(register: RegisterFolder) -> str:
    """What a register holds, in words; "" if nothing."""
    counts = register.register.counts()
    with register.database.reading() as session:
        counts["accounts"] = len(session.scalars(select(Account.id)).all())
        counts["models"] = len(session.scalars(select(Model.id)).all())
    return ", ".join(f"{count} {name}" for name, count in counts.items() if count)


def _target(register: RegisterFolder, place: str) -> Path:
    return register.folder / place


def _is_new(register: RegisterFolder, place: str) -> bool:
    """Whether a file takes no other one's place: images and models have names of their own."""
    return not _target(register, place).exists()


def _bring(register: RegisterFolder, backup: Path, manifest: Manifest, places: list[str]) -> None:
    """Copy files that are not there as they are in the backup."""
    for place in places:
        target = _target(register, place)
        if target.is_file() and copied(target) == manifest.files[place]:
            continue
        target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with replacing(target, sync=False) as temporary:
            temporary.touch(mode=0o600)
            copied(backup / place, temporary)
    os.sync()


def _replace_tables(register: RegisterFolder, backup: Path, manifest: Manifest) -> None:
    """Let the tables be those of the backup, in one transaction. The folder stays the one that they belong to."""
    with register.database.reading() as session:
        kept = session.get(Setting, "id")
        assert kept is not None
        number = kept.value
    source = backup / manifest.tables_file
    if not register.database.is_sqlite:
        program = Path(require_program("psql"))
        names = ", ".join(f'public."{table.name}"' for table in Base.metadata.sorted_tables)
        words = [str(program), "--no-psqlrc", "--quiet", "--single-transaction", "--set=ON_ERROR_STOP=1"]
        words += [f"--command=DROP TABLE IF EXISTS {names} CASCADE", f"--file={source}"]
        words += [f"--command=UPDATE public.setting SET value = '{number}' WHERE name = 'id'"]
        run_program(register.database, words, program)
        return
    own = register.folder / ".restored.sqlite"
    try:
        copied(source, own)
        with closing(sqlite3.connect(own)) as tables, tables:
            tables.execute("UPDATE setting SET value = ? WHERE name = 'id'", (number,))
        with closing(sqlite3.connect(own)) as tables, closing(register.database.engine.raw_connection()) as raw:
            tables.backup(raw.driver_connection)  # type: ignore[arg-type]
        sync_to_disk(register.folder)
    except sqlite3.OperationalError as error:
        raise BusyError(f"the register's tables cannot be replaced: {error}; nothing was changed") from error
    finally:
        own.unlink(missing_ok=True)


def _drop_others(register: RegisterFolder, manifest: Manifest) -> None:
    """Delete the files of the register that was there before."""
    with register.database.reading() as session:
        named = named_images(session)
    register.photos.drop_all_but(named, float("inf"))
    for place in kept_files(register.folder):
        if place not in manifest.files:
            (register.folder / place).unlink()
