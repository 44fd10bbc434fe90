"""Measure a checkpoint on any data set.

Run: python -m scripts.evaluate run=outputs/two_cam/<time> data=two_cam data.eval_split=test
`model=global` (default), `central`, `local-client-0`, `stand_alone-client-0`, or `untrained`, the network before
training. `data=NAME` is any reader, `data.root=FOLDER` any folder of that layout.
"""

import copy
import json
import sys
from collections.abc import Sequence
from typing import Any

from app.core.arrays import float_arrays
from app.core.run_folder import RunFolder, format_table
from app.data.dataset import open_source
from app.experiment.baselines import measure_arrays
from app.settings.load import (
    Settings,
    SettingsError,
    absolute,
    load_settings,
    plain_keys,
    settings_from,
    spelt_out,
    text_keys,
    unknown_key,
)
from app.settings.overrides import value_of
from app.tasks import make_task
from app.training.checkpoint import Checkpoint, without_heads
from scripts.command import command, split_words


def main(argv: Sequence[str]) -> None:
    """Print a table, and as the last line a JSON object with mAP, rank1, rank5, mINP, queries and skipped."""
    own, words = split_words(argv, {"run": "", "model": "global"})
    if not own["run"]:
        raise SettingsError("run=RUN_FOLDER is missing")
    folder, model = absolute(own["run"]), own["model"]
    if model == "untrained":
        settings = with_overrides(RunFolder.existing(folder).read_settings(), words)
        task = make_task(settings)
        arrays = without_heads(float_arrays(task.build(1, settings.seed)), task)
    else:
        checkpoint = Checkpoint.read(folder, model)
        settings, arrays = with_overrides(checkpoint.settings, words), checkpoint.arrays
    directions = open_source(settings.data, settings.seed).evaluation(settings.data.eval_split)
    try:
        measures = measure_arrays(settings, arrays, directions)
    except ValueError as error:
        raise ValueError(f"{folder}, model {model}: {error}") from error
    print(format_table({model: measures}))
    print(json.dumps({**measures, "model": model, "data": settings.data.reader, "split": settings.data.eval_split}))


def with_overrides(kept: dict[str, Any], words: Sequence[str]) -> Settings:
    """Settings of a checkpoint with overrides; `data=NAME` brings that data set's own settings."""
    raw = copy.deepcopy(kept)
    for word in sorted(words, key=lambda word: not word.startswith("data=")):  # the data set first, then its keys
        key, value = value_of(spelt_out(word), text_keys())
        if key == "data":
            if open_name(value) == kept["data"]["reader"]:
                continue  # the run's own set, as the run had it
            raw["data"] = load_settings([f"data={value}"]).as_dict()["data"]
        elif "." in key or key == "device":
            _set(raw, key, value)
        elif key in plain_keys():
            raise SettingsError(f"{key} cannot be changed for a checkpoint")
        else:
            raise unknown_key(key)
    return settings_from(raw)


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


if __name__ == "__main__":
    command(main, sys.argv[1:])
