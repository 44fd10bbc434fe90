"""Text of TOML files of start commands, which hold values exactly as given.

    python -P -m app.deployment.toml_text KEY VALUE              one value
    python -P -m app.deployment.toml_text KEY --words WORD ...   settings of a run, joined as a shell would need them

Prints `KEY = "..."`, or ends with status 2 and names a value that TOML cannot hold, or a setting that is none: a
run that was started with it would fail on the server.
"""

import json
import os
import shlex
import sys
from collections.abc import Sequence

from app.deployment.parties import DeploymentError
from app.settings.checks import SettingsError


def toml_text(name: str, value: str) -> str:
    """A basic string of TOML 1.0. Raises DeploymentError for invalid UTF-8."""
    try:
        text = os.fsencode(value).decode("utf-8")
    except UnicodeError as error:
        raise DeploymentError(f"{name}={value!r} is no text in UTF-8: rename it") from error
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")  # JSON's escapes are TOML's


def main(key: str, words: Sequence[str]) -> int:
    """Print one line of TOML; returns 2 for a value that it cannot hold, and for settings that cannot be read."""
    settings = words[0] == "--words"
    value = shlex.join(words[1:]) if settings else words[0]
    try:
        if settings:
            from app.settings.load import load_settings  # half a second, for one of the two uses

            load_settings(words[1:])
        line = f"{key} = {toml_text(key, value)}\n"
    except (DeploymentError, SettingsError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    sys.stdout.buffer.write(line.encode())
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2:]))
