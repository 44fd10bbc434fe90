"""Starts of simulations and baselines: what is checked first, whose folder it is, and sweeps that lose a job.

A stand-in for Flower writes what a server writes; tests/app/experiment/test_simulation.py has the real one."""

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from app.core.run_folder import RunFolder
from app.experiment.claim import claimed
from app.experiment.kept_overrides import read_overrides, run_overrides
from app.experiment.local_superlink import SimulationError
from app.settings.load import SettingsError, load_settings
from scripts import baseline, simulate, sweep
from scripts.command import command

pytestmark = pytest.mark.slow
ROW = {"mAP": 0.5, "rank1": 0.75, "rank5": 1.0, "mINP": 0.25}


@pytest.fixture
def started(monkeypatch):
    """Run folders in the order in which Flower was started for them; `started.fails` maps a seed to its end."""

    class Started(list):
        def __init__(self):
            super().__init__()
            self.fails = {}

    folders = Started()

    def run(path, _, settings, *, on_metrics, superlink):  # noqa: ARG001 - as the real one
        folders.append(path)
        if settings.seed in folders.fails:
            raise folders.fails[settings.seed]
        folder = RunFolder(path)
        folder.append_metrics({"server_round": 1, "attempts": 1})
        folder.write_summary({"rounds": 1})
        counts = {"bytes_up": 1, "bytes_down": 1, "converged": False, "left_out": []}
        return {"rounds": 1, "seconds": 1.0, **counts}

    monkeypatch.setattr(simulate, "simulate", run)
    monkeypatch.setattr(simulate, "compare_models", lambda *_: {"global": ROW})
    monkeypatch.setattr(simulate, "node_stores", lambda _: {})
    return folders


def files(folder):
    return {path.relative_to(folder): path.read_bytes() for path in Path(folder).rglob("*") if path.is_file()}


def fails(capsys, main, argv):
    with pytest.raises(SystemExit) as ended:
        command(main, argv)
    assert ended.value.code == 2
    return capsys.readouterr().err.strip().splitlines()[-1]


@pytest.fixture
def words(base_overrides):
    return base_overrides.split()


@pytest.fixture
def earlier(tmp_path, started, words):
    """The folder of a run that ended."""
    simulate.main([*words, f"run_dir={tmp_path}/run"])
    started.clear()
    return tmp_path / "run"


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ([], "holds an earlier run of 1 rounds"),
        (["seed=7"], "holds an earlier run"),
        (["train.epoch=3"], "unknown key train.epoch"),
        (["data.root=/nowhere"], "data.root not found"),
    ],
)
@pytest.mark.parametrize("mode", ["simulate", "-m", "central"])
def test_a_second_start_changes_nothing_of_the_earlier_run(earlier, started, words, capsys, changes, named, mode):
    before = files(earlier)
    main = baseline.main if mode == "central" else simulate.main
    extra = {"simulate": [], "-m": ["-m"], "central": ["mode=central"]}[mode]
    assert named in fails(capsys, main, [*extra, *words, f"run_dir={earlier}", *changes])
    assert files(earlier) == before
    assert started == []


@pytest.mark.parametrize(
    ("kept", "of"),
    [
        ("seed=3", "experiment=quickstart"),  # written when the quickstart was the default
        ("'~experiment' seed=3", "~experiment"),
        ("experiment=two_cam seed=3", "experiment=two_cam"),
    ],
)
def test_a_run_of_any_version_is_resumed_with_its_own_settings(tmp_path, kept, of):
    (tmp_path / "overrides.txt").write_text(kept, encoding="utf-8")
    assert load_settings(read_overrides(tmp_path)) == load_settings(f"{of} seed=3")


def test_a_run_keeps_the_folder_that_its_data_set_was_once_known_by(tmp_path):
    (tmp_path / "overrides.txt").write_text("experiment=quickstart data=two_cam seed=3", encoding="utf-8")
    assert load_settings(read_overrides(tmp_path)).data.root == "???"  # before the server wrote its settings
    RunFolder(tmp_path).write_settings({"data": {"root": "../shared/it's"}})
    assert load_settings(read_overrides(tmp_path)).data.root == "../shared/it's"


def test_a_run_without_an_experiment_says_so_to_a_later_version(tmp_path):
    words = shlex.split(run_overrides(["seed=3"], tmp_path))
    assert (*words[:2], words[-1]) == ("~experiment", "seed=3", f'run_dir="{tmp_path}"')
    assert shlex.split(run_overrides(["experiment=two_cam"], tmp_path))[0] == "experiment=two_cam"


def test_files_of_a_run_count_from_the_folder_of_its_start(tmp_path, monkeypatch):
    """Flower's processes work in another folder, and so may whoever resumes the run."""
    monkeypatch.chdir(tmp_path)
    words = ["data=manifest", "data.root=images", "model.vehicle.pretrained=w.pt", "data.equalise.model=global"]
    kept = load_settings(run_overrides([*words, "data.cache_dir=../cache"], tmp_path))
    assert (kept.data.root, kept.model.vehicle.pretrained) == (str(tmp_path / "images"), str(tmp_path / "w.pt"))
    assert kept.data.cache_dir == str(tmp_path.parent / "cache")
    assert kept.data.equalise.model == "global"
    assert load_settings(run_overrides(["data=manifest", "data.root=/there"], tmp_path)).data.root == "/there"


def test_a_resumed_run_goes_on_in_its_folder(earlier, started):
    (earlier / "summary.json").unlink()  # as if it had been stopped after its round
    simulate.main([f"resume={earlier}"])
    assert started == [earlier]


def test_a_machine_without_room_for_one_client_is_reported_before_anything_starts(words, started, capsys):
    changes = ["simulation.cpus_per_client=9", "simulation.cpus=1"]
    assert "simulation.cpus_per_client=9 is more than the 1 CPUs" in fails(capsys, simulate.main, [*words, *changes])
    assert "simulation.cpus_per_client" in fails(capsys, simulate.main, [*words, "simulation.cpus_per_client=0"])
    assert "simulation.gpus_per_client=99 is more" in fails(
        capsys, simulate.main, [*words, "simulation.gpus_per_client=99"]
    )
    assert started == []


def test_what_is_left_of_a_start_that_failed_is_no_run(tmp_path, started, words, capsys):
    started.fails = {0: SimulationError("Ray was not up")}
    argv = [*words, "seed=0", f"run_dir={tmp_path}/run"]
    assert "Ray was not up" in fails(capsys, simulate.main, argv)
    started.fails = {}
    simulate.main(argv)
    assert RunFolder(tmp_path / "run").read_summary()["models"] == {"global": ROW}


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        (
            "progress.json",
            '{"server_round": 1, "attempts": 1}',
            "holds an earlier run that was cut off in its first round",
        ),
        ("keys/federation.key", "{}", "and left keys: give another run_dir, or resume it (resume="),
        ("nodes/client-0/abcd/recipe.json", "{}", "and left nodes: give another run_dir"),
    ],
)
@pytest.mark.parametrize("mode", ["simulate", "central"])
def test_a_run_that_was_cut_off_in_its_first_round_is_a_run(
    tmp_path, started, words, capsys, name, content, said, mode
):
    path = tmp_path / "run" / name
    path.parent.mkdir(parents=True)
    path.write_text(content, encoding="utf-8")
    before = files(tmp_path / "run")
    main, extra = (baseline.main, ["mode=central"]) if mode == "central" else (simulate.main, [])
    assert said in fails(capsys, main, [*words, *extra, f"run_dir={tmp_path}/run"])
    assert files(tmp_path / "run") == before
    assert started == []


def test_words_settings_and_the_reason_of_a_failed_start_are_no_run(tmp_path, started, words):
    folder = RunFolder(tmp_path / "run")
    folder.write_settings({})
    folder.write_progress({"failed": "FederationError: too few nodes"})
    (folder.path / "overrides.txt").write_text("seed=3", encoding="utf-8")
    (folder.path / "nodes").mkdir()
    simulate.main([*words, f"run_dir={tmp_path}/run"])
    assert started == [tmp_path / "run"]


HOLDER = """
import sys, time
from pathlib import Path
from app.experiment.claim import claimed
from app.core.run_folder import RunFolder
if sys.argv[2] == "command":
    with claimed(Path(sys.argv[1])):
        print("held", flush=True)
        time.sleep(60)
with RunFolder(Path(sys.argv[1])) as folder:
    folder.hold()
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.mark.parametrize("holder", ["command", "server"])
def test_a_folder_that_another_process_writes_to_is_left_alone(tmp_path, started, words, capsys, holder):
    """The other is a command that has not started its server yet, or the server of a bare `flwr run`."""
    folder = tmp_path / "run"
    holds = [sys.executable, "-c", HOLDER, str(folder), holder]
    with subprocess.Popen(holds, stdout=subprocess.PIPE) as other:
        try:
            assert other.stdout.readline() == b"held\n"
            (folder / "overrides.txt").write_text("of the other", encoding="utf-8")
            before = files(folder)
            for main, extra in ((simulate.main, []), (baseline.main, ["mode=central"])):
                assert "another run is writing to" in fails(capsys, main, [*words, *extra, f"run_dir={folder}"])
            assert {**files(folder), Path(".start.lock"): b""} == {**before, Path(".start.lock"): b""}
            assert "another run is writing to" in fails(capsys, simulate.main, [f"resume={folder}"])
            assert started == []
        finally:
            other.kill()
    with claimed(folder):
        pass


def test_a_sweep_goes_on_after_a_failed_job_and_prints_its_table(tmp_path, started, words, capsys):
    started.fails = {1: SimulationError("RayError: out of memory"), 2: ZeroDivisionError("a bug")}
    with pytest.raises(SystemExit) as ended:
        command(simulate.main, ["-m", *words, f"run_dir={tmp_path}/sweep", "seed=0,1,2,3"])
    captured = capsys.readouterr()
    assert ended.value.code == 2
    assert captured.err.strip().splitlines()[-1].startswith("error: 2 of 4 jobs failed: ")
    assert "ZeroDivisionError: a bug" in captured.err
    assert "Traceback" in captured.err
    assert captured.err.count("Traceback") == 1  # the other is no bug
    *_, last = captured.out.strip().splitlines()
    found = json.loads(last)
    assert found["jobs"] == [f"{tmp_path}/sweep/{number}" for number in range(4)]
    assert found["failed"] == {f"{tmp_path}/sweep/1": "RayError: out of memory", f"{tmp_path}/sweep/2": "a bug"}
    table = {line.split("seed=")[1][0]: line for line in captured.out.splitlines() if "seed=" in line and "%" in line}
    assert table.keys() == {"0", "3"}
    assert all("50.00 %" in line for line in table.values())
    assert re.search(r"^seed=1 .*failed: RayError: out of memory$", captured.out, re.MULTILINE)


def test_all_jobs_are_checked_before_the_first_is_trained(tmp_path, started, words, capsys, pictures_root):
    said = fails(capsys, simulate.main, ["-m", *words, f"run_dir={tmp_path}/sweep", "train.lr=-1,-2"])
    assert re.search("nothing was started, .* train.lr=-1: .*train.lr=-2: .*commas", said)
    assert started == []
    folders = f"run_dir={tmp_path}/a,{tmp_path}/b", f"run_dir={tmp_path}/${{seed}}"
    for more, needed in (([], True), ([folders[0]], False), ([folders[1], "seed=0,1"], False)):
        with pytest.raises(SettingsError, match=r"^nothing was started, .*: data.root not found: /no"):
            sweep.prepared([*words, *more, f"data.root={pictures_root},/no"], all_needed=needed)


def test_jobs_that_cannot_be_started_are_noted_and_the_others_run(tmp_path, started, words, capsys, pictures_root):
    """They are checked again at their turn, as when the sweep is gone on with: the images may be there by then."""
    place, folder = tmp_path / "later", f"run_dir={tmp_path}/sweep"
    with pytest.raises(SystemExit):
        command(simulate.main, ["-m", *words, folder, f"data.root={place},{pictures_root}", "seed=0,1"])
    said = capsys.readouterr()  # noted before the first job
    jobs = f"data.root={place} seed=0, data.root={place} seed=1"
    noted = f"cannot be started, and is left out: {jobs}: data.root not found: {place}"
    assert said.err.splitlines()[1] == noted
    assert said.err.strip().splitlines()[-1] == f"error: 2 of 4 jobs failed: data.root not found: {place}"
    assert json.loads(said.out.splitlines()[-1])["states"] == ["failed", "failed", "ended", "ended"]
    assert started == [tmp_path / "sweep" / number for number in "23"]
    place.symlink_to(pictures_root)
    sweep.main([f"resume={tmp_path}/sweep"])
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["states"] == ["ended"] * 4
    assert started[2:] == [tmp_path / "sweep" / number for number in "01"]


def test_a_job_of_a_sweep_that_would_go_into_an_earlier_run_stops_it_at_once(earlier, started, words, capsys):
    other = earlier.with_name("other")
    said = fails(capsys, simulate.main, ["-m", *words, f"run_dir={other},{earlier}"])
    assert f"{earlier} holds an earlier run" in said
    assert started == []


@pytest.mark.parametrize("sweep", ["seed=1,,2", "seed=range(0)", "experiment=glob(nothing*)", "seed=1,"])
def test_a_sweep_without_a_job_is_an_error(words, started, capsys, sweep):
    assert "value" in fails(capsys, simulate.main, ["-m", *words, sweep])
    assert started == []


def test_run_folders_may_have_any_name(tmp_path, started, words, monkeypatch):
    here = tmp_path / "josé (1), a=b" / "it's [x] ${y} 😀 车"
    here.mkdir(parents=True)
    monkeypatch.chdir(here)
    simulate.main(words)
    [folder] = started
    assert folder.is_relative_to(here)
    simulate.main([*words, "run_dir=a=b, it's (2)"])
    assert started[1] == here / "a=b, it's (2)"
