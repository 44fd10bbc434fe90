"""Files that come with the package, known by size and SHA-256: another file, or a damaged one, is not used."""

import hashlib
from pathlib import Path
from typing import NamedTuple

from app.core.errors import StoredFileError
from models.errors import MissingFileError


class FileMark(NamedTuple):
    """Size in bytes and SHA-256 of a file."""

    size: int
    sha256: str


def mark_of(path: Path) -> FileMark:
    """The mark of a file."""
    content = path.read_bytes()
    return FileMark(len(content), hashlib.sha256(content).hexdigest())


def checked_content(path: Path, mark: FileMark, name: str) -> bytes:
    """The content of a file. Its size is compared first: a file of another size is not read.

    Args:
        name: of what the file holds, for errors.

    Raises MissingFileError, and StoredFileError for a file with another mark."""
    try:
        size = path.stat().st_size
    except FileNotFoundError as error:
        raise MissingFileError(f"the packaged {name} is not there: {path}; install the package again") from error
    if size != mark.size:
        raise StoredFileError(f"{path} has {size} bytes, not {mark.size}: install the package again")
    content = path.read_bytes()
    if hashlib.sha256(content).hexdigest() != mark.sha256:
        raise StoredFileError(f"{path} is not the file of this version of the package: install the package again")
    return content
