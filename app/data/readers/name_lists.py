"""Reading the list files that come with a data set, and checking that the images they name are there."""

import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from app.data.readers.errors import DataSetError
from app.images.files import NoImagesError
from app.settings.nearest import did_you_mean
from models.errors import MissingFileError


def read_list(path: Path) -> list[list[str]]:
    """The lines of a list file, each cut at its blanks; empty lines are passed over.

    Raises FileNotFoundError if there is no such file, NoImagesError for one without a line, ValueError if it is not
    UTF-8 text or if two lines start with the same word: the first word is the image, and an image listed twice would
    be counted twice."""
    if not path.is_file():
        raise MissingFileError(f"list not found: {path}")
    lines = [words for line in utf8_text(path).splitlines() if (words := line.split())]
    seen: set[str] = set()
    for words in lines:
        if words[0] in seen:
            raise DataSetError(f"{path} lists {words[0]} twice")
        seen.add(words[0])
    if not lines:
        raise NoImagesError(f"{path} lists no images: looked for a line for each, which begins with its name")
    return lines


def utf8_text(path: Path) -> str:
    """The text of a file, without a byte order mark. Raises DataSetError naming one that is no UTF-8."""
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataSetError(f"{path} is not UTF-8 text: {error}") from error


def read_labels(
    table: Path, columns: Sequence[str], *, folder: Path, separator: str = "\t", header: bool = False
) -> list[tuple[Path, list[str]]]:
    """The image of each row and its further cells; empty lines are passed over.

    Args:
        columns: what the cells are; the first is the image, from `folder` on.
        header: whether the first line is none of an image.

    Raises FileNotFoundError for a missing table or image, NoImagesError for a table without a row, ValueError if it
    is not UTF-8 text, and for a line with other cells, an empty one or an image that an earlier line has."""
    if not table.is_file():
        raise MissingFileError(f"table not found: {table}")
    lines = utf8_text(table).splitlines()
    rows: dict[str, list[str]] = {}
    for line in lines[1:] if header else lines:
        cells = [cell.strip() for cell in line.split(separator)]
        if not any(cells):
            continue
        if len(cells) != len(columns) or not all(cells):
            raise DataSetError(f"{table}: not '{' '.join(columns)}': {line!r}")
        if cells[0] in rows:
            raise DataSetError(f"{table} lists {cells[0]} twice")
        rows[cells[0]] = cells[1:]
    if not rows:
        raise NoImagesError(f"{table} lists no images: looked for lines of '{' '.join(columns)}'")
    require_images(folder, rows)
    return [(folder / name, cells) for name, cells in rows.items()]


def require_images(folder: Path, names: Iterable[str]) -> None:
    """Check that every name, "image.jpg" or "subfolder/image.jpg", is in `folder`.

    Each folder is listed once, which for some ten thousands of images is far quicker than asking for each one.
    Raises FileNotFoundError naming the folder, or the first image, that is missing."""
    if not folder.is_dir():
        raise MissingFileError(f"folder not found: {folder}")
    present: dict[str, set[str]] = {}
    for name in names:
        parent, _, base = name.rpartition("/")
        if parent not in present:
            sub = folder / parent
            present[parent] = {entry.name for entry in os.scandir(sub)} if sub.is_dir() else set()
        if base not in present[parent]:
            raise MissingFileError(f"image not found: {folder / name}")


def no_such_split(data_set: str, split: str, splits: Sequence[str]) -> DataSetError:
    """The error for a split that a set does not have; it names those it has."""
    return DataSetError(f"{data_set} has no split {split!r}; it has {', '.join(splits)}{did_you_mean(split, splits)}")
