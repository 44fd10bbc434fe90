"""Failures of real processes on loopback: a run loses at most the round that was being learnt.

Run: make chaos. One server and three sites serve all tests in turn; each test starts runs of its own and mends what it
broke. `docs/deployment.md` has the outcomes as a table.
"""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import time

import psutil
import pytest
from conftest import NETWORK, TRAINING, write_set
from federation_checks import divide, rounds_in

from scripts import federation as commands
from scripts.bench.loopback import Loopback

pytestmark = pytest.mark.chaos

OVERRIDES = (
    f"experiment=quickstart data=manifest data.val_split=val {NETWORK} {TRAINING} "
    "federation.rounds=3 federation.measure_every=1 "
    "federation.deadline=90 train.epochs=3 evaluation.ranked_lists=0 evaluation.compare=[] "
    "federation.server_optimiser.name=average federation.server_optimiser.nesterov=false"
)
LONG_ROUNDS = f"{OVERRIDES} train.epochs=450"  # ten to twenty seconds each, for what has to happen amid one
SITES = ("north", "south", "west")
KAHE = "privacy.cipher=kahe"
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


GARBAGE = patched(
    "strategies.ciphers.packed_bfv",
    "encrypt = module.PackedBfvCipher.encrypt",
    "change = lambda *given, **more: encrypt(*given, **more)._replace(payload=b'garbage')",
    "module.PackedBfvCipher.encrypt = change",
)


@pytest.fixture(scope="module")
def started(tmp_path_factory):
    base = tmp_path_factory.mktemp("chaos")
    pictures = write_set(base / "set", vehicles={"a": 5, "b": 3, "c": 4})
    parts = dict(zip(SITES, divide(pictures, base / "parts").values(), strict=True))
    (base / "federation").mkdir()
    with Loopback(base / "federation", parts) as loopback:
        for name in SITES:
            policy = loopback.site(name) / "policy.toml"
            text = policy.read_text(encoding="utf-8")
            policy.write_text(text.replace('ciphers = ["', 'ciphers = ["kahe", "'), encoding="utf-8")
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


def start_as_a_service(parks, name):
    """Start a site as systemd does: again if it ends, as it does until the server has missed two of the heartbeats of
    the process that was killed."""
    online = "SuperNode ID"
    before = parks.log(name).count(online)

    def stays():
        if name not in parks.processes or parks.processes[name].poll() is not None:
            parks.start(name)
        return parks.log(name).count(online) > before

    parks.wait_for(stays, f"{name} to be let in again", 300)


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


def test_a_site_that_is_killed_in_mid_round_comes_back(parks, tmp_path):
    folder, process = parks.run(tmp_path / "run", f"{LONG_ROUNDS} federation.rounds=8")
    in_round(parks, folder, 2, "north")
    parks.stop("north", signal.SIGKILL)
    start_as_a_service(parks, "north")
    process.wait(timeout=600)
    complete(parks, folder, 8)
    assert {client for _, client, _ in left_out(folder)} <= of(parks, "north")
    assert "north" in folder.read_metrics()[-1]["clients"]


def test_a_client_process_that_is_killed_costs_its_own_reply(parks, tmp_path):
    folder, process = parks.run(tmp_path / "run", LONG_ROUNDS)
    for client in in_round(parks, folder, 2, "south"):
        client.kill()
    process.wait(timeout=600)
    complete(parks, folder)
    lost = left_out(folder)
    assert {client for _, client, _ in lost} <= of(parks, "south")
    assert lost
    assert "south" in folder.read_metrics()[-1]["clients"]


def test_a_client_that_hangs_is_not_waited_for_and_its_late_reply_does_not_count(parks, tmp_path):
    folder, process = parks.run(tmp_path / "run", f"{LONG_ROUNDS} federation.deadline=60")
    hanging = in_round(parks, folder, 2, "west")
    for client in hanging:
        client.suspend()
    in_round(parks, folder, 3)
    for client in hanging:
        client.resume()
    process.wait(timeout=600)
    complete(parks, folder)
    assert (2, "west", "no reply before the deadline") in left_out(folder)
    # By the time it wakes up Flower has ended its task; or the next one has begun, and its own node refuses its arrays.
    assert any(word in parks.log("west") for word in ("Failed to push task output", "OutdatedAttemptError"))
    assert "west" in folder.read_metrics()[2]["clients"]


def test_a_site_that_lost_its_images_leaves_the_round_to_the_others(parks, tmp_path):
    folder, process = parks.run(tmp_path / "run", OVERRIDES)
    in_round(parks, folder, 2)
    away = parks.sites["south"].with_name("away")
    parks.sites["south"].rename(away)
    try:
        parks.wait_for(lambda: left_out(folder) or process.poll() is not None, "the site to be left out", 300)
    finally:
        away.rename(parks.sites["south"])
    process.wait(timeout=600)
    complete(parks, folder)
    assert any("south" in client or client in of(parks, "south") for _, client, _ in left_out(folder))
    assert any("the site's own log says more" in reason for _, _, reason in left_out(folder))
    assert "not found" in parks.log("south") or "No such file" in parks.log("south")


def test_garbage_is_refused_before_it_is_added(parks, tmp_path, monkeypatch):
    (tmp_path / "sitecustomize.py").write_text(GARBAGE, encoding="utf-8")
    parks.stop("west")
    with monkeypatch.context() as patch:
        patch.setenv("PYTHONPATH", f"{tmp_path}{os.pathsep}{os.environ.get('PYTHONPATH', '')}")
        parks.start("west")
    try:
        folder, process = parks.run(tmp_path / "run", OVERRIDES)
        process.wait(timeout=600)
    finally:
        parks.stop("west")
    complete(parks, folder)
    assert [(number, client) for number, client, _ in left_out(folder)] == [(number, "west") for number in (1, 2, 3)]
    assert all(sorted(line["clients"]) == ["north", "south"] for line in folder.read_metrics()[:3])


def all_in_round(folder, number):
    """The round was closed in its first attempt, with all three updates."""
    line = folder.read_metrics()[number - 1]
    assert line["attempts"] == 1
    assert sorted(line["clients"]) == list(SITES)


def test_a_site_that_is_killed_before_its_update_is_in_no_sum_of_keys(parks, tmp_path):
    folder, process = parks.run(tmp_path / "run", f"{LONG_ROUNDS} {KAHE}")
    in_round(parks, folder, 2, "north")
    parks.stop("north", signal.SIGKILL)
    start_as_a_service(parks, "north")
    process.wait(timeout=600)
    complete(parks, folder)
    line = folder.read_metrics()[1]
    assert line["attempts"] == 1
    assert sorted(line["clients"]) == ["south", "west"]
    assert {client for _, client, _ in left_out(folder)} <= of(parks, "north")


def test_a_site_that_is_killed_after_its_update_stays_in_the_sum(parks, tmp_path):
    """South is held up until north, whose update has arrived, is gone."""
    folder, process = parks.run(tmp_path / "run", f"{LONG_ROUNDS} {KAHE}")
    held_up = in_round(parks, folder, 2, "south")
    for client in held_up:
        client.suspend()

    def arrived():
        progress = folder.read_progress()
        return progress["server_round"] == 2 and "north" not in progress["waiting"]

    parks.wait_for(arrived, "north's update", 80)
    parks.stop("north", signal.SIGKILL)
    for client in held_up:
        client.resume()
    start_as_a_service(parks, "north")
    process.wait(timeout=600)
    complete(parks, folder)
    all_in_round(folder, 2)
    assert {client for _, client, _ in left_out(folder)} <= of(parks, "north")


def test_a_site_that_is_killed_while_it_sums_shares_stays_in_the_sum(parks, tmp_path, monkeypatch):
    """West records the question of round 1 and never answers it."""
    marker = tmp_path / "asked"
    hang = f"import pathlib, time; pathlib.Path({str(marker)!r}).touch(); time.sleep(3600)"
    change = ("def share_sum(*_):", f"    {hang}", "module.KaheCipher.share_sum = share_sum")
    (tmp_path / "sitecustomize.py").write_text(patched("strategies.ciphers.kahe.client_half", *change))
    parks.stop("west")
    with monkeypatch.context() as patch:
        patch.setenv("PYTHONPATH", f"{tmp_path}{os.pathsep}{os.environ.get('PYTHONPATH', '')}")
        parks.start("west")
    folder, process = parks.run(tmp_path / "run", f"{OVERRIDES} {KAHE}")
    parks.wait_for(marker.exists, "west to be asked for its share sum", 300)
    parks.stop("west", signal.SIGKILL)
    start_as_a_service(parks, "west")
    process.wait(timeout=600)
    complete(parks, folder)
    all_in_round(folder, 1)
    assert "west" in {client for _, client, _ in left_out(folder)} <= of(parks, "west")


def test_a_site_with_another_key_is_refused_by_name(parks, tmp_path):
    key = parks.site("south") / "federation.key"
    kept = key.rename(tmp_path / "kept.key")
    commands.main(["keys", "--out", str(parks.site("south"))])
    try:
        folder, process = parks.run(tmp_path / "run", OVERRIDES)
        process.wait(timeout=600)
    finally:
        key.unlink()
        shutil.move(kept, key)
    complete(parks, folder)
    reasons = left_out(folder)
    assert {number for number, _, _ in reasons} >= {1, 2, 3}
    assert all("south: it cannot prove its name" in reason for _, _, reason in reasons)  # its certificate has the key
    assert "the certificate of 'south' is for the federation key" in parks.log("south")
    assert all(sorted(line["clients"]) == ["north", "west"] for line in folder.read_metrics())


def test_a_site_that_joins_in_round_3_gets_the_model_from_another(parks, tmp_path):
    parks.stop("west")
    folder, process = parks.run(
        tmp_path / "run", f"{OVERRIDES} federation.num_clients=2 privacy.max_clients=3 federation.rounds=6"
    )
    in_round(parks, folder, 3)
    parks.start("west")
    process.wait(timeout=600)
    complete(parks, folder, 6)
    took_part = [line["server_round"] for line in folder.read_metrics() if "west" in line["clients"]]
    assert took_part
    assert min(took_part) >= 3
    assert 7 in took_part  # it has the final model


def test_a_site_that_was_not_registered_gets_nothing(parks, tmp_path):
    commands.main(["add-site", str(parks.root), "stranger"])
    parks.configure("stranger", tmp_path)
    try:
        process = parks.start("stranger")
        parks.wait_for(lambda: process.poll() is not None, "the stranger to be sent away")
        assert process.returncode != 0
    finally:
        parks.stop("stranger")
        commands.main(["remove-site", str(parks.root), "stranger"])


def test_two_runs_at_once_do_not_disturb_each_other(parks, tmp_path):
    first, one = parks.run(tmp_path / "first", OVERRIDES)
    second, two = parks.run(tmp_path / "second", f"{OVERRIDES} seed=1")
    one.wait(timeout=900)
    two.wait(timeout=900)
    for folder in (first, second):
        assert complete(parks, folder)["left_out"] == []


def test_a_server_that_is_stopped_and_started_goes_on(parks, tmp_path):
    folder, process = parks.run(tmp_path / "run", OVERRIDES)
    in_round(parks, folder, 2)
    parks.stop("server")
    parks.start_server()
    process.wait(timeout=600)
    if not (folder.path / "summary.json").exists():
        _, process = parks.run(tmp_path / "run", f"{OVERRIDES} federation.resume=true")
        process.wait(timeout=600)
    complete(parks, folder)


def test_a_run_whose_server_was_killed_is_resumed(parks, tmp_path):
    folder, process = parks.run(tmp_path / "run", OVERRIDES)
    in_round(parks, folder, 3)
    parks.stop("server", signal.SIGKILL)
    kept = folder.path / "server.safetensors"
    assert kept.exists()
    parks.start_server()
    process.wait(timeout=600)
    assert not (folder.path / "summary.json").exists()
    _, process = parks.run(tmp_path / "run", f"{OVERRIDES} federation.resume=true")
    process.wait(timeout=600)
    assert complete(parks, folder)["resumed_after"] >= 2


@pytest.mark.skipif(os.geteuid() != 0, reason="a small file system can be mounted by root alone")
def test_a_full_disk_stops_the_run_and_a_resumed_one_ends_it(parks, tmp_path):
    run_dir = tmp_path / "run"
    run_dir.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=400k", "tmpfs", str(run_dir)], check=False).returncode:
        pytest.skip("no file system can be mounted here")
    try:
        folder, process = parks.run(run_dir, OVERRIDES)
        process.wait(timeout=600)
        assert not (run_dir / "summary.json").exists()
        assert "No space left on device" in parks.log("run-run")
        done = json.loads(folder.load_arrays("server")[1]["state"])["server_round"]
        assert 1 <= done < 3
        subprocess.run(["mount", "-o", "remount,size=64m", str(run_dir)], check=True)
        _, process = parks.run(run_dir, f"{OVERRIDES} federation.resume=true")
        process.wait(timeout=600)
        assert complete(parks, folder)["resumed_after"] == done
    finally:
        subprocess.run(["umount", str(run_dir)], check=False)
