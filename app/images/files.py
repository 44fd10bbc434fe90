"""Image files by their names, and where they lie: the one place that decides what counts as an image file.

A path "folder/data.mdb#000000001" is image 1 of the LMDB database in "folder". Whatever takes the path of an image
takes this one: `app.images.decode.open_image` knows it.
"""

import os
import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from models.errors import FedVehicleReidError, MissingFileError

SUFFIXES = (".bmp", ".jfif", ".jpe", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp")
"""Endings of image files, in lower case; a file's may be in either."""
DATABASE = "data.mdb"
"""The file of an LMDB database."""
_IN_DATABASE = re.compile(rf"{re.escape(DATABASE)}#(?P<key>\d{{9,}})")


class NoImagesError(FedVehicleReidError, FileNotFoundError):
    """A set, or a part of it that is asked for, has no images."""


def is_image(name: str) -> bool:
    """Whether a file of this name, or path, is an image: it has one of the endings and is not hidden.

    macOS writes a hidden `._name.jpg` beside each file that it copies to a foreign disk."""
    base = name.rpartition("/")[2]
    return not base.startswith(".") and base.lower().endswith(SUFFIXES)


def image_stem(name: str) -> str:
    """The name of an image file without its ending; other names as they are, which no reader's pattern then matches."""
    return name.rpartition(".")[0] if is_image(name) else name


def database_path(folder: Path, number: int) -> Path:
    """The path that stands for an image of a database, counted from 1."""
    return folder / f"{DATABASE}#{number:09d}"


def database_of(path: Path) -> tuple[Path, str] | None:
    """Folder and key of an image in a database; None for an image in a file."""
    match = _IN_DATABASE.fullmatch(path.name)
    return None if match is None else (path.parent, f"image-{match['key']}")


def images_in(folder: Path, *, required: bool = True) -> list[Path]:
    """The images of a folder, by name.

    Raises FileNotFoundError without a folder, NoImagesError for none in it unless they are not `required`."""
    found = _listed(folder, lambda entry: is_image(entry.name) and entry.is_file())
    if required and not found:
        raise NoImagesError(f"no images in {folder}: looked for files that end in {', '.join(SUFFIXES)}")
    return found


def labels_in(folder: Path, suffix: str) -> list[Path]:
    """The files of a folder with another ending, in either case, by name; with the same errors as `images_in`."""
    found = _listed(
        folder,
        lambda entry: entry.name.lower().endswith(suffix) and not entry.name.startswith(".") and entry.is_file(),
    )
    if not found:
        raise NoImagesError(f"no images in {folder}: looked for labels that end in {suffix}")
    return found


def folders_in(folder: Path) -> list[Path]:
    """The folders in a folder, by name; not hidden ones, and of several links to one folder the first.

    Raises FileNotFoundError without a folder."""
    seen: set[tuple[int, int]] = set()
    return [
        path
        for path in _listed(folder, lambda entry: not entry.name.startswith(".") and entry.is_dir())
        if _is_new(path, seen)
    ]


def files_below(folder: Path, wanted: Callable[[str], bool], seen: set[tuple[int, int]] | None = None) -> list[Path]:
    """The files of a folder and of all below it whose names fit, sorted.

    Links to folders are followed, each real folder once, so that a loop of links ends; hidden folders are left out.

    Args:
        seen: device and number of each folder that was read, to be handed from call to call."""
    seen = set() if seen is None else seen
    found: list[Path] = []
    waiting = [folder] if _is_new(folder, seen) else []
    for place in waiting:  # grows
        found += _listed(place, lambda entry: wanted(entry.name) and entry.is_file())
        below = _listed(place, lambda entry: not entry.name.startswith(".") and entry.is_dir())
        waiting += [path for path in below if _is_new(path, seen)]
    return sorted(found)


def images_of(places: Iterable[Path]) -> Iterator[Path]:
    """The files that are named, whatever they are, and the images in folders and below them, in name order.

    A folder that is named twice, or by a link as well, is read once."""
    seen: set[tuple[int, int]] = set()
    for place in places:
        if place.is_dir():
            yield from files_below(place, is_image, seen)
        else:
            yield place


def _listed(folder: Path, wanted: Callable[[os.DirEntry[str]], bool]) -> list[Path]:
    if not folder.is_dir():
        raise MissingFileError(f"folder not found: {folder}")
    with os.scandir(folder) as entries:
        return sorted(folder / entry.name for entry in entries if wanted(entry))


def _is_new(folder: Path, seen: set[tuple[int, int]]) -> bool:
    """Whether a folder was not seen before, under this name or another; notes that it is seen now."""
    state = folder.stat()
    key = (state.st_dev, state.st_ino)
    return key not in seen and not seen.add(key)  # type: ignore[func-returns-value]
