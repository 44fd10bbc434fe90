"""Reason for the end of a simulation, from the logs of Flower and Ray."""

import re
import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
_FRAME = dict.fromkeys(map(ord, "╭╮╰╯│─"))  # Flower frames its errors
_PREFIX = re.compile(r"^(?:\([\w\s.=/-]*pid=[^)]*\)\s*)?(?:(?:ERROR|WARNING|CRITICAL)\s*:\s+)?")
_PYTHON_ERROR = re.compile(
    r"^(?:[A-Za-z_][\w.]*(?:Error|Exception|Exit|Interrupt|Timeout|Empty)|Exception)(?:\([\w.]+\))?(?:: |$)"
)
_HIDES = (
    "An error was encountered",
    "Simulation Runtime crashed",
    "Exception in ServerApp thread",
    "ray::",
)
"""Beginnings of errors that only report another one."""
_SLOW_START = (
    "timed out during startup",
    "Failed to start GCS",
    "Failed to connect to GCS",
    "GCS has become overloaded",
    "did not answer within",
    "may not have started successfully",
    "Failed to register worker",
    "heartbeat",
    "Can't find a `node_ip_address.json` file",
)
"""Texts of Ray and the launcher for a start that timed out."""


def last_words(logs: Mapping[Path, int], otherwise: Callable[[], str] = str) -> str:
    """The error that ended a run, and its log; without one the result of `otherwise`, or a log's last line.

    A later error that only wraps another is skipped, such as `An error was encountered`. Of several logs the first with
    an error counts.

    Args:
        logs: each from the byte at which the run began; what is before it is of other runs.
    """
    texts = [(log, list(_lines(log, begin))) for log, begin in logs.items()]
    for usable in (_is_reason, _is_error, lambda line: "ERROR" in line or line.startswith("Error:")):
        for log, lines in texts:
            if found := [number for number, line in enumerate(lines) if usable(line)]:
                return f"{_whole(lines, found[-1])} (see {shlex.quote(str(log))})"
    log, lines = texts[0]
    return f"{otherwise() or (lines or ['no output'])[-1]} (see {shlex.quote(str(log))})"


def is_slow_start(reason: str) -> bool:
    """Whether a run ended because Flower or Ray was not up in time, so that another start may succeed."""
    return any(words in reason for words in _SLOW_START)


def _lines(log: Path, begin: int) -> Iterator[str]:
    said = log.read_bytes()[begin:] if log.exists() else b""
    text = _COLOUR.sub("", said.decode("utf-8", errors="replace"))
    for line in text.translate(_FRAME).splitlines():
        if line.strip():
            yield _PREFIX.sub("", line.strip(), count=1)


def _is_error(line: str) -> bool:
    return bool(_PYTHON_ERROR.match(line))


def _is_reason(line: str) -> bool:
    said = line.partition(": ")[2]
    return _is_error(line) and bool(said) and not said.startswith(_HIDES)


def _whole(lines: Sequence[str], number: int) -> str:
    """The error of a line, joined with the next line if it ends in the middle of a sentence."""
    line = lines[number]
    more = lines[number + 1] if line.endswith((":", ",")) and number + 1 < len(lines) else ""
    return f"{line} {more}".strip()
