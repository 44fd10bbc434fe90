"""Frame of every script: settings from the command line, and a one-line message for a user error."""

import atexit
import errno
import getpass
import os
import re
import shutil
import signal
import socket
import sys
import tempfile
import traceback
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any
from urllib.error import URLError

import click
import typer

from app.core.printing import print_everything, shown
from app.settings.load import Settings, SettingsError, load_settings, plain_keys
from app.settings.nearest import did_you_mean, nearest
from models.errors import FedVehicleReidError
from scripts.catalogue import PROGRAM, command_of, settings_of

_LONGEST = 60  # characters of a word shown in an error
_OF_MACHINE = frozenset(
    {
        *(errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EIO),
        *(errno.ENOMEM, errno.EMFILE, errno.ENFILE, errno.EAGAIN),
        *(errno.EADDRINUSE, errno.EADDRNOTAVAIL, errno.EHOSTUNREACH, errno.ENETUNREACH),
    }
)
"""Conditions for which errors of the operating system name no file."""
_OF_CONNECTIONS = (ConnectionError, TimeoutError, socket.gaierror, URLError)
_DECIMAL = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)(e[+-]?[0-9]+)?", re.IGNORECASE | re.ASCII)


def parse_settings(argv: Sequence[str]) -> Settings:
    """Settings from Hydra overrides such as `experiment=two_cam train.epochs=3`."""
    return load_settings(list(argv))


def key_values(argv: Sequence[str], **defaults: str) -> dict[str, str]:
    """`key=value` words over defaults. Raises SettingsError for another key, or one without a value."""
    given, others = split_words(argv, defaults)
    for word in others:
        key = word.partition("=")[0]
        raise SettingsError(f"unknown argument {word!r}; known: {', '.join(given)}{did_you_mean(key, given)}")
    return given


def split_words(argv: Sequence[str], own: Mapping[str, str]) -> tuple[dict[str, str], list[str]]:
    """`key=value` words of a script's own keys over their defaults, and the other words: settings, or files.

    Raises SettingsError for an own key given twice or without a value, and for a word whose key is most similar to an
    own one, unless it is a setting or a file of this name."""
    given, others, taken = dict(own), list[str](), set[str]()
    for word in argv:
        key, equals, value = word.partition("=")
        if key not in own:
            likely = nearest(key, {*own, *plain_keys()})
            if equals and "." not in key and key not in plain_keys() and likely in own and not os.path.lexists(word):
                raise SettingsError(f"unknown key {key}; did you mean {likely}?")
            others.append(word)
        elif not value:
            raise SettingsError(f"{key}= is without a value; give one, or leave it out")
        elif key in taken:
            raise SettingsError(f"{key}= is given twice")
        else:
            given[key] = value
            taken.add(key)
    return given, others


def whole_number(key: str, word: str, low: int, high: int) -> int:
    """The number of a word of ASCII digits. Raises SettingsError naming the key for any other word and for a number
    outside of low to high."""
    if re.fullmatch(r"-?[0-9]{1,18}", word) and low <= int(word) <= high:
        return int(word)
    raise SettingsError(f"{key} must be a whole number from {low} to {high}; got {_cut(word)}")


def decimal_number(key: str, word: str, low: float, high: float) -> float:
    """The decimal number of a word; errors as in `whole_number`."""
    if len(word) <= _LONGEST and _DECIMAL.fullmatch(word) and low <= float(word) <= high:
        return float(word)
    raise SettingsError(f"{key} must be a number from {low:g} to {high:g}; got {_cut(word)}")


def _cut(word: str) -> str:
    return repr(word) if len(word) <= _LONGEST else f"{word[:_LONGEST]!r}... of {len(word)} characters"


def run_app(app: typer.Typer, argv: Sequence[str], prog_name: str) -> None:
    """Run one command of a program with options. Raises SettingsError for an unknown option or word, and for an empty
    path, which would be the working folder."""
    if Path(sys.argv[0]).name == PROGRAM:
        prog_name = prog_name.replace("python -m scripts.", f"{PROGRAM} ").replace("_", "-")
    program = typer.main.get_command(app)
    _require_names(program)
    try:
        program(args=list(argv) or ["--help"], standalone_mode=False, prog_name=prog_name)
    except click.UsageError as error:
        raise SettingsError(error.format_message()) from error


def _require_names(program: click.Command) -> None:
    """Refuse empty paths in a program and its commands."""
    for parameter in program.params:
        if isinstance(parameter.type, click.Path):
            parameter.type = _NamedPath(parameter.type)
    for each in getattr(program, "commands", {}).values():
        _require_names(each)


class _NamedPath(click.ParamType):
    """A path of at least one character."""

    name = "path"

    def __init__(self, kind: click.Path) -> None:
        self.kind = kind

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if value in ("", b""):
            self.fail("the path is empty; name a file or folder", param, ctx)
        return self.kind.convert(value, param, ctx)

    def get_metavar(self, param: click.Parameter, ctx: click.Context) -> str | None:
        return self.kind.get_metavar(param, ctx)


def command(main: Callable[[Sequence[str]], None], argv: Sequence[str]) -> None:
    """Run `main`; a user error ends it with one line on standard error and exit status 2.

    Any other error is a bug: it shows its traceback, and the exit status is 1. With `DEBUG=1` both show it. File names
    that the terminal cannot print are escaped. `--help` alone prints the docstring of the command's module, and beside
    it the settings used most where the command takes settings.
    """
    print_everything()
    if list(argv) in (["--help"], ["-h"]) and (text := _help(sys.modules[main.__module__])):
        print(text.strip())
        return
    signal.signal(signal.SIGTERM, _stop)
    name_user()
    try:
        main(argv)
    except Exception as error:
        print_traceback(error)
        if not is_users(error):
            sys.exit(1)
        print(f"error: {shown(first_line(error))}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        sys.exit(130)


def _help(module: ModuleType) -> str | None:
    """The text of `--help`; None for the program of all commands, which lists them."""
    name = module.__spec__.name if module.__spec__ else module.__name__
    if name == "scripts.cli":
        return None
    found = command_of(name)
    if found is None or not (settings := settings_of(found[1])):
        return module.__doc__
    return f"{(module.__doc__ or '').strip()}\n\n{settings}"


def is_users(error: BaseException) -> bool:
    """Whether the user can remedy an error: one of the project's own, or of the operating system about a file, the
    machine or a connection. Any other is a bug."""
    if isinstance(error, FedVehicleReidError) or type(error).__name__ == "OutOfMemoryError":
        return True  # the last one is PyTorch's, of a GPU; not every command imports it
    if not isinstance(error, OSError):
        return False
    return error.filename is not None or error.errno in _OF_MACHINE or isinstance(error, _OF_CONNECTIONS)


def print_traceback(error: BaseException) -> None:
    """The traceback of a bug, and with `DEBUG=1` that of any error, on standard error."""
    if os.environ.get("DEBUG") == "1" or not is_users(error):
        traceback.print_exception(error)


def first_line(error: BaseException) -> str:
    """The first line of an error; its type if it has no text."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def name_user() -> None:
    """Set name and home folder, for this command, of a user id without an entry on the machine, as in containers.

    torch, Flower and matplotlib ask for them and end with a traceback; processes that the command starts inherit both.
    """
    try:
        getpass.getuser()
    except (KeyError, OSError):
        os.environ["USER"] = f"uid-{os.getuid()}"
    try:
        Path.home()
    except RuntimeError:
        home = tempfile.mkdtemp(prefix="home-")
        atexit.register(shutil.rmtree, home, ignore_errors=True)
        os.environ["HOME"] = home


def _stop(*_: object) -> None:
    """End in order on SIGTERM, so that processes started by the command are ended with it."""
    sys.exit(143)
