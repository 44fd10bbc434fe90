"""Text of TOML files of start commands, which hold values exactly as given.

    python -P -m app.deployment.toml_text KEY VALUE              one value
    python -P -m app.deployment.toml_text KEY --words WORD ...   words joined as a shell would need them

Prints `KEY = "..."`, or ends with status 2 and names a value that TOML cannot hold.
"""

import json
import os
import shlex
import sys
from collections.abc import Sequence

from app.deployment.parties import DeploymentError


def toml_text(name: str, value: str) -> str:
    """A basic string of TOML 1.0. Raises DeploymentError for invalid UTF-8."""
    try:
        text = os.fsencode(value).decode("utf-8")
    except UnicodeError as error:
        raise DeploymentError(f"{name}={value!r} is no text in UTF-8: rename it") from error
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")  # JSON's escapes are TOML's


def main(key: str, words: Sequence[str]) -> int:
    """Print one line of TOML; returns 2 for a value that it cannot hold."""
    value = shlex.join(words[1:]) if words[0] == "--words" else words[0]
    try:
        line = f"{key} = {toml_text(key, value)}\n"
    except DeploymentError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    sys.stdout.buffer.write(line.encode())
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2:]))
