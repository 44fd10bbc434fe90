"""Files of the project in which functions are called: how much there is to read on a way through it."""

import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import CodeType

_ROOT = Path(__file__).parents[2]
_PACKAGES = ("app/", "models/", "scripts/", "strategies/")


@contextmanager
def called_files(begins: Callable[[CodeType, str], bool] | None = None) -> Iterator[Callable[[], set[str]]]:
    """A function that gives the files called so far, by the caller's threads and those that begin in the block.

    Args:
        begins: code and event ("call", "return") from which on files count; None counts from the start.
    """
    seen, begun = set(), begins is None

    def note(frame, event, _):
        nonlocal begun
        begun = begun or begins(frame.f_code, event)
        if begun and event == "call" and frame.f_code.co_name != "<module>":
            seen.add(frame.f_code.co_filename)

    def names():
        files = [Path(name) for name in seen.copy()]  # threads may still go on
        found = {path.relative_to(_ROOT).as_posix() for path in files if path.is_relative_to(_ROOT)}
        return {name for name in found if name.startswith(_PACKAGES)}

    threading.setprofile(note)
    sys.setprofile(note)
    try:
        yield names
    finally:
        threading.setprofile(None)
        sys.setprofile(None)
