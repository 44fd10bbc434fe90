"""Hints for mistyped settings: the most similar key, group or choice."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import fields, is_dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any, get_args, get_type_hints

from hydra.errors import MissingConfigException

from app.settings.nearest import did_you_mean, nearest
from app.settings.privacy import PACKED_BFV

_VALUE = re.compile(r"true|false|null|nan|inf|[-+.\d].*", re.IGNORECASE)  # what Hydra reads as no text
_REFUSED = re.compile(r"Could not override '(?P<key>[^']+)'")


def keys_of(sections: Mapping[str, type], scalars: Iterable[str]) -> list[str]:
    """Every key that can be set, `train.augment.flip` for one, in the order of the sections."""
    return [*scalars, *(key for name, section in sections.items() for key in _keys(name, section))]


def key_hint(key: str, known: Iterable[str]) -> str:
    """ "; did you mean train.epochs?" for `train.epoch`, `data.epochs` and `epochs`; nothing if no key is like it."""
    known = list(known)
    section, _, last = key.rpartition(".")
    beside = {name.rpartition(".")[2]: name for name in known if name.rpartition(".")[0] == section}
    if (found := nearest(last, beside)) is not None:
        return f"; did you mean {beside[found]}?"
    elsewhere = [name for name in known if name.rpartition(".")[2] == last]
    if len(elsewhere) == 1:
        return f"; did you mean {elsewhere[0]}?"
    return "" if section in known else did_you_mean(key, elsewhere or known)


def refused(error: Exception, known: Iterable[str]) -> str | None:
    """Hydra's error for a key or a choice that there is not, or for a retired one, with a hint; None for another."""
    if isinstance(error, MissingConfigException) and error.missing_cfg_file == "privacy/packed_bfv":
        return PACKED_BFV
    if isinstance(error, MissingConfigException) and error.missing_cfg_file and error.options:
        group, _, choice = error.missing_cfg_file.rpartition("/")
        known = ", ".join(sorted(error.options))
        return f"there is no {group}={choice}; known: {known}{did_you_mean(choice, error.options)}"
    match = _REFUSED.search(str(error))
    if match is None or "To append to your config" not in str(error):
        return None
    return f"unknown key {match['key']}{key_hint(match['key'], ['experiment', *known])}"


def unnamed_choice(words: Iterable[str], groups: Iterable[str]) -> str | None:
    """The first override of a group of `conf/` with a number, a truth value or null for a name, and the names."""
    for word in words:
        group, _, value = word.lstrip("+~").partition("=")
        folder = files("conf") / group
        if group in groups and folder.is_dir() and _VALUE.fullmatch(value.strip()):
            known = sorted(file.name.removesuffix(".yaml") for file in folder.iterdir() if file.name.endswith(".yaml"))
            return f"{word}: {group} is a name; known: {', '.join(known)}"
    return None


def root_hint(data: str) -> str:
    """A hint for a data set without its folder: the experiments that set it."""
    chosen = f"override /data: shared/{data}\n"
    texts = {
        Path(file.name).stem: file.read_text(encoding="utf-8") for file in (files("conf") / "experiment").iterdir()
    }
    found = sorted(name for name, text in texts.items() if chosen in text)
    return f"; experiment={found[0]} sets it" if found else ""


def first_leaf(key: str, value: Any) -> str:
    """The first key below a section that does not exist: `trian.epochs` of `trian: {epochs: 3}`."""
    while isinstance(value, Mapping) and value:
        name, value = next(iter(value.items()))
        key = f"{key}.{name}"
    return key


def _keys(prefix: str, cls: type) -> list[str]:
    found = [prefix]
    hints = get_type_hints(cls)
    for field in fields(cls):
        inner = [part for part in (hints[field.name], *get_args(hints[field.name])) if is_dataclass(part)]
        name = f"{prefix}.{field.name}"
        found += [key for part in inner for key in _keys(name, part)] if inner else [name]  # type: ignore[arg-type]
    return found
