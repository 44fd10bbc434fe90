"""Commands by name, and the texts of their `--help`: which settings are used most, which groups and choices exist."""

import ast
import importlib.util
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal, NamedTuple

from app.settings.load import composed, settings_from

PROGRAM = "fed-vehicle-reid"
"""The entry point, `scripts.cli`."""


class Command(NamedTuple):
    """A command and the module that runs it.

    Args:
        module: with `main(argv)`; one that takes options has `app`, a typer program.
        takes: `key=value` settings, those of a checkpoint, whose run and network stay, options, or other words.
        about: one line.
        private: whether its files are for their owner alone.
    """

    module: str
    takes: Literal["settings", "checkpoint", "options", "words"]
    about: str
    private: bool = False


COMMANDS = {
    "data": Command("scripts.inspect_data", "settings", "counts of your images, vehicles and queries"),
    "simulate": Command("scripts.simulate", "settings", "a federation on this machine"),
    "sweep": Command("scripts.sweep", "settings", "a federation for each combination of values, and their table"),
    "baseline": Command("scripts.baseline", "settings", "models without a federation, for comparison"),
    "cross-validate": Command("scripts.cross_validate", "settings", "federations that test every vehicle once"),
    "evaluate": Command("scripts.evaluate", "checkpoint", "measures of a run's model on any data set"),
    "equalise": Command("scripts.equalise", "settings", "enhanced images for vehicles with few, and doubtful labels"),
    "train-detector": Command("scripts.train_detector", "options", "a detector of vehicles and plates"),
    "export": Command("scripts.export", "checkpoint", "a network as an ONNX file"),
    "read-plates": Command("scripts.read_plates", "words", "texts of the plates in images"),
    "compare-plate-readers": Command("scripts.compare_plate_readers", "settings", "a published reader beside ours"),
    "federation": Command("scripts.federation", "options", "a federation on real machines: keys, folders, status"),
    "register": Command("scripts.register", "options", "a site's register of vehicles and owners", private=True),
    "serve": Command("scripts.serve", "options", "the register as web pages and as an API", private=True),
    "watch": Command("scripts.watch", "options", "cameras that ask by themselves", private=True),
    "bench": Command("scripts.bench.__main__", "words", "speed and memory of the parts"),
}
"""Commands by name, in the order of their first use."""

KEYS = {
    "experiment": "a prepared run",
    "data": "a data set",
    "data.root": "its folder",
    "seed": "of vehicles, batches and networks",
    "federation.num_clients": "clients of the simulation",
    "federation.rounds": "rounds",
    "train.epochs": "epochs over a client's images, divided over all rounds",
    "train.lr": "learning rate",
    "model": "the network",
    "privacy": "encryption of updates",
}
"""Settings that are used most."""
_OF_CHECKPOINTS = ("data", "data.root")
"""Those of them that a checkpoint can be measured or exported with."""


def command_of(module: str) -> tuple[str, Command] | None:
    """Name and command of a module; None for one that is no command, such as a benchmark."""
    return next(((name, each) for name, each in COMMANDS.items() if each.module == module), None)


def help_of(name: str, found: Command) -> str:
    """The module's docstring, read without loading it, and the settings that are used most."""
    source = importlib.util.find_spec(found.module)
    assert source is not None
    assert source.origin is not None
    text = ast.get_docstring(ast.parse(Path(source.origin).read_text(encoding="utf-8"))) or ""
    former = found.module.removesuffix(".__main__")
    text = text.replace(f"python -m {former}", f"{PROGRAM} {name}")
    return f"{text}\n\n{settings_of(found)}".rstrip()


def settings_of(found: Command) -> str:
    """The settings that a command takes, those used most; "" for none."""
    if found.takes == "checkpoint":
        return _listed(_OF_CHECKPOINTS, ["data"])
    return settings_help() if found.takes == "settings" else ""


def settings_help() -> str:
    """The settings that are used most with their defaults, and the choices of every group."""
    return _listed(list(KEYS), groups())


def _listed(keys: Sequence[str], of: Sequence[str]) -> str:
    settings = settings_from(composed(), stored=False).as_dict()
    rows = [(key, _value(settings, key), KEYS[key]) for key in keys]
    widths = [max(len(row[column]) for row in rows) for column in (0, 1)]
    lines = [f"  {key:{widths[0]}}  {value:{widths[1]}}  {about}".rstrip() for key, value, about in rows]
    chosen = [f"  {group:{widths[0]}}  {', '.join(choices(group))}" for group in of]
    return "\n".join(["Settings used most, and their defaults:", *lines, "", "Groups:", *chosen])


def groups() -> list[str]:
    """The groups of `conf/`."""
    return sorted(each.name for each in files("conf").iterdir() if each.is_dir() and not each.name.startswith("_"))


def choices(group: str) -> list[str]:
    """The choices of a group of `conf/`; none for a key that is no group."""
    if group not in groups():
        return []
    return sorted(Path(each.name).stem for each in (files("conf") / group).iterdir() if each.name.endswith(".yaml"))


def _value(settings: dict[str, Any], key: str) -> str:
    found: Any = settings
    for part in key.split("."):
        found = found.get(part, "") if isinstance(found, dict) else ""
    return "" if isinstance(found, dict) else str(found)
