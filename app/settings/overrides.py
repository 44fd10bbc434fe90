"""Overrides in Hydra's grammar: texts outside of it are quoted, so that any path can be given or passed on.

A value within the grammar keeps its meaning (lists, numbers, quotes, `${...}`). A value outside it (`it's`, `a=b`,
`/data/车辆`) is taken literally, and so is a number or a list in place of a text: `run_dir=2024`, `data.root=a,b`.
"""

import json
import re
from collections.abc import Collection, Iterator, Sequence
from itertools import islice, product
from typing import Any

from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Glob, Override, Quote, QuotedString
from hydra.errors import HydraException
from hydra.initialize import initialize_config_module
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from app.settings.checks import SettingsError

_WORD = re.compile(r"(?P<sign>\+\+?|~)?(?P<key>[A-Za-z_][\w./@:$-]*)(?:=(?P<value>.*))?", re.ASCII | re.DOTALL)
_INTERPOLATION = re.compile(r"(\\*)\$\{")
_MAX_JOBS = 1000


def quoted(text: str) -> str:
    """`text` as a quoted value of Hydra's grammar with exactly this meaning.

    Raises SettingsError for a text that is no Unicode, such as a file name of other bytes."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise SettingsError(f"{text!r} is not valid UTF-8; rename it, or link to it under another name") from error
    plain = _INTERPOLATION.sub(lambda found: 2 * found[1] + r"\${", text)
    return QuotedString(plain, Quote.double).with_quotes()


def override(key: str, value: object) -> str:
    """`key=value` for a text, such as a path."""
    try:
        return f"{key}={quoted(str(value))}"
    except SettingsError as error:
        raise SettingsError(f"{key}: {error}") from error


def readable(word: str, text_keys: Collection[str] = ()) -> str:
    """The override `word` in Hydra's grammar: itself if it is valid, else with its value quoted.

    Values of `text_keys` are texts in any case. Raises SettingsError for a word that is no override, and for a list or
    dictionary with an element that has to be quoted."""
    sign, key, value = _split(word)
    if value is None:
        return word
    found = _parsed(word)
    if key in text_keys:
        read = found.value() if found else None
        text = isinstance(read, str | QuotedString) and value == value.strip()
        return word if found and (text or found.value() is None) else f"{sign}{override(key, value)}"
    if found:
        return word
    if value[:1] in ("[", "{"):
        raise SettingsError(f'{word!r} cannot be read: quote each text in it, as in {key}=["a b","it\'s"]')
    return f"{sign}{override(key, value)}"


def value_of(word: str, text_keys: Collection[str] = ()) -> tuple[str, Any]:
    """Key and value of an override, in Python's types. Raises SettingsError."""
    found = _parsed(readable(word, text_keys))
    if found is None or found.is_sweep_override():
        raise SettingsError(f"{word!r} is not one value; quote it if it is a text")
    value = found.value()
    plain = str(value.text) if isinstance(value, QuotedString) else value
    try:
        container: Any = OmegaConf.to_container(OmegaConf.create({"value": plain}), resolve=True)
    except OmegaConfBaseException as error:
        raise SettingsError(f"{word!r} cannot be read: {str(error).splitlines()[0]}") from error
    return found.get_key_element().lstrip("+~"), container["value"]


def sweep(words: Sequence[str], text_keys: Collection[str] = ()) -> list[list[str]]:
    """The jobs of a multirun: `a=1,2 b=range(3)` gives six lists of overrides. A duplicate job is run once.

    Raises SettingsError for a sweep without a value, with an empty one, or over a key that is given again."""
    options = [_options(word, text_keys) for word in words]
    keys = [_split(word)[1] for word in words]
    for number, values in enumerate(options):
        if len(values) > 1 and keys[number] in keys[number + 1 :]:
            raise SettingsError(f"{keys[number]} is swept over and given again after it, which alone would count")
    jobs = dict.fromkeys(islice(product(*options), _MAX_JOBS + 1))
    if len(jobs) > _MAX_JOBS:
        raise SettingsError(f"the sweep has over {_MAX_JOBS:,} jobs")
    return [list(job) for job in jobs]


def toml_text(text: str) -> str:
    """`text` as a string of TOML, which knows neither JSON's pairs of surrogates nor a bare DEL."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def _split(word: str) -> tuple[str, str, str | None]:
    match = _WORD.fullmatch(word)
    if not match or (match["value"] is None and match["sign"] != "~"):
        raise SettingsError(f"not of the form key=value: {word!r}")
    return match["sign"] or "", match["key"], match["value"]


def _parsed(word: str) -> Override | None:
    """None for a word outside the grammar."""
    try:
        return OverridesParser.create().parse_override(word)
    except (HydraException, ValueError, RecursionError):
        return None


def _options(word: str, text_keys: Collection[str]) -> list[str]:
    """The overrides that one word of a sweep stands for."""
    sign, key, value = _split(word)
    found = _parsed(word)
    if found and not found.is_sweep_override():
        return [readable(word, text_keys)]
    if found:
        values = list(dict.fromkeys(islice(_values(found), _MAX_JOBS + 1)))
        if not values:
            raise SettingsError(f"-m: {word} has no value, so nothing would be run")
        return [readable(f"{sign}{key}={text}", text_keys) for text in values]
    parts = _between_commas(value or "")
    if len(parts) > 1 and not all(part.strip() for part in parts):
        raise SettingsError(f"-m: {word!r} has an empty value beside a comma; quote a text that holds commas")
    return [readable(f"{sign}{key}={part}", text_keys) for part in dict.fromkeys(parts)]


def _values(found: Override) -> Iterator[str]:
    """The values of a sweep, as written."""
    value = found.value()
    if isinstance(value, Glob):  # over the files of a group of settings
        GlobalHydra.instance().clear()
        with initialize_config_module("conf", version_base="1.3"):
            loader = GlobalHydra.instance().config_loader()
            yield from value.filter(loader.get_group_options(found.key_or_group))
        return
    try:
        yield from found.sweep_string_iterator()
    except HydraException as error:  # interval(...), which has no list of values
        raise SettingsError(f"-m: {found.input_line}: {error}") from error


def _between_commas(value: str) -> list[str]:
    """`value` split at the commas outside of brackets and quotes.

    A quote opens only where a value begins: that of `it's` is a letter like any other."""
    parts, depth, quote = [""], 0, ""
    for letter in value:
        if quote:
            quote = "" if letter == quote and not parts[-1].endswith("\\") else quote
        elif letter in "'\"" and (depth or not parts[-1].strip()):
            quote = letter
        elif letter in "[{(":
            depth += 1
        elif letter in "]})":
            depth = max(0, depth - 1)
        elif letter == "," and not depth:
            parts.append("")
            continue
        parts[-1] += letter
    return parts
