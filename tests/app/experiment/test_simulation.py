"""One real run of Flower's simulation: processes, messages and files as users have them."""

import json
import os
import shlex

import psutil
import pytest
from safetensors.numpy import load_file

from app.experiment.compare import node_stores
from app.federation.client_state import drop_moments
from scripts import simulate

pytestmark = pytest.mark.slow


EARLIER = set()


@pytest.fixture(autouse=True)
def _earlier():
    """Remembers processes that earlier tests started, such as Python's own tracker of shared memory."""
    EARLIER.clear()
    EARLIER.update(child.pid for child in psutil.Process().children(recursive=True))


def processes_of(folder):
    """Command lines of processes that name a folder, and children of this one that it did not have before the test."""
    children = [child for child in psutil.Process().children(recursive=True) if child.pid not in EARLIER]
    found = [child for child in children if child.status() != psutil.STATUS_ZOMBIE]
    for process in psutil.process_iter(["cmdline"]):
        if str(folder) in " ".join(process.info["cmdline"] or []) and process.pid != psutil.Process().pid:
            found.append(process)
    return [" ".join(process.cmdline()) for process in found]


def test_a_simulated_run_ends_well_and_equals_the_same_run_in_process(tmp_path, capsys, make_federation):
    quoted = "\"evaluation.central_overrides=['train.lr=1e-3']\""  # quotes and blanks reach server and clients whole
    changes = f"federation.rounds=2 simulation.cpus=2 {quoted}"
    reference = make_federation("reference", changes)
    folder = tmp_path / "it's josé (1), a=b" / "${x} 车辆 😀 [y]"  # none of which is in Hydra's grammar
    (tmp_path / "simulated").symlink_to(folder)
    simulate.main([*shlex.split(reference.overrides)[:-1], f"run_dir={folder}"])
    summary = json.loads(capsys.readouterr().out.strip().splitlines()[-1])
    assert summary.keys() >= {"run_dir", "rounds", "seconds", "bytes_up", "bytes_down", "models"}
    assert (summary["run_dir"], summary["rounds"], summary["left_out"]) == (str(folder), 2, [])
    assert summary["models"].keys() == {"global", "local"}
    for measures in summary["models"].values():
        assert 0 <= measures["mAP"] <= 1
    assert processes_of(folder) == []

    reference.run()
    for store in node_stores(reference.folder).values():
        drop_moments(store)  # as the command did
    simulated = make_federation("simulated", changes)
    for kind in ("global", "private", "local"):
        ours, theirs = simulated.held(kind), reference.held(kind)
        assert ours.keys() == theirs.keys()
        for client in ours:
            assert {k: v.tobytes() for k, v in ours[client].items()} == {
                k: v.tobytes() for k, v in theirs[client].items()
            }
    assert simulated.checkpoint() == reference.checkpoint()
    vector = simulated.held("global", 2)["client-0"]["vector"]
    arrays = load_file(folder / "global.safetensors")
    assert sum(array.size for array in arrays.values()) == vector.size
    assert not any("classifier" in name for name in arrays)


# Python imports a module of this name at its start; an audit hook sees every file that the process opens.
WATCH = """
import os, sys

def note(event, arguments):
    if event == "open" and isinstance(arguments[0], (str, os.PathLike)):
        path, mode = os.fspath(arguments[0]), arguments[1] or ""
        if path.endswith(".key") or (path.endswith("metrics.jsonl") and "a" in mode):
            log = os.open(os.environ["OPENED_FILES"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
            os.write(log, f"{os.getpid()} {path}\\n".encode())
            os.close(log)

sys.addaudithook(note)
"""


def test_the_server_process_of_an_encrypted_run_never_opens_a_key(tmp_path, monkeypatch, make_federation):
    """The server is the process that writes the metrics; a simulation's clients keep their key in the run folder."""
    (tmp_path / "watch").mkdir()
    (tmp_path / "watch" / "sitecustomize.py").write_text(WATCH, encoding="utf-8")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "watch"), prepend=os.pathsep)
    monkeypatch.setenv("OPENED_FILES", str(tmp_path / "opened"))
    reference = make_federation("reference", "federation.rounds=2 simulation.cpus=2 privacy.cipher=kahe")
    folder = tmp_path / "run"
    simulate.main([*shlex.split(reference.overrides)[:-1], f"run_dir={folder}"])
    opened = [line.split(" ", 1) for line in (tmp_path / "opened").read_text(encoding="utf-8").splitlines()]
    servers = {process for process, path in opened if path.endswith("metrics.jsonl")}
    holders = {process for process, path in opened if path.endswith(".key")}
    assert len(servers) == 1
    assert holders
    assert not servers & holders
