"""Fields of parties and archives, checked before they stand in shell scripts, systemd units, settings and paths."""

import ipaddress
import re
from collections.abc import Callable, Mapping
from contextlib import suppress

from app.settings.privacy import PrivacySettings

NAME = re.compile(r"[a-z][a-z0-9-]{0,30}")
HOST = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.:-]*[A-Za-z0-9])?")
INSTALL = re.compile(r"(/[\w.-]+)+")  # in systemd units a blank or % has a meaning
_KEY_ID = re.compile(r"[0-9a-f]{16}")
_DATE = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00", re.ASCII)
_OF_ONE = ("authority", "server", "operator")
"""Kinds of which a federation has one party, with the kind as its name."""
_PRIVACY = ("cipher", "ckks_preset", "key_holder")


def is_bind(value: object) -> bool:
    """Whether a server can listen there: an address without a zone, or a name."""
    if not isinstance(value, str):
        return False
    with suppress(ValueError):
        return "%" not in str(ipaddress.ip_address(value))
    return HOST.fullmatch(value) is not None and ":" not in value


def check_fields(fields: Mapping[str, object]) -> None:
    """Raise ValueError, naming the field, for a value that no party or archive has. `kind` and `name` belong together,
    and so do `cipher`, `ckks_preset` and `key_holder`; fields without a rule are passed over."""
    for field, value in fields.items():
        if field in _RULES and not _RULES[field](value):
            raise ValueError(f"{field} {value!r}")
    kind, name = fields["kind"], fields["name"]
    if name != kind if kind in _OF_ONE else name in _OF_ONE:
        raise ValueError(f"name {name!r} of a party of the kind {str(kind)!r}")
    chosen = {field: fields[field] for field in _PRIVACY if field in fields}
    try:
        PrivacySettings(**chosen)  # type: ignore[arg-type]  # what it checks
    except ValueError as error:
        raise ValueError(", ".join(f"{field} {value!r}" for field, value in chosen.items())) from error


def _text(pattern: re.Pattern[str], *further: str) -> Callable[[object], bool]:
    return lambda value: isinstance(value, str) and (value in further or pattern.fullmatch(value) is not None)


def _number(smallest: int, largest: int) -> Callable[[object], bool]:
    return lambda value: type(value) is int and smallest <= value <= largest  # a bool is an int as well


_RULES = {
    "federation": _text(NAME),
    "name": _text(NAME),
    "host": _text(HOST),
    "port": _number(1, 65535),
    "key_id": _text(_KEY_ID),
    "install": _text(INSTALL, ""),
    "bind": lambda value: value == "" or is_bind(value),
    "control_port": _number(0, 65535),
    **dict.fromkeys(_PRIVACY, lambda value: isinstance(value, str)),
    "serial": _number(1, 2**53),
    "date": _text(_DATE),
    "whole": lambda value: isinstance(value, bool),
    "sites": lambda value: isinstance(value, tuple) and all(map(_text(NAME), value)) and len({*value}) == len(value),
}
