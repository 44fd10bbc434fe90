"""Client of `app.deployment.fork_server`: hands a `flwr-clientapp` command over to it, and lives as long as its work.

Run by the command from `fork_server`: fork_client.py SOCKET FALLBACK COMMAND ARGUMENTS. It imports only the standard
library, so that it starts in hundredths of a second. Without a receipt nothing has been done, and it executes the
program FALLBACK, which checks the app bundle like the warm process.
"""

import array
import json
import os
import socket
import sys
from pathlib import Path

LENGTH_BYTES = 8
RECEIPT = b"+"
_FAILED = 1


def main(path: str, fallback: str, command: str, *arguments: str) -> int:
    """The exit status of the work."""
    here = Path.cwd()
    task = {"argv": [command, *arguments], "cwd": str(here), "env": dict(os.environ)}
    data = json.dumps(task).encode()
    rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [0, 1, 2]))]
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        try:
            os.chdir(Path(path).parent)  # a socket's name has a hundred bytes, a path may have more
            connection.connect(Path(path).name)
            connection.sendmsg([len(data).to_bytes(LENGTH_BYTES, "big")], rights)
            connection.sendall(data)
            taken = connection.recv(1) == RECEIPT
        except OSError:
            taken = False
        if not taken:
            connection.close()
            os.chdir(here)
            os.execv(fallback, [fallback, *arguments])
        try:
            status = connection.recv(1)  # nothing if the process was killed
        except OSError:
            status = b""
    return status[0] if status else _FAILED


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
