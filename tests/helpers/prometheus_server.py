"""A real Prometheus with its own folder, for tests."""

import json
import shutil
import signal
import socket
import subprocess
import time
import urllib.request
from contextlib import contextmanager
from urllib.parse import quote

import pytest


def metrics_at(port):
    """The text that Prometheus would get."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics") as answer:
        return answer.read().decode()


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Prometheus:
    """Asks a running Prometheus."""

    def __init__(self, port, process):
        self.port, self.process = port, process

    def get(self, path):
        """Data of an answer; None while it does not listen."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/api/v1/{path}") as answer:
                return json.loads(answer.read())["data"]
        except OSError:
            return None

    def series(self, query):
        found = self.get(f"query?query={quote(query)}")
        return found["result"] if found else []

    def wait_for(self, condition, what, seconds=60.0):
        """The first result of `condition` that is true."""
        deadline = time.monotonic() + seconds
        while not (found := condition()):
            assert self.process.poll() is None, "Prometheus has ended"
            assert time.monotonic() < deadline, what
            time.sleep(0.2)
        return found


@contextmanager
def prometheus(folder, config):
    """Start it with this text as configuration; skipped where it is not installed."""
    if (program := shutil.which("prometheus")) is None:
        pytest.skip("prometheus is missing: apt-get install prometheus")
    (folder / "prometheus.yml").write_text(config)
    port = free_port()
    words = [f"--config.file={folder / 'prometheus.yml'}", f"--storage.tsdb.path={folder / 'data'}"]
    words += [f"--web.listen-address=127.0.0.1:{port}"]
    with (folder / "prometheus.log").open("w") as log:
        process = subprocess.Popen([program, *words], stdout=log, stderr=log)
    try:
        yield Prometheus(port, process)
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(30)
