"""Frame of every script: settings from the command line, and one clear line for a user's mistake."""

import atexit
import getpass
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from app.core.nearest import did_you_mean
from app.core.printing import print_everything, shown
from app.settings import Settings, SettingsError, load_settings


def parse_settings(argv: Sequence[str]) -> Settings:
    """Settings from Hydra overrides such as `experiment=two_cam train.epochs=3`."""
    return load_settings(list(argv))


def key_values(argv: Sequence[str], **defaults: str) -> dict[str, str]:
    """`key=value` words over defaults. Raises SettingsError for another key, or one without a value."""
    given = dict(defaults)
    for word in argv:
        key, _, value = word.partition("=")
        if key not in given or not value:
            raise SettingsError(f"unknown argument {word!r}; known: {', '.join(given)}{did_you_mean(key, given)}")
        given[key] = value
    return given


def split_words(argv: Sequence[str], own: Mapping[str, str]) -> tuple[dict[str, str], list[str]]:
    """`key=value` words of a script's own keys over their defaults, and all other words, which are settings."""
    given, others = dict(own), []
    for word in argv:
        key, _, value = word.partition("=")
        if key in own:
            given[key] = value
        else:
            others.append(word)
    return given, others


def command(main: Callable[[Sequence[str]], None], argv: Sequence[str]) -> None:
    """Run `main`; a mistake in settings, data or files ends with one line on standard error and exit status 2.

    Names of files that the terminal cannot print are escaped. `--help` alone prints the docstring of the command's
    module.
    """
    print_everything()
    if list(argv) in (["--help"], ["-h"]) and (text := sys.modules[main.__module__].__doc__):
        print(text.strip())
        return
    signal.signal(signal.SIGTERM, _stop)
    name_user()
    try:
        main(argv)
    except (ValueError, OSError, RuntimeError) as error:
        print(f"error: {shown(first_line(error))}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        sys.exit(130)


def first_line(error: BaseException) -> str:
    """What an error says in one line; its type if it says nothing."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def name_user() -> None:
    """Give a user id that the machine has no entry for, as in containers, a name and a home folder for this command.

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
