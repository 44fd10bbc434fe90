"""Failures of real processes in a round of `kahe`: whoever is killed, the round ends."""

import os
import signal

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

pytestmark = pytest.mark.chaos
KAHE = "privacy.cipher=kahe"


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
