"""Checks of the files and places that commands read and write, made before the work whose result would be lost."""

import os
import tempfile
from pathlib import Path

from app.settings.checks import SettingsError


def is_file(path: Path) -> bool:
    """Whether a file is there. Never raises, whereas `Path.is_file` does for a name that is too long."""
    return os.path.isfile(path)  # noqa: PTH113


def require_file_place(key: str, path: Path) -> None:
    """Raise SettingsError, naming the key, unless a file can be written at `path`, whose folder must be there."""
    if path.is_dir():
        raise SettingsError(f"{key}: {path} is a folder; give the name of a file")
    if not path.parent.is_dir():
        raise SettingsError(f"{key}: {path} cannot be written: there is no folder {path.parent}; make it first")
    _require_room(key, path.parent)


def require_folder_place(key: str, folder: Path) -> None:
    """Raise SettingsError, naming the key, unless files can be written in `folder`, which may have to be made first."""
    place = folder.absolute()
    while not os.path.lexists(place):
        place = place.parent
    if not place.is_dir():
        kind = "a file" if place.exists() else "a link to nothing"
        raise SettingsError(f"{key}: {folder} cannot be made: {place} is {kind}")
    _require_room(key, place)


def _require_room(key: str, folder: Path) -> None:
    """Write a few bytes there and take them away: permissions alone do not tell of a full disk or one to be read."""
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(b"\0" * 4096)
            file.flush()
    except OSError as error:
        raise SettingsError(f"{key}: {folder} cannot be written: {error.strerror or error}") from error
