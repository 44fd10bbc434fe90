"""The reason of a run's end is read from logs such as Flower and Ray write."""

import json
import os
import shlex
import subprocess

import psutil
import pytest

from app.core.run_folder import RunFolder
from app.experiment import local_superlink, simulation
from app.experiment.flower_log import is_slow_start, last_words
from app.experiment.local_superlink import LocalSuperLink, SimulationError
from app.experiment.simulation import simulate
from app.settings.load import load_settings

CRASH = """\
\x1b[92mINFO \x1b[0m:      Starting
\x1b[91mERROR \x1b[0m:     An exception occured !! ActorPool is empty. Stopping Simulation.
\x1b[91mERROR \x1b[0m:     Traceback (most recent call last):
  File "vce_api.py", line 240, in run_api
    raise ValueError(
{reason}

The above exception was the direct cause of the following exception:

Traceback (most recent call last):
RuntimeError: Simulation Runtime crashed.

The above exception was the direct cause of the following exception:

Traceback (most recent call last):
RuntimeError: An error was encountered. Ending simulation.
╭─ Error ─────╮
│ Exit Code: 700, simulation failed │
╰─────────────╯
"""


@pytest.mark.parametrize(
    "reason",
    [
        "ValueError: ActorPool is empty. Stopping Simulation. Check `num_cpus`",
        "ray.exceptions.OutOfMemoryError: Task was killed due to the node running low on memory.",
        "ray.exceptions.ActorDiedError: The actor died unexpectedly before finishing this task.",
        "Exception: The current node timed out during startup. This could happen",
        "app.federation.client.ClientError: client-1: its images cannot be read",
        "strategies.rounds.FederationError: round 1 stayed below the quorum: client-0: error 2: no memory",
    ],
)
def test_the_reason_and_not_what_wraps_it(tmp_path, reason):
    log = tmp_path / "flower.log"
    log.write_text(CRASH.replace("{reason}", reason), encoding="utf-8")
    assert last_words({log: 0}) == f"{reason} (see {log})"


def test_a_process_number_of_ray_and_a_colour_are_no_part_of_it(tmp_path):
    log = tmp_path / "flower.log"
    log.write_text("\x1b[36m(ClientAppActor pid=3021)\x1b[0m torch.OutOfMemoryError: CUDA out of memory.\nlast\n")
    assert last_words({log: 0}).startswith("torch.OutOfMemoryError: CUDA out of memory. (see")


def test_where_one_log_has_no_reason_the_other_is_asked(tmp_path):
    run, server = tmp_path / "flower.log", tmp_path / "superlink.log"
    run.write_text("Error: the SuperLink is unavailable\nRuntimeError: An error was encountered. Ending\n")
    server.write_text("OSError: [Errno 28] No space left on device\nINFO: bye\n")
    assert last_words({run: 0, server: 0}).startswith("OSError: [Errno 28] No space left on device (see")
    server.unlink()
    assert last_words({run: 0, server: 0}).startswith("RuntimeError: An error was encountered")
    run.write_text("all is well\n")
    assert last_words({run: 0, server: 0}) == f"all is well (see {run})"
    assert last_words({run: 0, server: 0}, lambda: "finished:failed, killed") == f"finished:failed, killed (see {run})"
    run.write_text("")
    assert last_words({run: 0, server: 0}).startswith("no output")


@pytest.mark.parametrize(
    ("reason", "slow"),
    [
        ("Exception: The current node timed out during startup. This could happen", True),
        ("RuntimeError: Failed to start GCS. Last 0 lines of error files", True),
        ("flower-superlink did not answer within 60 s: no output", True),
        ("ValueError: ActorPool is empty", False),
        ("FederationError: 1 of 2 nodes after the start timeout", False),
    ],
)
def test_what_may_go_better_the_next_time(reason, slow):
    assert is_slow_start(reason) is slow


SLOW = SimulationError("Exception: The current node timed out during startup.")


@pytest.fixture
def starts(monkeypatch, tmp_path):
    """Starts of Flower that end one after the other as is listed: with an error, or well (None)."""
    settings, done = load_settings("experiment=quickstart simulation.cpus=2"), []

    def run(ends, before=lambda _: None):
        left = list(ends)

        def one(run_dir, *_):
            done.append(run_dir)
            local_superlink.set_aside(run_dir / "flower.log")
            (run_dir / "flower.log").write_text(f"start {len(done)}", encoding="utf-8")
            before(RunFolder(run_dir))
            if error := left.pop(0):
                raise error
            RunFolder(run_dir).write_summary({"rounds": 3})

        monkeypatch.setattr(simulation, "_run_flower", one)
        return simulate(tmp_path, "", settings, on_metrics=lambda _: None)

    run.done = done
    return run


def test_a_start_that_was_too_slow_is_tried_once_more(starts, tmp_path, capsys):
    assert starts([SLOW, None]) == {"rounds": 3}
    assert "started once more" in capsys.readouterr().err
    assert (tmp_path / "flower.log.1").read_text() == "start 1"
    assert (tmp_path / "flower.log").read_text() == "start 2"


def test_a_second_slow_start_is_the_end(starts):
    with pytest.raises(SimulationError, match="timed out during startup"):
        starts([SLOW, SLOW])
    assert len(starts.done) == 2


def test_another_error_and_a_run_that_had_begun_are_not_tried_again(starts):
    with pytest.raises(SimulationError, match="out of memory"):
        starts([SimulationError("RayError: out of memory")])
    with pytest.raises(SimulationError, match="timed out"):
        starts([SLOW], before=lambda folder: folder.write_progress({"server_round": 1}))
    assert len(starts.done) == 2


KILLED = {"success": True, "runs": [{"run-id": "7", "status": "finished:failed", "status-details": "No heartbeat"}]}
EARLIER = {"run-id": "8", "status": "finished:completed", "status-details": "N/A", "pending-at": "2026-01-01T10:00:00"}
LATER = {**KILLED["runs"][0], "pending-at": "2026-01-01T11:00:00"}
REFUSED = {"success": False, "error-message": "Connection to the SuperLink is unavailable"}


@pytest.fixture
def flower(tmp_path, monkeypatch):
    """A Flower whose run says one line, and whose list another; the ends of a simulation with it."""

    def ready(superlink):
        superlink._environment = dict(os.environ)
        superlink.log.touch()
        return superlink._environment

    def ended(line, answer, **given):
        program = tmp_path / "flwr"
        says = f"run) echo {shlex.quote(line)};;\nlist) touch {tmp_path}/asked; echo {shlex.quote(answer)};;"
        program.write_text(f"#!/bin/sh\ncase $1 in\n{says}\nesac\n", encoding="utf-8")
        program.chmod(0o755)
        for module in (simulation, local_superlink):
            monkeypatch.setattr(module, "flower", lambda _: [str(program)])
        monkeypatch.setattr(LocalSuperLink, "ready", ready)
        (tmp_path / "run" / ".flwr").mkdir(parents=True, exist_ok=True)
        with pytest.raises(SimulationError) as raised:
            simulate(tmp_path / "run", "", load_settings("experiment=quickstart"), on_metrics=lambda _: None, **given)
        return str(raised.value).replace(f" (see {tmp_path}/run/flower.log)", "")

    return ended


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (
            json.dumps(KILLED),
            "the process of the run ended without an error message; Flower says: finished:failed No heartbeat",
        ),
        (
            json.dumps(KILLED).replace("No heartbeat", "N/A"),
            "the process of the run ended without an error message; Flower says: finished:failed",
        ),
        (
            json.dumps({"success": True, "runs": [EARLIER, LATER, EARLIER]}),
            "the process of the run ended without an error message; Flower says: finished:failed No heartbeat",
        ),
        (json.dumps(REFUSED), "INFO: Starting run"),
        (json.dumps({"success": True, "runs": []}), "INFO: Starting run"),
        ("not JSON", "INFO: Starting run"),
    ],
)
def test_of_a_run_that_was_killed_flowers_own_word_is_given(flower, answer, said):
    """The log ends in the middle, and `flwr list` alone knows; where it does not answer, the last line has to do."""
    assert flower("INFO: Starting run", answer) == said


def test_flower_is_not_asked_about_a_run_whose_log_names_the_reason(flower, tmp_path):
    """The answer takes seconds, on a busy machine 20."""
    assert flower("OSError: [Errno 28] No space left on device", json.dumps(KILLED)).startswith("OSError: [Errno 28]")
    assert not (tmp_path / "asked").exists()


def test_what_a_shared_superlink_said_of_earlier_runs_is_not_the_reason(flower, tmp_path):
    superlink = LocalSuperLink(tmp_path)
    superlink.log.write_text("OSError: of an earlier run\n", encoding="utf-8")
    said = flower("INFO: Starting run", json.dumps(KILLED), superlink=superlink)
    assert said.endswith("Flower says: finished:failed No heartbeat")


def test_an_earlier_start_is_not_the_reason_of_this_one(flower, tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "flower.log").write_text("OSError: of an earlier start\n", encoding="utf-8")
    assert flower("INFO: Starting run", json.dumps(REFUSED)) == "INFO: Starting run"
    assert (tmp_path / "run" / "flower.log.1").read_text() == "OSError: of an earlier start\n"


def test_processes_of_a_superlink_that_was_killed_end_with_it(tmp_path):
    """They have moved to another parent, and would train on beside the next run."""
    home = tmp_path / ".flwr"
    given = {**os.environ, "FLWR_HOME": str(home)}
    orphan, other = (subprocess.Popen(["sleep", "60"], env={**given, **own}) for own in ({}, {"FLWR_HOME": f"{home}2"}))
    try:
        with LocalSuperLink(tmp_path):
            assert not psutil.pid_exists(orphan.pid)
            assert other.poll() is None
    finally:
        for process in (orphan, other):
            process.kill()
            process.wait()


def test_a_superlink_that_was_killed_is_the_reason(flower, tmp_path, monkeypatch):
    killed = subprocess.Popen(["sleep", "60"])
    killed.kill()
    killed.wait()
    superlink = LocalSuperLink(tmp_path)
    monkeypatch.setattr(superlink, "_process", killed)
    said = flower("OSError: connection refused", json.dumps(KILLED), superlink=superlink)
    assert said == f"flower-superlink was killed by signal 9 while the run was going on (see {tmp_path}/superlink.log)"
