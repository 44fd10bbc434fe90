"""Typed values of JSON files: an error names the key and the file."""

from typing import TypeVar

from pydantic import BaseModel, ValidationError

from app.core.errors import StoredFileError

T = TypeVar("T")
_LONGEST = 80


def require_shape(where: object, shape: type[BaseModel], values: T) -> T:
    """`values` unchanged, if they fit a model of pydantic; further keys are allowed.

    Args:
        where: the file, and the line if it has several.

    Raises ValueError naming file, key and value."""
    try:
        shape.model_validate(values, strict=True)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(map(str, first["loc"]))
        if first["type"] == "missing":
            raise StoredFileError(f"{where}: {key!r} is missing") from error
        value = repr(first["input"])
        value = value if len(value) <= _LONGEST else f"{value[:_LONGEST]}..."
        raise StoredFileError(f"{where}: {key!r} is {value}" if key else f"{where}: no JSON object") from error
    return values
