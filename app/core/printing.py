"""Lines that any terminal can print: names of files may hold bytes that are no text, and line breaks."""

import io
import json
import sys
from typing import Any


def print_everything() -> None:
    """Let both standard streams write `\\xff`, `\\udcff` or `\\u7696` for what their encoding does not have."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def json_line(value: Any) -> str:
    """JSON in one line. Characters stand as they are where standard output has them, and all of them can be seen;
    otherwise those beyond ASCII are escaped.

    A name of a file that is no text comes back by `os.fsencode(json.loads(line)["file"])`."""
    line = json.dumps(value, ensure_ascii=False)
    try:
        line.encode(sys.stdout.encoding or "ascii")
    except UnicodeEncodeError:
        return json.dumps(value)
    return line if line.isprintable() else json.dumps(value)


def shown(text: object) -> str:
    """A text in one line, without characters that a terminal would obey: they are escaped as in Python."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in str(text))
