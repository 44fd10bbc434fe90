"""Settings stored beside a model, with overrides of today."""

import copy
from collections.abc import Sequence
from typing import Any

from app.settings.load import (
    Settings,
    SettingsError,
    load_settings,
    plain_keys,
    settings_from,
    spelt_out,
    text_keys,
    unknown_key,
)
from app.settings.overrides import value_of
from app.settings.plug_in_names import require_declared


def with_overrides(kept: dict[str, Any], words: Sequence[str]) -> Settings:
    """Settings of a checkpoint with overrides; `data=NAME` brings that data set's own settings.

    `data.weather` is of one evaluation, not of a model: the run's own is not kept."""
    raw, given = copy.deepcopy(kept), list[Any]()
    if isinstance(raw.get("data"), dict):
        raw["data"].pop("weather", None)
    for word in sorted(words, key=lambda word: not word.startswith("data=")):  # the data set first, then its keys
        key, value = value_of(spelt_out(word), text_keys())
        given.append(value)
        if key == "data":
            if open_name(value) == kept["data"]["reader"]:
                continue  # the run's own set, with its settings in the run
            raw["data"] = load_settings([f"data={value}"]).as_dict()["data"]
        elif "." in key or key == "device":
            _set(raw, key, value)
        elif key in plain_keys():
            raise SettingsError(f"{key} cannot be changed for a checkpoint")
        else:
            raise unknown_key(key)
    require_declared(raw, trusted=given)
    return settings_from(raw, stored=False)


def _set(raw: dict[str, Any], key: str, value: Any) -> None:
    """Set a dotted key; of a dictionary the keys it names."""
    first, _, rest = key.partition(".")
    if rest or (isinstance(value, dict) and isinstance(raw.get(first), dict)):
        if not isinstance(raw.get(first), dict):
            raw[first] = {}
        for name, item in {rest: value}.items() if rest else value.items():
            _set(raw[first], name, item)
    else:
        raw[first] = value


def open_name(group: str) -> str:
    """The reader behind `data=NAME`."""
    return load_settings([f"data={group}", "data.root=."]).data.reader
