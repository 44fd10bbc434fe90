"""Settings of a party's machine: the file `*.env`, which its start command reads."""

import re
import shlex
from pathlib import Path

_LINE = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)=(.*)")


def read_env(path: Path) -> dict[str, str]:
    """Values of a settings file as the shell reads them; without lines that it would change, which start.sh names."""
    found = {}
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError):  # `verify` names a missing one
        return {}
    for line in lines:
        if match := _LINE.match(line.strip()):
            try:
                words = shlex.split(match[2], comments=True)
            except ValueError:
                continue
            found[match[1]] = words[0] if words else ""
    return found
