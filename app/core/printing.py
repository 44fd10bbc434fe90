"""Lines that any terminal can print: file names may hold invalid text and line breaks."""

import io
import json
import sys
from typing import Any


def print_everything() -> None:
    """Let both standard streams write `\\xff`, `\\udcff` or `\\u7696` for characters outside of their encoding."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def json_line(value: Any) -> str:
    """JSON in one line. If standard output can encode all characters, and all are printable, they are kept; otherwise
    those beyond ASCII are escaped.

    A file name that is not valid text is recovered by `os.fsencode(json.loads(line)["file"])`."""
    line = json.dumps(value, ensure_ascii=False)
    try:
        line.encode(sys.stdout.encoding or "ascii")
    except UnicodeEncodeError:
        return json.dumps(value)
    return line if line.isprintable() else json.dumps(value)


def shown(text: object) -> str:
    """A text in one line, with control characters escaped as in Python."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in str(text))
