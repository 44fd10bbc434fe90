"""One row of a table of images, whose errors say where it stands."""

import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn, TypeVar

from app.core.sample import Box, Modality
from app.data.readers.errors import DataSetError
from app.settings.nearest import did_you_mean
from models.errors import MissingFileError

VEHICLE_BOX = ("vehicle_left", "vehicle_top", "vehicle_width", "vehicle_height")
PLATE_BOX = ("plate_left", "plate_top", "plate_width", "plate_height")
MODALITIES: dict[str, Modality] = {"": "visible", "visible": "visible", "infrared": "infrared"}
TRUTH = {"": False, "false": False, "no": False, "0": False, "true": True, "yes": True, "1": True}
_MOST_PIXELS = 2**27  # of a whole image, see app.images.decode: no place in one lies further away
T = TypeVar("T")


@dataclass(frozen=True)
class Row:
    """One row and where it stands, so that an error can say so."""

    file: Path
    number: int
    cells: Mapping[str, str]

    def fail(self, column: str, problem: str) -> NoReturn:
        raise DataSetError(f"{self.file}, row {self.number}, column {column}: {problem}")

    def text(self, column: str) -> str:
        return self.cells.get(column, "")

    def choice(self, column: str, known: Mapping[str, T]) -> T:
        """What a value of `known` stands for; `TRUE` and `Visible` are as good as in lower case."""
        text = self.text(column)
        if (value := text.strip().casefold()) not in known:
            named = ", ".join(value for value in known if value)
            self.fail(column, f"unknown value {text!r}; known: {named}{did_you_mean(text, known)}")
        return known[value]

    def place(self, column: str) -> Path:
        """Where an image is, whether or not it is there."""
        text = self.text(column) or self.fail(column, "is empty")
        return Path(os.path.normpath(self.file.parent / text))

    def image(self, column: str) -> Path:
        path = self.place(column)
        if not path.is_file():
            raise MissingFileError(f"{self.file}, row {self.number}, column {column}: image not found: {path}")
        return path

    def number_in(self, column: str, text: str) -> float:
        """A place or a length in pixels."""
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not math.isfinite(value):
            self.fail(column, f"not a number: {text!r}")
        if abs(value) > _MOST_PIXELS:
            self.fail(column, f"more pixels than an image has: {text!r}")
        return value

    def box(self, columns: tuple[str, ...]) -> Box | None:
        if not any(self.text(column) for column in columns):
            return None
        for column in columns:
            if not self.text(column):
                self.fail(column, f"is empty; a box needs {', '.join(columns)}")
        box = Box(*(self.number_in(column, self.text(column)) for column in columns))
        for column, size in zip(columns[2:], box[2:], strict=True):
            if size <= 0:
                self.fail(column, f"must be more than 0, is {self.text(column)}")
        return box
