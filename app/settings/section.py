"""Declaration of a settings section: a frozen dataclass that pydantic checks at construction.

    @section("train")
    class TrainSettings:
        lr: NotNegative = 3e-4
        optimiser: Literal["adamw", "sgd"] = "adamw"

A value that does not fit raises SettingsError with key, limit and value: from `conf/`, from a checkpoint, in code.
Rules between keys stand in `__post_init__`.
"""

import functools
import re
from collections.abc import Callable, Sequence
from dataclasses import field, fields, is_dataclass
from typing import Annotated, Any, Literal, TypeVar, dataclass_transform, get_args, get_origin, get_type_hints

from pydantic import AfterValidator, ConfigDict, Field, ValidationError
from pydantic.dataclasses import dataclass
from pydantic_core import ErrorDetails

from app.settings.checks import SettingsError
from app.settings.nearest import did_you_mean
from models.plugins import Kind, is_plug_in, place_of

T = TypeVar("T")
_PLAIN = re.compile(r"[\w./*-]+")  # a list's text that needs no quotes
_STRICT = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)


def _path(value: str) -> str:
    """Accesses no file: a run's settings are also checked at sites, which reveal to no run the files that they have."""
    if not value or "\0" in value:
        raise ValueError(f"must name a file or folder; got {value!r}")
    return value


Share = Annotated[float, Field(ge=0.0, le=1.0)]
NotNegative = Annotated[float, Field(ge=0.0)]
Count = Annotated[int, Field(ge=0)]
AtLeastOne = Annotated[int, Field(ge=1)]
PathText = Annotated[str, AfterValidator(_path)]
"""A path that is not empty, as "" would mean the working folder."""


def part(kind: Kind, *built_in: str) -> AfterValidator:
    """A check of a setting that names a part: a built-in one, or a plug-in, which is not imported here."""

    def check(value: str) -> str:
        if value not in built_in and not is_plug_in(kind, value):
            raise ValueError(  # without the declared ones: a site's answer would name its packages
                f"must be one of {', '.join(built_in)}, or a plug-in of an installed package; got {value!r}"
                f"{did_you_mean(value, built_in)}"
            )
        place_of(kind, value, built_in)
        return value

    return AfterValidator(check)


@dataclass_transform(frozen_default=True, field_specifiers=(field,))
def section(key: str) -> Callable[[type[T]], type[T]]:
    """A decorator for the settings section `key`, such as `data.partition`."""

    def declare(cls: type[T]) -> type[T]:
        made = dataclass(cls, frozen=True, config=_STRICT)
        check: Callable[..., None] = made.__init__

        @functools.wraps(check)
        def init(self: T, *args: Any, **values: Any) -> None:
            try:
                check(self, *args, **values)
            except ValidationError as error:
                raise settings_error(key, made, error) from error

        made.__init__ = init  # type: ignore[method-assign, assignment]
        return made  # type: ignore[return-value]

    return declare


def settings_error(key: str, cls: type, error: ValidationError) -> SettingsError:
    """The first key of the section that pydantic refuses, with its limits and the given value."""
    errors = error.errors()
    places = [_place(key, cls, each) for each in errors]
    first, hint = places[0]
    of_key = [each for each, (name, _) in zip(errors, places, strict=True) if name == first]
    return SettingsError(_text(first, hint, min(of_key, key=_unlike), of_key))


def _place(key: str, hint: Any, error: ErrorDetails) -> tuple[str, Any]:
    """The dotted key of an error and the type of its values. pydantic's location also has names of unions' parts."""
    for part in error["loc"]:
        inner = next((each for each in (hint, *get_args(hint)) if isinstance(each, type) and is_dataclass(each)), None)
        if isinstance(part, int):
            key, hint = f"{key}[{part}]", next(iter(get_args(hint)), None)
        elif inner is not None and part in (each.name for each in fields(inner)):
            key, hint = f"{key}.{part}", get_type_hints(inner)[part]
        elif error["type"] == "unexpected_keyword_argument" and part == error["loc"][-1]:
            key = f"{key}.{part}"
    return key, hint


def _unlike(error: ErrorDetails) -> bool:
    """Whether an error is of the wrong part of a union: a number is no mistyped word."""
    return error["type"].endswith("_type") or (error["type"] == "literal_error" and not isinstance(error["input"], str))


def _text(key: str, hint: Any, error: ErrorDetails, of_key: Sequence[ErrorDetails]) -> str:
    given, limits = error["input"], error.get("ctx", {})
    match error["type"]:
        case "unexpected_keyword_argument":
            return f"unknown key {key}"
        case "literal_error":
            options = [str(each) for each in _options(hint) if each != ""]
            number = ", or a whole number" if any(each["type"] == "int_type" for each in of_key) else ""
            hinted = did_you_mean(given, options) if isinstance(given, str) else ""
            return f"{key} must be one of {', '.join(options)}{number}; got {given!r}{hinted}"
        case "greater_than_equal":
            return f"{key} must be at least {_limit(limits['ge'])}; got {_shown(given)}"
        case "less_than_equal":
            return f"{key} must be at most {limits['le']:g}; got {_shown(given)}"
        case "multiple_of":
            return f"{key} must be a multiple of {limits['multiple_of']:g}; got {_shown(given)}"
        case "finite_number":
            return f"{key} must be a finite number; got {_shown(given)}"
        case "list_type":
            plain = type(given) in (str, int, float) and _PLAIN.fullmatch(_shown(given))
            example = f", such as '{key}=[{_shown(given)}]'" if plain else ""
            return f"{key} must be a list{example}; got {_shown(given)}"
    if isinstance(limits.get("error"), SettingsError):
        return str(limits["error"])
    message = error["msg"].removeprefix("Value error, ")
    if message.startswith("must "):
        return f"{key} {message}"
    return f"{key}: {message}; got {given!r}" if message.startswith("Input") else f"{key}: {message}"


def _options(hint: Any) -> list[Any]:
    """The values of a Literal, also of one in a list or beside other types."""
    if get_origin(hint) is Literal:
        return list(get_args(hint))
    return [each for part in get_args(hint) for each in _options(part)]


def _limit(value: float) -> str:
    """Without an exponent where there is room: 0.000001 is read at once, 1e-06 is not."""
    return f"{value:f}".rstrip("0").rstrip(".") if value == 0 or abs(value) >= 1e-6 else f"{value:g}"


def _shown(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
