"""All commands of the project under one name.

Run: fed-vehicle-reid simulate experiment=quickstart
     fed-vehicle-reid register identify photo.jpg
     fed-vehicle-reid --install-completion        completes commands, experiments, settings and options in your shell
"""

import ast
import importlib.util
import os
import sys
from collections.abc import Sequence
from importlib import import_module
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

import click
import typer
from click.shell_completion import CompletionItem
from typer.core import TyperGroup

from app.settings.checks import SettingsError
from app.settings.load import composed, known_keys, settings_from
from app.settings.nearest import did_you_mean
from scripts.command import PROGRAM, command, run_app


class Command(NamedTuple):
    """A command and the module that runs it.

    Args:
        module: with `main(argv)`; one that takes options has `app`, a typer program.
        takes: `key=value` settings, options, or other words.
        about: one line.
        private: whether its files are for their owner alone.
    """

    module: str
    takes: Literal["settings", "options", "words"]
    about: str
    private: bool = False


COMMANDS = {
    "data": Command("scripts.inspect_data", "settings", "counts of your images, vehicles and queries"),
    "simulate": Command("scripts.simulate", "settings", "a federation on this machine"),
    "sweep": Command("scripts.sweep", "settings", "a federation for each combination of values, and their table"),
    "cross-validate": Command("scripts.cross_validate", "settings", "federations that test every vehicle once"),
    "baseline": Command("scripts.baseline", "settings", "models without a federation, for comparison"),
    "evaluate": Command("scripts.evaluate", "settings", "measures of a run's model on any data set"),
    "equalise": Command("scripts.equalise", "settings", "enhanced images for vehicles with few, and doubtful labels"),
    "train-detector": Command("scripts.train_detector", "options", "a detector of vehicles and plates"),
    "export": Command("scripts.export", "settings", "a network as an ONNX file"),
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


def main(argv: Sequence[str]) -> None:
    """Run one command. Raises SettingsError for an unknown one."""
    words = list(argv)
    if not words or words[0].startswith("-"):
        run_app(_app(), words, PROGRAM)
        return
    name, given = words[0], words[1:]
    found = COMMANDS.get(name)
    if found is None:
        raise SettingsError(f"unknown command {name!r}; known: {', '.join(COMMANDS)}{did_you_mean(name, COMMANDS)}")
    if given in (["--help"], ["-h"]) and found.takes != "options":
        print(_help(name, found))
        return
    if found.private:
        os.umask(0o077)
    import_module(found.module).main(given)


def run() -> None:
    """The entry point `fed-vehicle-reid`."""
    if f"_{PROGRAM}_COMPLETE".replace("-", "_").upper() in os.environ:
        typer.main.get_command(_app())(prog_name=PROGRAM)
    command(main, sys.argv[1:])


class _Commands(TyperGroup):
    """The commands as click shows and completes them; a module is loaded when its options are asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        found = COMMANDS.get(cmd_name)
        if found is None:
            return None
        if ctx.resilient_parsing and found.takes == "options":
            return typer.main.get_command(import_module(found.module).app)
        words = _Words(["words"], nargs=-1, type=click.UNPROCESSED, settings=found.takes == "settings")
        return click.Command(cmd_name, params=[words], short_help=found.about, add_help_option=False)


class _Words(click.Argument):
    """The words after a command without options: settings, and files, which the shell completes."""

    def __init__(self, *args: Any, settings: bool, **more: Any) -> None:
        super().__init__(*args, **more)
        self._settings = settings

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        before = ctx.params.get(self.name or "") or ()
        return [CompletionItem(each) for each in completions(before, incomplete)] if self._settings else []


def completions(before: Sequence[str], incomplete: str) -> list[str]:
    """Settings that begin with `incomplete`, and choices of a group after its `=`.

    Args:
        before: the words before; bash takes `=` for a word of its own, `experiment`, `=`, `qui`, and click leaves it
            out where it is the last one.
    """
    if not incomplete and before and before[-1] in groups():
        return choices(before[-1])
    if len(before) > 1 and before[-1] == "=":
        return [each for each in choices(before[-2]) if each.startswith(incomplete)]
    key, equals, begun = incomplete.partition("=")
    if equals:
        return [f"{key}={each}" for each in choices(key) if each.startswith(begun)]
    return [f"{each}=" for each in dict.fromkeys([*groups(), *known_keys()]) if each.startswith(incomplete)]


def groups() -> list[str]:
    """The groups of `conf/`."""
    return sorted(each.name for each in files("conf").iterdir() if each.is_dir() and not each.name.startswith("_"))


def choices(group: str) -> list[str]:
    """The choices of a group of `conf/`; none for a key that is no group."""
    if group not in groups():
        return []
    return sorted(Path(each.name).stem for each in (files("conf") / group).iterdir() if each.name.endswith(".yaml"))


def _app() -> typer.Typer:
    app = typer.Typer(cls=_Commands, add_completion=True, pretty_exceptions_enable=False)
    app.callback(invoke_without_command=True)(_about)
    return app


def _about(
    show_version: Annotated[bool, typer.Option("--version", help="Show the version and exit.", is_eager=True)] = False,
) -> None:
    """A federated vehicle recogniser: car parks train it together without showing each other an image, and each finds
    the owner of a vehicle in its own register. `COMMAND --help` says more; docs/reference.md says all."""
    if show_version:
        print(PROGRAM, version(PROGRAM))
        raise typer.Exit


def _help(name: str, found: Command) -> str:
    """The module's docstring, read without loading it, and the settings that are used most."""
    source = importlib.util.find_spec(found.module)
    assert source is not None
    assert source.origin is not None
    text = ast.get_docstring(ast.parse(Path(source.origin).read_text(encoding="utf-8"))) or ""
    former = found.module.removesuffix(".__main__")
    text = text.replace(f"python -m {former}", f"{PROGRAM} {name}")
    if found.takes != "settings":
        return text
    settings = settings_from(composed(), stored=False).as_dict()
    rows = [(key, _value(settings, key), about) for key, about in KEYS.items()]
    widths = [max(len(row[column]) for row in rows) for column in (0, 1)]
    lines = [f"  {key:{widths[0]}}  {value:{widths[1]}}  {about}".rstrip() for key, value, about in rows]
    chosen = [f"  {group:{widths[0]}}  {', '.join(choices(group))}" for group in groups()]
    return "\n".join([text, "", "Settings used most, and their defaults:", *lines, "", "Groups:", *chosen])


def _value(settings: dict[str, Any], key: str) -> str:
    found: Any = settings
    for part in key.split("."):
        found = found.get(part, "") if isinstance(found, dict) else ""
    return "" if isinstance(found, dict) else str(found)


if __name__ == "__main__":
    run()
