"""A server and three sites as real processes on loopback, for `make chaos`: they serve all tests in turn."""

import contextlib
import time

import psutil
import pytest
from conftest import NETWORK, TRAINING, write_set
from federation_checks import divide, rounds_in

from scripts.bench.loopback import Loopback

OVERRIDES = (
    f"experiment=quickstart data=manifest data.val_split=val {NETWORK} {TRAINING} "
    "federation.rounds=3 federation.measure_every=1 "
    "federation.deadline=90 train.epochs=3 evaluation.ranked_lists=0 evaluation.compare=[] "
    "federation.server_optimiser.name=average federation.server_optimiser.nesterov=false"
)
LONG_ROUNDS = f"{OVERRIDES} train.epochs=450"  # ten to twenty seconds each, for what has to happen amid one
SITES = ("north", "south", "west")
_PATCHED = """
import importlib.abc, importlib.util, os, sys

if "app.deployment.fork_server" in sys.orig_argv:  # let each message have a process of its own
    os._exit(0)

class Finder(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name != "@module@":
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)  # the approved bundle's
        execute = spec.loader.exec_module
        def exec_module(module):
            execute(module)
            @change@
        spec.loader.exec_module = exec_module
        return spec

sys.meta_path.insert(0, Finder())
"""


def patched(module, *change):
    """A `sitecustomize.py` that changes `module` of the approved app in each client process of a site."""
    return _PATCHED.replace("@module@", module).replace("@change@", f"\n{12 * ' '}".join(change))


@pytest.fixture(scope="session")
def started(tmp_path_factory):
    base = tmp_path_factory.mktemp("chaos")
    pictures = write_set(base / "set", vehicles={"a": 5, "b": 3, "c": 4})
    parts = dict(zip(SITES, divide(pictures, base / "parts").values(), strict=True))
    (base / "federation").mkdir()
    with Loopback(base / "federation", parts) as loopback:
        loopback.start_all()
        yield loopback


@pytest.fixture
def parks(started):
    """The server and all sites are up."""
    if started.processes["server"].poll() is not None:
        started.start_server()
    for name in SITES:
        if name not in started.processes or started.processes[name].poll() is not None:
            started.start(name)
    return started


def in_round(parks, folder, number, site=None):
    """Wait until a round has begun, and a site has been at work on it for three seconds; its processes."""
    parks.wait_for(lambda: folder.read_progress().get("server_round", 0) >= number, f"round {number}", 300)
    begun = time.time() - 1
    at_work = []

    def works():  # the process of the round before may still be there, and a new one has to get its message first
        with contextlib.suppress(psutil.NoSuchProcess):
            running = parks.client_processes(site)
            at_work[:] = [process for process in running if begun < process.create_time() < time.time() - 3]
        return at_work

    if site is not None:
        parks.wait_for(works, f"{site} to work")
    return at_work


def start_as_a_service(parks, name, seconds=300):
    """Start a site as systemd does: again if it ends, as it does until the server has missed two of the heartbeats of
    the process that was killed."""
    online = "SuperNode ID"
    before = parks.log(name).count(online)

    def stays():
        if name not in parks.processes or parks.processes[name].poll() is not None:
            parks.start(name)
        return parks.log(name).count(online) > before

    parks.wait_for(stays, f"{name} to be let in again", seconds)


def complete(parks, folder, rounds=3):
    """The run ended well, with every round once."""
    assert (folder.path / "summary.json").exists(), parks.last_words()
    assert rounds_in(folder) == list(range(1, rounds + 2))
    return folder.read_summary()


def left_out(folder):
    """(round, client, reason) of every reply that was left out."""
    return [
        (line["server_round"], row["client"], row["reason"])
        for line in folder.read_metrics()
        for row in line["left_out"]
    ]


def of(parks, name):
    """What the server may call a site: by its name, or by its node before it has described itself."""
    return {name} | {f"node {number}" for number in parks.node_ids(name)}
