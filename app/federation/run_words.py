"""Checks of a run config's overrides before a site composes them: Hydra could read further files and variables of the
site.
"""

import re
import shlex
from importlib.resources import files

from omegaconf import OmegaConf

from app.settings.checks import SettingsError

_GROUPS = ("data", "model", "loss", "train", "federation", "privacy", "personalise", "experiment")
_WORD = re.compile(r"\s*(?:\+\+?|~)?\s*(?P<key>[^=]*?)\s*(?:=(?P<value>.*))?", re.DOTALL)
_KEY = re.compile(r"[A-Za-z_][\w-]*(\.[\w-]+)*", re.ASCII)
_CHOICE = re.compile(r"""(?P<quote>["']?)[A-Za-z0-9_-]+(?P=quote)""")
_INTERPOLATION = re.compile(r"\$\\*\{")  # the grammar removes the backslash of "$\{"


def run_words(overrides: str) -> list[str]:
    """The overrides one by one.

    Raises SettingsError, naming the key, for
    - an interpolation: `${oc.env:NAME}` reads the site's environment, and an error quotes a wrong value;
    - a key of Hydra itself: `hydra.searchpath` composes from folders of the site;
    - a package (`group@package=`) or a path as a key;
    - a configuration group whose choice is no plain name, such as a path outside of `conf/`.
    """
    try:
        words = shlex.split(overrides)
    except ValueError as error:
        raise SettingsError(f"the run's overrides are not words of a shell: {error}") from error
    for word in words:
        found = _WORD.fullmatch(word)
        key, value = (found["key"], found["value"]) if found else ("", None)
        if not _KEY.fullmatch(key):
            raise SettingsError(f"{word!r} of the run's overrides is not key=value with a dotted key")
        if reason := _forbidden(word, key, value):
            raise SettingsError(f"{key}: {reason}")
    return words


def reader_of(data: str) -> str:
    """The reader of a data set by its name in `conf/data`. Raises SettingsError for an unknown one."""
    path = files("conf") / "data" / f"{data}.yaml"
    if not _CHOICE.fullmatch(data) or not path.is_file():
        raise SettingsError(f"data={data}: there is no such data set in conf/data")
    return str(OmegaConf.select(OmegaConf.create(path.read_text(encoding="utf-8")), "reader"))


def _forbidden(word: str, key: str, value: str | None) -> str:
    if _INTERPOLATION.search(word):
        return "an interpolation, which a site does not resolve; write the value"
    if key.split(".")[0] == "hydra":
        return "a key of Hydra itself, which a run may not set"
    if key in _GROUPS and value is not None:
        choice = value.strip()
        if choice not in ("", "null") and not choice.startswith("{") and not _CHOICE.fullmatch(choice):
            return f"{choice!r} is no plain name of a configuration"
    return ""
