"""A command of the project, read as far as it goes without running: its module, subcommand, options and settings."""

import importlib
from collections.abc import Sequence
from functools import cache
from types import ModuleType

import click
import pytest
import typer

from app.experiment.sweeps import Sweep
from app.experiment.weather import kinds_of
from app.settings.load import load_settings, text_keys
from app.settings.overrides import sweep
from app.settings.stored import with_overrides
from app.training.checkpoint import Checkpoint
from scripts.catalogue import COMMANDS, PROGRAM
from scripts.command import key_values, split_words

_STARTS = {"scripts.compare_plate_readers": ["experiment=plates_countries"]}
_NOT_SETTINGS = {"scripts.read_plates", "scripts.bench.photographs", "scripts.export"}
"""Commands whose further words are files, or data sets as READER=FOLDER."""
_CHECK_VALUES = {"scripts.baseline", "scripts.cross_validate", "scripts.equalise", "scripts.export"}
"""Commands that check the values of their own keys, such as `mode=`, before they read settings, a run or a sweep."""
_PLUGGED = "hydra.searchpath="


class Read(Exception):
    """Raised in place of the command, once its words were split."""


def read_command(words: Sequence[str]) -> None:
    """Read a command, once for all pages that have it.

    Raises SettingsError, a ClickException or an ImportError for one that could not be started."""
    _read(tuple(words))


@cache
def _read(words: tuple[str, ...]) -> None:
    if words[0] == PROGRAM and words[1].startswith("-"):
        assert words[1:] in (("--help",), ("--version",), ("--install-completion",))
        return
    if words[0] == PROGRAM:
        assert words[1] in COMMANDS, f"unknown command {words[1]}"
        module, given = COMMANDS[words[1]].module, list(words[2:])
    else:
        module, given = words[2], list(words[3:])
    program = importlib.import_module(f"{module}.__main__" if module == "scripts.bench" else module)
    if isinstance(getattr(program, "app", None), typer.Typer):
        _read_options(typer.main.get_command(program.app), given)
        return
    with pytest.MonkeyPatch.context() as patch:
        for name, reader in (
            ("split_words", _split),
            ("key_values", _keys),
            ("parse_settings", _settings),
            ("load_settings", _settings),
        ):
            if hasattr(program, name):
                patch.setattr(program, name, reader)
        try:
            program.main(given)
        except Read as read:
            others = list(read.args[0])
    if module in _CHECK_VALUES:
        _check_values(program, given)
    if module == "scripts.evaluate":
        own, others = split_words(given, {"run": "", "model": "", "weather": ""})
        kinds_of(own["weather"], others)
        with_overrides(load_settings("data.root=FOLDER").as_dict(), others)
    elif module not in _NOT_SETTINGS and not any(word.startswith(_PLUGGED) for word in others):
        _check_settings([*_STARTS.get(module, []), *others])


def _split(argv, own):
    raise Read(split_words(argv, own)[1])


def _keys(argv, **defaults):
    key_values(argv, **defaults)
    raise Read([])


def _settings(argv):
    raise Read(list(argv))


def _check_values(program: ModuleType, given: list[str]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        for name in ("load_settings", "read_detector"):
            if hasattr(program, name):
                patch.setattr(program, name, _stop)
        for kind in (Checkpoint, Sweep):
            patch.setattr(kind, "read", _stop)
        with pytest.raises(Read):
            program.main(given)


def _stop(*_):
    raise Read([])


def _check_settings(words: list[str]) -> None:
    data = any(word.startswith("data.root=") for word in words)
    more = ["data.root=FOLDER"] if not data and "data=manifest" in words else []
    for job in sweep([word for word in words if word not in ("-m", "--help")], text_keys()):
        load_settings([*more, *job])


def _read_options(program: click.Command, given: list[str]) -> None:
    """Read options and subcommands; files need not be there."""
    try:
        context = program.make_context(program.name, [word for word in given if word != "--help"])
    except click.exceptions.NoArgsIsHelpError:
        return
    except click.BadParameter as error:
        if "does not exist" not in error.format_message():
            raise
        return
    if isinstance(program, click.Group):
        words = [*context._protected_args, *context.args]
        if not words and program.invoke_without_command:
            return
        name, found, rest = program.resolve_command(context, words)
        assert found is not None, name
        _read_options(found, rest)
    elif settings := [word for word in context.params.get("words") or () if "=" in word]:
        _check_settings(settings)
