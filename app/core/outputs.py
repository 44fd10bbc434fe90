"""Checks of the files and folders that commands read and write, before the work whose result would be lost."""

import os
import tempfile
from pathlib import Path

from app.settings.checks import SettingsError


def is_file(path: Path) -> bool:
    """Whether a file is there. Never raises, whereas `Path.is_file` does for a name that is too long."""
    return os.path.isfile(path)  # noqa: PTH113


def require_file_place(key: str, path: Path) -> None:
    """Raise SettingsError, naming the key, unless a file can be written at `path`, whose folder must exist."""
    if path.is_dir():
        raise SettingsError(f"{key}: {path} is a folder; give the name of a file")
    if not path.parent.is_dir():
        raise SettingsError(f"{key}: {path} cannot be written: there is no folder {path.parent}; create it first")
    _require_room(key, path.parent)


def require_folder_place(key: str, folder: Path) -> None:
    """Raise SettingsError, naming the key, unless files can be written in `folder`, which is created if missing."""
    place = folder.absolute()
    while not os.path.lexists(place):
        place = place.parent
    if not place.is_dir():
        kind = "a file" if place.exists() else "a link to nothing"
        raise SettingsError(f"{key}: {folder} cannot be created: {place} is {kind}")
    _require_room(key, place)


def _require_room(key: str, folder: Path) -> None:
    """Write a few bytes and delete them: permissions do not show a full or a read-only disk."""
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(b"\0" * 4096)
            file.flush()
    except OSError as error:
        raise SettingsError(f"{key}: {folder} cannot be written: {error.strerror or error}") from error
