"""Images that lie in an LMDB database in place of files, and the paths that stand for them.

A path "folder/data.mdb#000000001" is image 1 of the database in "folder". No file needs to be written, and whatever
takes the path of an image takes this one: `app.images.decode.open_picture` knows it.
"""

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from app.core.errors import MissingPackageError
from models.errors import FedVehicleReidError, MissingFileError

FILE = "data.mdb"
_NAME = re.compile(rf"{re.escape(FILE)}#(?P<key>\d{{9,}})")
_one_at_a_time = threading.Lock()  # LMDB does not let a process open a database twice; kept open, it outlives no fork


class DatabaseFileError(FedVehicleReidError, OSError):
    """A database of images cannot be read, or lacks an image; the message names the file and the key."""


def picture_path(folder: Path, number: int) -> Path:
    """The path that stands for an image, counted from 1."""
    return folder / f"{FILE}#{number:09d}"


def database_of(path: Path) -> tuple[Path, str] | None:
    """Folder and key of an image in a database; None for an image in a file."""
    match = _NAME.fullmatch(path.name)
    return None if match is None else (path.parent, f"image-{match['key']}")


@contextmanager
def reading(folder: Path) -> Iterator[Any]:
    """A transaction that reads the database in `folder`, one at a time in a process.

    Raises FileNotFoundError without one, OSError if it cannot be read, ImportError without the package lmdb."""
    if not (folder / FILE).is_file():
        raise MissingFileError(f"no database: {folder / FILE}")
    try:
        import lmdb
    except ImportError as error:
        raise MissingPackageError(
            f"{folder / FILE} needs the package lmdb: pip install 'fed-vehicle-reid[lmdb]'"
        ) from error
    with _one_at_a_time:
        try:
            with lmdb.open(str(folder), readonly=True, lock=False, create=False) as database, database.begin() as found:
                yield found
        except lmdb.Error as error:
            raise DatabaseFileError(f"{folder / FILE} cannot be read: {error}") from error


def read_value(folder: Path, key: str) -> bytes:
    """What stands under a key. Raises OSError if there is no such key, and as `reading`."""
    with reading(folder) as found:
        value = found.get(key.encode())
    if value is None:
        raise DatabaseFileError(f"{folder / FILE} has no key {key!r}")
    return bytes(value)
