"""A real sweep that is killed in the middle of a job, and goes on."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest

from app.core.run_folder import RunFolder
from scripts import sweep

pytestmark = pytest.mark.slow


def test_a_sweep_that_was_killed_goes_on_where_it_was(tmp_path, base_overrides, capsys):
    folder = tmp_path / "sweep"
    words = [*base_overrides.split(), "federation.rounds=3", "evaluation.compare=[]", "simulation.cpus=2"]
    started = [sys.executable, "-m", "scripts.sweep", *words, f"run_dir={folder}", "seed=0,1"]
    with (tmp_path / "log").open("wb") as log:
        running = subprocess.Popen(started, stdout=log, stderr=log, start_new_session=True)
    try:
        deadline = time.monotonic() + 400
        while not (second := folder / "1" / "metrics.jsonl").exists() or not second.read_text():
            assert running.poll() is None, (tmp_path / "log").read_text()
            assert time.monotonic() < deadline
            time.sleep(0.2)
        running.send_signal(signal.SIGSTOP)  # or it may have ended before a loaded machine has started the next command
        sweep.main([f"show={folder}"])
        assert json.loads(capsys.readouterr().out.splitlines()[-1])["states"] == ["ended", "cut off"]
        assert [path.parent for path in folder.rglob("superlink.log")] == [folder]  # one for all jobs
        said = subprocess.run(
            [sys.executable, "-m", "scripts.sweep", f"resume={folder}"], capture_output=True, text=True, timeout=120
        )
        assert said.returncode == 2
        assert "another command is at the sweep" in said.stderr
    finally:
        os.killpg(running.pid, signal.SIGKILL)
        running.wait()
    first = (folder / "0" / "summary.json").read_bytes()
    sweep.main([f"resume={folder}"])  # ends what the killed command left running in sessions of its own
    found = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert found["states"] == ["ended", "ended"]
    assert (folder / "0" / "summary.json").read_bytes() == first  # what had ended was left alone
    assert RunFolder(folder / "1").read_summary()["rounds"] == 3
    assert {"sweep.csv", "sweep.md", "sweep.png"} <= {path.name for path in folder.iterdir()}
    assert "mean of 2 seeds" in (folder / "sweep.md").read_text()
