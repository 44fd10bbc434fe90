"""Plate reader that comes with the package: a small file of half-precision values, and the errors measured of it.

`scripts.bench.package_reader` makes the files, docs/plate-reader-card.md tells data, licence and figures.
"""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from app.core.errors import StoredFileError
from app.core.files import replacing
from app.core.packaged_file import FileMark, checked_content, mark_of
from app.evaluation.reading_errors import ReadingErrors
from app.tasks.packaged_plate_reader import FOLDER, MARK, READER
from app.training.checkpoint import Checkpoint

ERRORS = "plate_reader.errors.json"
MARKS = {
    READER: MARK,
    ERRORS: FileMark(2505, "21029aa9ad4ea452491abd70525b2f30c70ef431efd1811a70ee576d45577258"),
}
"""Of the files in `FOLDER`: another file, or a damaged one, reads no plates."""


def packaged_reader(folder: Path = FOLDER, marks: dict[str, FileMark] = MARKS) -> Checkpoint:
    """The checkpoint, in float32. Raises MissingFileError, and StoredFileError for a file with another mark."""
    _checked(folder / READER, marks)
    checkpoint = Checkpoint.read(folder, Path(READER).stem)
    single = {name: array.astype(np.float32) for name, array in checkpoint.arrays.items()}
    return Checkpoint(single, checkpoint.settings, checkpoint.identity)


def packaged_errors(folder: Path = FOLDER, marks: dict[str, FileMark] = MARKS) -> ReadingErrors:
    """The reader's errors. Raises as `packaged_reader` does."""
    try:
        return ReadingErrors.model_validate_json(_checked(folder / ERRORS, marks))
    except ValidationError as error:
        raise StoredFileError(f"{folder / ERRORS} holds no measured errors of a reader") from error


def pack(checkpoint: Checkpoint, folder: Path) -> Checkpoint:
    """Write a checkpoint with its matrices in half precision; what a reader of the file gets.

    Vectors (norms, biases) keep float32: they are few, and variances near 0 lose most of their digits in float16."""
    half: dict[str, NDArray[Any]] = {
        name: array.astype(np.float16) if array.ndim > 1 else array for name, array in checkpoint.arrays.items()
    }
    folder.mkdir(parents=True, exist_ok=True)
    replace(checkpoint, arrays=half).write(folder, Path(READER).stem)
    return packaged_reader(folder, {READER: mark_of(folder / READER)})


def pack_errors(errors: ReadingErrors, folder: Path) -> None:
    """Write the errors of the reader beside it."""
    with replacing(folder / ERRORS) as temporary:
        temporary.write_text(errors.model_dump_json() + "\n", encoding="utf-8")


def without_places(checkpoint: Checkpoint) -> Checkpoint:
    """A checkpoint without the places of files on the machine that trained it."""
    settings = checkpoint.settings
    model = {**settings["model"], "start": ""}
    data = {**settings["data"], "cache_dir": ""}
    return replace(checkpoint, settings={**settings, "model": model, "data": data, "run_dir": ""})


def _checked(path: Path, marks: dict[str, FileMark]) -> bytes:
    return checked_content(path, marks[path.name], "plate reader")
