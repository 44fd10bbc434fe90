"""One real run of Flower's simulation: processes, messages and files as users have them."""

import json

import psutil
import pytest
from safetensors.numpy import load_file

from scripts import simulate

pytestmark = pytest.mark.slow


def processes_of(folder):
    """Command lines of processes that name a folder, and children of this one."""
    found = [child for child in psutil.Process().children(recursive=True) if child.status() != psutil.STATUS_ZOMBIE]
    for process in psutil.process_iter(["cmdline"]):
        if str(folder) in " ".join(process.info["cmdline"] or []) and process.pid != psutil.Process().pid:
            found.append(process)
    return [" ".join(process.cmdline()) for process in found]


def test_a_simulated_run_ends_well_and_equals_the_same_run_in_process(tmp_path, capsys, make_federation):
    changes = "federation.rounds=2 simulation.cpus=2"
    reference = make_federation("reference", changes)
    folder = tmp_path / "simulated"
    simulate.main([*reference.overrides.split()[:-1], f"run_dir={folder}"])
    summary = json.loads(capsys.readouterr().out.strip().splitlines()[-1])
    assert summary.keys() >= {"run_dir", "rounds", "seconds", "bytes_up", "bytes_down", "models"}
    assert (summary["run_dir"], summary["rounds"], summary["left_out"]) == (str(folder), 2, [])
    assert summary["models"].keys() == {"global", "local"}
    for measures in summary["models"].values():
        assert 0 <= measures["mAP"] <= 1
    assert processes_of(folder) == []

    reference.run()
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
