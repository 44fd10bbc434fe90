"""Fork server of client processes: imports everything once, and forks for each message.

Flower starts `flwr-clientapp` anew for every message, and torch, timm and Flower take half a minute of a small machine
to import. A site's `start.sh` runs

    python -m app.deployment.fork_server SITE_FOLDER $$ &

which imports them once, writes state/bin/flwr-clientapp for the head of PATH, and listens on a socket in state/. That
command hands its arguments, environment and outputs over (`app.deployment.fork_client`), a fork does the work, and each
ends with the other. Without this process the command executes the one of `site_files`, so that it only saves time. The
fork checks the app bundle like that one (`app.deployment.client_process`).

The project's own modules are removed before the fork: a run has its own version of them.
"""

import contextlib
import json
import os
import random
import signal
import socket
import sys
import threading
import traceback
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any, NoReturn

from app.deployment import fork_client
from app.deployment.beside import end_with
from app.deployment.client_process import forget_own_modules, run_client
from app.deployment.parties import PARTY_FILE, REFRESH, STATE
from app.deployment.site_files import CHECKED, COMMAND, write_command
from app.settings.tasks import TASKS

_IMPORTED = ("app.client_app", "dp_accounting", "flwr.supernode.cli", "tenseal", "torch._dynamo")
_LOOK_SECONDS = 1.0


def main(site: Path, parent: int) -> None:
    """Serve the site whose folder this is until `parent`, the process that started this one, has ended."""
    if not end_with(parent):  # also while this process still imports
        return
    if not (site / PARTY_FILE).exists():  # an older start.sh: without this process, Flower would run any bundle
        print(f"{site.resolve()} is no site's folder: {REFRESH}", file=sys.stderr, flush=True)
        os.kill(parent, signal.SIGTERM)
        return
    os.environ["PYTORCH_NVML_BASED_CUDA_CHECK"] = "1"  # a query for GPUs that a fork survives
    for name in (*_IMPORTED, *(modules.task for modules in TASKS.values())):
        import_module(name)
    forget_own_modules()
    if not fork_survives():
        print(f"{COMMAND} starts anew for each message: a fork could not use the GPU", file=sys.stderr, flush=True)
        return

    def client() -> None:
        run_client(site, sys.argv[0])

    serve(site / STATE, client, while_true=lambda: os.getppid() == parent)


def fork_survives() -> bool:
    """Whether a fork of this process can use the machine's GPUs; a query without NVML would open them here."""
    cuda = import_module("torch.cuda")
    child = os.fork()
    if child == 0:
        os._exit(int(cuda._is_in_bad_fork()))
    opened = os.waitpid(child, 0)[1] != 0
    return not (opened and cuda.device_count())


def serve(folder: Path, work: Callable[[], None], *, while_true: Callable[[], bool]) -> None:
    """Fork for each command that is handed over, and do `work` with its arguments, environment, folder and outputs.

    Raises RuntimeError if this process runs Python threads, which a fork would leave in an undefined state."""
    if threading.active_count() > 1:
        raise RuntimeError(f"cannot fork: threads {[thread.name for thread in threading.enumerate()]}")
    path = folder.resolve() / f"clients-{os.getpid()}.sock"  # the file of a predecessor is left alone
    path.unlink(missing_ok=True)
    if not while_true():  # the command belongs to a successor by now
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        with contextlib.chdir(path.parent):  # a socket's name has a hundred bytes, a path may have more
            listener.bind(path.name)
        path.chmod(0o600)
        listener.listen()
        listener.settimeout(_LOOK_SECONDS)
        _write_command(folder, path)
        while while_true():
            _reap()
            try:
                _serve_one(listener, work)
            except TimeoutError:
                continue
            except OSError as error:  # for example no memory to fork: the command does the work itself
                print(f"{COMMAND} was not handed over: {error}", file=sys.stderr, flush=True)
    path.unlink(missing_ok=True)


def _serve_one(listener: socket.socket, work: Callable[[], None]) -> None:
    connection, _ = listener.accept()
    with connection:
        if os.fork() == 0:
            listener.close()
            _become(connection, work)


def _write_command(folder: Path, path: Path) -> None:
    command = folder / "bin" / COMMAND
    command.parent.mkdir(exist_ok=True)
    words = [sys.executable, "-I", "-S", str(Path(fork_client.__file__).resolve()), str(path)]
    write_command(command, [*words, str(folder.resolve() / CHECKED), COMMAND])


def _reap() -> None:
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass


def _become(connection: socket.socket, work: Callable[[], None]) -> NoReturn:
    """In the fork: do the work in the place of the process at the other end, and end."""
    status = 1
    try:
        connection.settimeout(None)
        _take_over(connection)
        connection.sendall(fork_client.RECEIPT)
        threading.Thread(target=_end_with, args=(connection,), daemon=True).start()
        random.seed()
        work()
        status = 0
    except SystemExit as error:
        status = error.code if isinstance(error.code, int) else int(error.code is not None)
    except BaseException:  # there is nobody above to tell
        traceback.print_exc()
    finally:
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(OSError, ValueError):
                stream.flush()
        with contextlib.suppress(OSError):
            connection.sendall(bytes([status & 0xFF]))
        os._exit(status & 0xFF)


def _take_over(connection: socket.socket) -> None:
    head, descriptors, _, _ = socket.recv_fds(connection, fork_client.LENGTH_BYTES, 3)
    for own, theirs in enumerate(descriptors):
        os.dup2(theirs, own)
        os.close(theirs)
    left, pieces = int.from_bytes(head, "big"), []
    while left:
        piece = connection.recv(min(left, 1 << 16))
        if not piece:
            raise ConnectionError("the command ended before it had said what to do")
        pieces.append(piece)
        left -= len(piece)
    task: dict[str, Any] = json.loads(b"".join(pieces))
    sys.argv = task["argv"]
    os.environ.clear()
    os.environ.update(task["env"])
    os.chdir(task["cwd"])
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background process ignores it


def _end_with(connection: socket.socket) -> None:
    """End this process when the command at the other end has been killed."""
    with contextlib.suppress(OSError):
        connection.recv(1)
    os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
