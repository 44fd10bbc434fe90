"""Hands a `flwr-clientapp` command over to the process of `app.deployment.warm`, and lives as long as its work does.

Run by the command that `warm` writes: handover.py SOCKET COMMAND ARGUMENTS. It imports the standard library alone, so
that it starts in hundredths of a second. If nobody listens, it becomes the real command.
"""

import array
import json
import os
import socket
import sys
from pathlib import Path

LENGTH_BYTES = 8
_FAILED = 1


def main(path: str, command: str, *arguments: str) -> int:
    """The exit status of the work."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        try:
            connection.connect(path)
        except OSError:
            real = Path(sys.executable).parent / Path(command).name
            os.execv(real, [str(real), *arguments])
        task = {"argv": [command, *arguments], "cwd": str(Path.cwd()), "env": dict(os.environ)}
        data = json.dumps(task).encode()
        descriptors = array.array("i", [0, 1, 2])
        rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, descriptors)]
        connection.sendmsg([len(data).to_bytes(LENGTH_BYTES, "big")], rights)
        connection.sendall(data)
        status = connection.recv(1)  # nothing if the process was killed
    return status[0] if status else _FAILED


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
