"""Failures of real processes on loopback: a run loses at most the round that was being learnt.

Run: make chaos. One server and three sites serve all tests in turn; each test starts runs of its own and mends what it
broke. `docs/deployment.md` has the outcomes as a table.
"""

import json
import os
import shutil
import signal
import subprocess

import pytest
from parks_processes import (
    LONG_ROUNDS,
    OVERRIDES,
    SITES,
    complete,
    in_round,
    left_out,
    of,
    patched,
    start_as_a_service,
)

from scripts import federation as commands

pytestmark = pytest.mark.chaos
GARBAGE = patched(
    "strategies.ciphers.kahe.client_half",
    "encrypt = module.KaheCipher.encrypt",
    "change = lambda *given, **more: encrypt(*given, **more)._replace(payload=b'garbage')",
    "module.KaheCipher.encrypt = change",
)


def start_patched(parks, site, folder, change, monkeypatch):
    """Start a site again whose client processes are changed by a `sitecustomize.py` in this folder."""
    (folder / "sitecustomize.py").write_text(change, encoding="utf-8")
    parks.stop(site)
    with monkeypatch.context() as patch:
        patch.setenv("PYTHONPATH", f"{folder}{os.pathsep}{os.environ.get('PYTHONPATH', '')}")
        parks.start(site)


def all_in_round(folder, number):
    """The round was closed in its first attempt, with all three updates."""
    line = folder.read_metrics()[number - 1]
    assert line["attempts"] == 1
    assert sorted(line["clients"]) == list(SITES)


def test_a_site_that_is_killed_in_mid_round_comes_back(parks, tmp_path):
    folder, process = parks.run(tmp_path / "run", f"{LONG_ROUNDS} federation.rounds=8")
    in_round(parks, folder, 2, "north")
    parks.stop("north", signal.SIGKILL)
    start_as_a_service(parks, "north")
    process.wait(timeout=600)
    complete(parks, folder, 8)
    assert {client for _, client, _ in left_out(folder)} <= of(parks, "north")
    assert "north" in folder.read_metrics()[-1]["clients"]


def test_a_site_that_is_killed_before_its_update_is_in_no_sum_of_keys(parks, tmp_path):
    folder, process = parks.run(tmp_path / "run", LONG_ROUNDS)
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
    folder, process = parks.run(tmp_path / "run", LONG_ROUNDS)
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
    start_patched(parks, "west", tmp_path, patched("strategies.ciphers.kahe.client_half", *change), monkeypatch)
    folder, process = parks.run(tmp_path / "run", OVERRIDES)
    parks.wait_for(marker.exists, "west to be asked for its share sum", 300)
    parks.stop("west", signal.SIGKILL)
    start_as_a_service(parks, "west")
    process.wait(timeout=600)
    complete(parks, folder)
    all_in_round(folder, 1)
    assert "west" in {client for _, client, _ in left_out(folder)} <= of(parks, "west")


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
    start_patched(parks, "west", tmp_path, GARBAGE, monkeypatch)
    try:
        folder, process = parks.run(tmp_path / "run", OVERRIDES)
        process.wait(timeout=600)
    finally:
        parks.stop("west")
    complete(parks, folder)
    assert [(number, client) for number, client, _ in left_out(folder)] == [(number, "west") for number in (1, 2, 3)]
    assert all(sorted(line["clients"]) == ["north", "south"] for line in folder.read_metrics()[:3])


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
