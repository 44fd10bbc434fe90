"""TOML files that a person writes, read strictly into pydantic models."""

import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from models.errors import FedVehicleReidError

Model = TypeVar("Model", bound=BaseModel)


class TomlSection(BaseModel):
    """A table of such a file: an unknown key is refused, and a text is no number."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


def read_toml(
    path: Path,
    model: type[Model],
    error: type[FedVehicleReidError],
    *,
    kind: str = "",
    renewed: Callable[[dict[str, Any]], dict[str, Any]] = dict,
) -> Model:
    """The content of a file. Raises `error` naming the file, and the key that is unknown, missing or wrong.

    Args:
        kind: of file, which stands before its path in an error.
        renewed: the fields with what an earlier version wrote in the words of this one.
    """
    named = f"{kind} {path}" if kind else str(path)
    try:
        fields = tomllib.loads(path.read_text(encoding="utf-8-sig"))  # some editors of Windows write a byte order mark
    except OSError as cause:
        raise error(f"{named} cannot be read: {cause.strerror}") from cause
    except (ValueError, RecursionError) as cause:  # TOMLDecodeError among them; a number of 5,000 digits is none
        raise error(f"{named} is not TOML: {cause}") from cause
    try:
        return model.model_validate(renewed(fields))
    except ValidationError as cause:
        first = cause.errors()[0]
        key = _key(first["loc"])
        if first["type"] == "extra_forbidden":
            raise error(f"{named}: unknown key {key}") from cause
        where = f"{key}: " if key else ""
        raise error(f"{named}: {where}{first['msg'].removeprefix('Value error, ')}") from cause


def _key(place: tuple[int | str, ...]) -> str:
    """A place in the file; entries of a list of tables count from 1."""
    return ".".join(str(part + 1) if isinstance(part, int) else part for part in place)


def require_private(path: Path, error: type[FedVehicleReidError]) -> None:
    """Raise `error` for a file with secrets that other users of the machine may read."""
    if path.stat().st_mode & 0o077:
        raise error(f"{path} holds secrets and may be read by others: chmod 600 {path}")
