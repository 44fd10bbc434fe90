"""LMDB databases with images in them, read without a file being written; see `app.images.files` for their paths."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from app.core.errors import MissingPackageError
from app.images.files import DATABASE
from models.errors import FedVehicleReidError, MissingFileError

_one_at_a_time = threading.Lock()  # LMDB does not let a process open a database twice; kept open, it outlives no fork


class DatabaseFileError(FedVehicleReidError, OSError):
    """A database of images cannot be read, or lacks an image; the message names the file and the key."""


@contextmanager
def reading(folder: Path) -> Iterator[Any]:
    """A transaction that reads the database in `folder`, one at a time in a process.

    Raises FileNotFoundError without one, OSError if it cannot be read, ImportError without the package lmdb."""
    if not (folder / DATABASE).is_file():
        raise MissingFileError(f"no database: {folder / DATABASE}")
    try:
        import lmdb
    except ImportError as error:
        raise MissingPackageError(
            f"{folder / DATABASE} needs the package lmdb: pip install 'fed-vehicle-reid[lmdb]'"
        ) from error
    with _one_at_a_time:
        try:
            with lmdb.open(str(folder), readonly=True, lock=False, create=False) as database, database.begin() as found:
                yield found
        except lmdb.Error as error:
            raise DatabaseFileError(f"{folder / DATABASE} cannot be read: {error}") from error


def read_value(folder: Path, key: str) -> bytes:
    """What stands under a key. Raises OSError if there is no such key, and as `reading`."""
    with reading(folder) as found:
        value = found.get(key.encode())
    if value is None:
        raise DatabaseFileError(f"{folder / DATABASE} has no key {key!r}")
    return bytes(value)
