"""Commands that a process which has imported everything carries out by forking."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil
import pytest

from app.deployment import fork_client
from app.deployment.site_files import COMMAND

pytestmark = pytest.mark.slow

SERVER = """
import json, os, sys, threading, time
from pathlib import Path
import app.settings.checks
from app.deployment.client_process import forget_own_modules
from app.deployment.fork_server import serve
forget_own_modules()
folder, parent = Path(sys.argv[1]), int(sys.argv[2])

def work():
    what = sys.argv[1]
    if what == "tell":
        told = {"argv": sys.argv, "cwd": os.getcwd(), "env": dict(os.environ), "pid": os.getpid()}
        told["own"] = "app.settings.checks" in sys.modules
        print(json.dumps(told | {"stdin": sys.stdin.read()}))
        print("aside", file=sys.stderr)
    elif what == "status":
        sys.exit(7)
    elif what == "raise":
        raise ValueError("boom")
    else:
        Path(what).write_text(str(os.getpid()))
        time.sleep(600)

serve(folder, work, while_true=lambda: os.getppid() == parent)
"""


def wait_for(condition, seconds=60):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.fixture
def warm(tmp_path):
    """A warm process and its folder, whose path is longer than a socket's name can be."""
    tmp_path = tmp_path / ("long" * 40)
    tmp_path.mkdir()
    with subprocess.Popen([sys.executable, "-c", SERVER, str(tmp_path), str(os.getpid())]) as process:
        wait_for((tmp_path / "bin" / COMMAND).exists)
        yield process, tmp_path
        process.kill()


@pytest.fixture
def warm_without_forks(tmp_path):
    """One to which the system refuses a fork."""
    code = f"import os\ndef fork(): raise BlockingIOError('no more processes')\nos.fork = fork\n{SERVER}"
    with subprocess.Popen([sys.executable, "-c", code, str(tmp_path), str(os.getpid())]) as process:
        wait_for((tmp_path / "bin" / COMMAND).exists)
        yield process, tmp_path
        process.kill()


def started(folder, *words, **options):
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "stdin": subprocess.DEVNULL, "text": True}
    return subprocess.Popen([str(folder / "bin" / COMMAND), *words], **pipes | options)


def test_arguments_environment_folder_and_outputs_are_those_of_the_command(warm, tmp_path):
    process, folder = warm
    where = tmp_path / "elsewhere"
    where.mkdir()
    environment = {"PATH": os.environ["PATH"], "TOKEN": "ä b", "LONG": "x" * 100_000}
    command = started(folder, "tell", "--token", "a b", cwd=where, env=environment, stdin=subprocess.PIPE)
    out, err = command.communicate("said")
    told = json.loads(out)
    assert told["argv"] == [COMMAND, "tell", "--token", "a b"]
    assert told["cwd"] == str(where)
    assert environment.items() <= told["env"].items()
    assert told["env"].keys() - environment.keys() <= {"PWD", "OLDPWD", "SHLVL", "_", "LC_CTYPE"}  # a shell's own
    assert told["stdin"] == "said"
    assert told["pid"] not in (process.pid, command.pid)
    assert not told["own"], "a run brings its own version of the project's modules"
    assert err == "aside\n"
    assert command.returncode == 0


def test_the_exit_status_is_that_of_the_work(warm):
    _, folder = warm
    failing = started(folder, "status")
    assert failing.communicate() == ("", "")
    assert failing.returncode == 7
    raising = started(folder, "raise")
    assert raising.communicate()[1].endswith("ValueError: boom\n")
    assert raising.returncode == 1


def test_many_commands_at_once_do_not_mix(warm):
    _, folder = warm
    commands = [started(folder, "tell", str(number)) for number in range(8)]
    told = [json.loads(command.communicate()[0]) for command in commands]
    assert [row["argv"][2] for row in told] == [str(number) for number in range(8)]
    assert len({row["pid"] for row in told}) == 8


def hanging(folder):
    """A command whose work does not end, and the process that does it."""
    note = folder / f"note-{time.monotonic_ns()}"
    command = started(folder, str(note))
    wait_for(lambda: note.exists() and note.read_text())
    return command, psutil.Process(int(note.read_text()))


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_the_work_ends_with_its_command(warm, how):
    command, work = hanging(warm[1])
    command.send_signal(how)
    command.communicate()
    wait_for(lambda: not work.is_running() or work.status() == psutil.STATUS_ZOMBIE)


def test_the_command_ends_with_its_work(warm):
    command, work = hanging(warm[1])
    work.kill()
    command.communicate()
    assert command.returncode == 1


def test_without_a_warm_process_the_command_is_the_real_one(warm):
    process, folder = warm
    process.kill()
    process.wait()
    [socket_path] = folder.glob("clients-*.sock")
    assert real_command(socket_path) == ("42\n", "", 0)


def real_command(socket_path):
    """What a command prints, and its status, that is handed over there and falls back on python."""
    script = str(Path(fork_client.__file__))
    words = [sys.executable, "-I", "-S", script, str(socket_path), sys.executable, COMMAND, "-c", "print(6 * 7)"]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    return done.stdout, done.stderr, done.returncode


def test_a_command_that_was_not_taken_is_the_real_one(tmp_path):
    """The warm process ends, or cannot fork, after it has been connected to."""
    path = tmp_path / "closing.sock"
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(str(path))
        listener.listen()
        closing = threading.Thread(target=lambda: listener.accept()[0].close())
        closing.start()
        assert real_command(path) == ("42\n", "", 0)
        closing.join()


def test_one_that_cannot_fork_goes_on(warm_without_forks):
    process, folder = warm_without_forks
    [socket_path] = folder.glob("clients-*.sock")
    assert real_command(socket_path) == ("42\n", "", 0)
    assert real_command(socket_path) == ("42\n", "", 0)
    assert process.poll() is None


def test_a_predecessor_that_ends_late_leaves_its_successor_alone(warm):
    _, folder = warm
    with subprocess.Popen([sys.executable, "-c", SERVER, str(folder), "1"]) as late:  # its parent has gone
        late.wait()
    told, _ = started(folder, "tell").communicate()
    assert json.loads(told)["argv"][1] == "tell"


STARTER = """
import os, subprocess, sys
print(subprocess.Popen([sys.executable, "-c", *sys.argv[1:], str(os.getpid())]).pid)
"""
THREAD = "import threading, time; threading.Thread(target=time.sleep, args=(60,), daemon=True).start()"


def test_it_ends_with_the_process_that_started_it(tmp_path):
    words = [sys.executable, "-c", STARTER, SERVER, str(tmp_path)]
    done = subprocess.run(words, stdout=subprocess.PIPE, text=True, check=True)
    wait_for(lambda: not psutil.pid_exists(int(done.stdout)))


def test_nobody_else_may_hand_anything_over(warm):
    [path] = warm[1].glob("clients-*.sock")
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_process_with_threads_is_not_forked(tmp_path):
    words = [sys.executable, "-c", f"{THREAD}\n{SERVER}", str(tmp_path), "1"]
    done = subprocess.run(words, stderr=subprocess.PIPE, text=True, check=False)
    assert done.stderr.strip().splitlines()[-1].startswith("RuntimeError: cannot fork: threads")
    assert not (tmp_path / "bin").exists()


@pytest.mark.parametrize(("found", "survives"), [(0, "True"), (1, "False")])
def test_a_process_that_has_opened_its_gpus_does_not_fork(found, survives):
    code = (
        "import torch; from app.deployment.fork_server import fork_survives;"
        "assert fork_survives();"
        "torch._C._cuda_getDeviceCount();"  # what torch does where it finds no NVML
        f"torch.cuda.device_count = lambda: {found};"
        "print(fork_survives())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == survives


def test_nothing_of_the_accountant_is_imported_for_a_message():
    """Its import takes seconds, and a policy with epsilon asks it at each message."""
    code = """
import sys
from importlib import import_module
from app.deployment import fork_server
for name in fork_server._IMPORTED:
    import_module(name)
before = set(sys.modules)
from app.federation.dp import composed_epsilon
composed_epsilon({1.0: 3}, 1e-5)
print(sorted(set(sys.modules) - before))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
