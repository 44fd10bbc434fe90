"""Files that are whole at any moment."""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from safetensors import SafetensorError

from app.core.errors import UnwritableError


@contextmanager
def replacing(path: Path, *, sync: bool = True) -> Iterator[Path]:
    """A temporary name beside `path` that takes its place, synced to disk, if the block ends without an error. The name
    is synced as well: a file written before a message left must survive a power cut.

    Without `sync` a power cut may leave an empty file; it is for files that can be computed again."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        yield temporary
        if sync:
            with temporary.open("rb+") as file:
                os.fsync(file.fileno())
        temporary.replace(path)
        if sync:
            sync_to_disk(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def saving(path: Path) -> Iterator[Path]:
    """`replacing` for a block that saves with safetensors, whose own error for a full disk is no OSError.

    Raises OSError, leaving the older file, for whatever hinders the writing."""
    try:
        with replacing(path) as temporary:
            yield temporary
    except SafetensorError as error:
        raise UnwritableError(f"cannot write {path}: {error}") from error


def sync_to_disk(path: Path) -> None:
    """Sync a file, or the names in a folder, to disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # a shared folder of a virtual machine syncs no folders
            raise
    finally:
        os.close(descriptor)
