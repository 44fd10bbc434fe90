"""Files of a party's folder as they are at one moment, while the party runs.

All files are opened, and looked at once more afterwards: if none was changed, replaced, added or removed meanwhile,
they are those of the moment in between, as a kill at that moment would leave them, and whatever happens later the open
files keep their content. SQLite's files change in place: its own copying gives their content at one moment.

Links are refused, except `state` itself, which may lie on another disk: whoever owns the folder would choose what root
reads.
"""

import os
import re
import resource
import sqlite3
import stat
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import BinaryIO, NamedTuple
from urllib.parse import quote

from app.deployment import parties as p
from app.deployment.env_file import read_env
from app.deployment.parties import DeploymentError, Kind, Party

_ATTEMPTS, _PAUSE = 100, 0.1
_MOST_LOGS = 1000
_SPARE = 64  # open files of this process besides
_SQLITE = b"SQLite format 3\0"
PASSING = re.compile(r"\.change.*|.*\.lock|\..*\.tmp|__pycache__")
_BESIDE = ("-wal", "-shm", "-journal")
_MADE_AT_START = {
    Kind.site: ("bin", "apps", "flower/apps", "node.toml", "checked-client", "log.pipe"),
    Kind.server: ("flower/apps", "log.pipe"),
}
"""Below `state`."""
_CACHES = ("cache", "node/pictures", "node/equalised")
_OF_FLOWER = "flower"
"""Flower's files at the operator, made anew with every command."""


class Opened(NamedTuple):
    """A file, open for reading, and what was known of it then."""

    file: BinaryIO
    about: os.stat_result


class Folder(NamedTuple):
    """Paths of a folder's content by place, which is relative and has slashes."""

    files: dict[str, Path]
    folders: dict[str, Path]
    databases: dict[str, Path]


def content(folder: Path) -> Folder:
    """What belongs to a party, without what it makes anew by itself: programs, caches, unpacked bundles, logs.

    Args:
        folder: of a party, or that of a federation, then without what its parties' running made.

    Raises DeploymentError, naming it, for a link, and for a name that is no text."""
    left_out = _left_out(folder)
    found = Folder({}, {}, {})
    for place, path in _walk(folder, "", left_out.__contains__):
        if path.is_dir():
            found.folders[place] = path
        elif _is_database(path):
            found.databases[place] = path
        else:
            found.files[place] = path
    besides = {f"{place}{end}" for place in found.databases for end in _BESIDE}
    return found._replace(files={place: path for place, path in found.files.items() if place not in besides})


@contextmanager
def opened(read: Callable[[], Folder]) -> Iterator[tuple[Folder, dict[str, Opened]]]:
    """A folder's content and its files, open, as they are at one moment.

    Raises DeploymentError if there is no such moment for ten seconds, or if there are more files than may be open."""
    with ExitStack() as stack:
        for _ in range(_ATTEMPTS):
            try:
                found = read()
                _allow(len(found.files))
                files = {place: _open(path, stack) for place, path in found.files.items()}
                again = read()
                if again == found and all(_same(files[place], path) for place, path in again.files.items()):
                    break
            except FileNotFoundError:
                pass
            stack.close()
            time.sleep(_PAUSE)
        else:
            raise DeploymentError("files change all the time: try again, or stop the party meanwhile")
        yield found, files


def copy_database(source: Path, target: sqlite3.Connection) -> None:
    """Copy a database of SQLite's that is in use, as it is at one moment. Raises DeploymentError if it is
    damaged, and on a full disk."""
    try:
        with closing(sqlite3.connect(f"file:{quote(str(source))}?mode=rw", uri=True)) as database:
            database.backup(target)
    except sqlite3.Error as error:
        raise DeploymentError(f"{source} cannot be copied: {error}") from error


def _left_out(folder: Path) -> set[str]:
    """Places of what is made anew, or lies in the folder and is not the party's."""
    if not (folder / p.PARTY_FILE).exists():
        names = [own.relative_to(folder).as_posix() for own in p.parties_of(folder)]
        return {f"{name}/{inside}" for name in names for inside in (p.STATE, _OF_FLOWER)}
    party = p.read_party(folder)
    places = {name for name in programs_of(party) if party.kind is not Kind.authority}
    places |= {f"{p.STATE}/{name}" for name in (*_MADE_AT_START.get(party.kind, ()), *_CACHES)}
    if party.kind is Kind.operator:
        places.add(_OF_FLOWER)
    values, here = read_env(folder / f"{party.kind}.env"), folder.absolute()
    elsewhere = [Path(values[name]) for name in ("VENV", "PROJECT", "DATA_ROOT") if values.get(name)]
    if values.get("LOG_FILE"):
        log = here / p.STATE / values["LOG_FILE"]
        elsewhere += [log, *(log.with_name(f"{log.name}.{number}") for number in range(1, _MOST_LOGS))]
    return places | {path.relative_to(here).as_posix() for path in elsewhere if path.is_relative_to(here)}


def programs_of(party: Party) -> list[str]:
    """Names of a party's programs, which the installed version writes."""
    return [name for name, mode in party.files().items() if mode == p.PROGRAM or name == f"{party.unit}.service"]


def _walk(folder: Path, place: str, is_left_out: Callable[[str], bool]) -> Iterator[tuple[str, Path]]:
    for name in sorted(os.listdir(folder)):  # noqa: PTH208 - names, of which each is looked at once
        path, inside = folder / name, f"{place}{name}"
        if is_left_out(inside) or PASSING.fullmatch(name):
            continue
        try:
            inside.encode()
        except UnicodeEncodeError as error:
            raise DeploymentError(f"{path.parent} holds {name!r}, no text, which cannot be kept: rename it") from error
        mode = path.lstat().st_mode
        if stat.S_ISLNK(mode) and inside == p.STATE and path.is_dir():
            path = path.resolve()
            mode = path.stat().st_mode
        if stat.S_ISLNK(mode):
            raise DeploymentError(f"{path} is a link, whose files no backup would hold: put them in its place")
        if stat.S_ISDIR(mode) and not (path / "pyvenv.cfg").exists():
            yield inside, path
            yield from _walk(path, f"{inside}/", is_left_out)
        elif stat.S_ISREG(mode):  # sockets and pipes are of processes
            yield inside, path


def _is_database(path: Path) -> bool:
    if path.suffix != ".db":
        return False
    with path.open("rb") as file:
        return file.read(len(_SQLITE)) == _SQLITE


def _open(path: Path, stack: ExitStack) -> Opened:
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC  # a pipe that took its place must not hang this
    file = stack.enter_context(os.fdopen(os.open(path, flags), "rb"))
    about = os.fstat(file.fileno())
    if not stat.S_ISREG(about.st_mode):
        raise DeploymentError(f"{path} is no file any more")
    return Opened(file, about)


def _same(opened: Opened, path: Path) -> bool:
    now, then = path.lstat(), opened.about
    return all(getattr(now, name) == getattr(then, name) for name in ("st_dev", "st_ino", "st_size", "st_mtime_ns"))


def _allow(count: int) -> None:
    """Let this process open so many files. Raises DeploymentError if the machine does not."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = count + _SPARE
    if soft != resource.RLIM_INFINITY and needed > soft:
        if hard != resource.RLIM_INFINITY and needed > hard:
            raise DeploymentError(
                f"{count} files, and this process may open {hard}: raise `ulimit -n`, or delete old runs"
            )
        resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))
