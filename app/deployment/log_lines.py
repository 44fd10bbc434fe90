"""Log of a party: each line of its processes with time, level and party, without colours, in a file that is rotated.

Run by start.sh, which gives it the output of the SuperLink or SuperNode and of all that these start:
python -P -m app.deployment.log_lines PARTY FORMAT FILE MEGABYTES KEPT [--check]

Flower writes levels in colours and no time, its web server times of another form, and its own `--log-file` is for the
SuperLink's lines alone. This process ends with the last one that writes. It never ends before, and reads on when the
disk is full: a pipe that nobody empties would stop the federation.
"""

import json
import logging
import re
import signal
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import BinaryIO

from app.core.printing import shown
from models.errors import FedVehicleReidError

FORMATS = ("text", "json")
RAW = "raw"
"""LOG_FORMAT for lines as they come; start.sh then does without this process."""
_LONGEST = 65536  # bytes; a longer line becomes several
_MEGABYTE = 1_000_000
_MOST_MEGABYTES, _MOST_KEPT = 100_000, 1000
_COLOUR = re.compile(r"\x1b\[[0-9;?]*[ -/]*[@-~]")
_LEVELS = "DEBUG|INFO|WARNING|ERROR|CRITICAL"
_FLOWER = re.compile(rf"\s*(?P<level>{_LEVELS})(?: [\d-]+ [\d:,.]+)?\s*:\s+(?P<message>.*)")
_WEB = re.compile(rf"\d{{4}}-\S+Z (?P<level>{_LEVELS}) (?P<message>\[.*)")
_ERROR = re.compile(r"error: ", re.IGNORECASE)


class LogSettingError(FedVehicleReidError, ValueError):
    """A setting of the log that cannot be used; the message names it."""


@dataclass(frozen=True)
class LogSettings:
    """Settings of a log, as start.sh has them.

    Args:
        file: "" for standard error.
        megabytes: of a file, from which on a new one begins.
        kept: earlier files that stay, named FILE.1 (the newest) and so on.
    """

    party: str
    format: str
    file: str
    megabytes: int
    kept: int

    @classmethod
    def of(cls, party: str, form: str, file: str, megabytes: str, kept: str) -> "LogSettings":
        """From words. Raises LogSettingError."""
        if form not in FORMATS:
            raise LogSettingError(f"LOG_FORMAT={form} is none of {', '.join((*FORMATS, RAW))}")
        size = _number("LOG_MB", megabytes, 1, _MOST_MEGABYTES)
        return cls(party, form, file, size, _number("LOG_KEPT", kept, 0, _MOST_KEPT))


def _number(key: str, word: str, low: int, high: int) -> int:
    if word.isascii() and word.isdigit() and low <= int(word) <= high:
        return int(word)
    raise LogSettingError(f"{key}={word} is no whole number from {low} to {high}")


class Levels:
    """Levels of lines, each by its own words or by the line before: a traceback is one error over many lines."""

    def __init__(self) -> None:
        self._last = "INFO"
        self._in_traceback = False

    def split(self, line: str) -> tuple[str, str]:
        """Level and message of a line without colours."""
        if match := _FLOWER.fullmatch(line) or _WEB.fullmatch(line):
            self._last, self._in_traceback = match["level"], False
            return match["level"], match["message"]
        if line.lstrip().startswith("Traceback (most recent call last)"):
            self._last, self._in_traceback = "ERROR", True
        elif not line.startswith((" ", "\t")):
            ends, self._in_traceback = self._in_traceback, False  # its last line names the exception
            self._last = "ERROR" if ends or _ERROR.match(line) else "INFO"
        return self._last, line


class LogFile(RotatingFileHandler):
    """A file that is rotated, and that a full disk does not end. Raises LogSettingError if it cannot be opened."""

    def __init__(self, settings: LogSettings) -> None:
        path, self._lost = Path(settings.file), 0
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            super().__init__(path, "a", settings.megabytes * _MEGABYTE, settings.kept, encoding="utf-8")
        except OSError as error:
            raise LogSettingError(f"LOG_FILE={settings.file} cannot be opened: {error}") from error

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: ARG002
        self._lost += 1

    def write(self, line: str) -> int:
        """Write a line; how many were lost before it, if this one was not."""
        before = self._lost
        self.handle(logging.LogRecord("log", logging.INFO, "", 0, line, None, None))
        if self._lost > before:
            return 0
        self._lost = 0
        return before


def formatted(settings: LogSettings, level: str, message: str, now: datetime) -> str:
    """One line of the log."""
    moment = now.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    if settings.format == "json":
        return json.dumps({"time": moment, "level": level, "party": settings.party, "message": message})
    return f"{moment} {level} {settings.party}: {message}"


def write_log(
    lines: Iterable[bytes],
    settings: LogSettings,
    write: Callable[[str], int],
    now: Callable[[], datetime] = lambda: datetime.now(UTC),
) -> None:
    """Write each line that is not empty.

    Args:
        write: takes a line, and returns how many were lost before it.
    """
    levels = Levels()
    for raw in lines:
        text = _COLOUR.sub("", raw.decode("utf-8", "backslashreplace")).rstrip()
        text = text.rpartition("\r")[2].expandtabs()  # of a progress bar, the last state
        if not text:
            continue
        level, message = levels.split(text)
        if lost := write(formatted(settings, level, shown(message), now())):
            write(formatted(settings, "ERROR", f"{lost} lines before this one could not be written", now()))


def to_stream(stream: BinaryIO) -> Callable[[str], int]:
    """Writer of an open stream; a reader that has gone does not end the log."""

    def write(line: str) -> int:
        try:
            stream.write(f"{line}\n".encode())
            stream.flush()
        except OSError:
            pass
        return 0

    return write


def main(*words: str) -> int:
    """Write the log until its last writer has ended; with `--check` look at the settings alone."""
    check = words[-1:] == ("--check",)
    try:
        settings = LogSettings.of(*words[:5])
        write = LogFile(settings).write if settings.file else to_stream(sys.stderr.buffer)
    except LogSettingError as error:
        print(f"error: {shown(error)}", file=sys.stderr)
        return 2
    if check:
        return 0
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):  # the last words of the others are still to come
        signal.signal(number, signal.SIG_IGN)
    write_log(iter(lambda: sys.stdin.buffer.readline(_LONGEST), b""), settings, write)
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
