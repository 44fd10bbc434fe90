"""All commands of the project under one name.

Run: fed-vehicle-reid simulate experiment=quickstart
     fed-vehicle-reid register identify photo.jpg
     fed-vehicle-reid --install-completion        completes commands, experiments, settings and options in your shell
"""

import os
import sys
from collections.abc import Sequence
from importlib import import_module
from importlib.metadata import version
from typing import Annotated, Any

import click
import typer
from click.shell_completion import CompletionItem
from typer.core import TyperGroup

from app.settings.checks import SettingsError
from app.settings.load import known_keys
from app.settings.nearest import did_you_mean
from scripts.catalogue import COMMANDS, PROGRAM, choices, groups, help_of, settings_help
from scripts.command import command, run_app


def main(argv: Sequence[str]) -> None:
    """Run one command. Raises SettingsError for an unknown one."""
    words = list(argv)
    if words in ([], ["-h"], ["--help"]):
        run_app(_app(), ["--help"], PROGRAM)
        print(f"\n{settings_help()}")
        return
    if words[0].startswith("-"):
        run_app(_app(), words, PROGRAM)
        return
    name, given = words[0], words[1:]
    found = COMMANDS.get(name)
    if found is None:
        raise SettingsError(f"unknown command {name!r}; known: {', '.join(COMMANDS)}{did_you_mean(name, COMMANDS)}")
    if given in (["--help"], ["-h"]) and found.takes != "options":
        print(help_of(name, found))
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
        words = _Words(["words"], nargs=-1, type=click.UNPROCESSED, settings=found.takes in ("settings", "checkpoint"))
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


if __name__ == "__main__":
    run()
