"""The commands: one clear line and status 2 for what a user can mend, and one JSON object at the end."""

import getpass
import json
import os
import pwd
import shutil
import subprocess
import sys
import tempfile
from functools import partial
from pathlib import Path

import pytest

from app.core.run_folder import RunFolder
from app.settings.load import SettingsError, load_settings
from app.settings.overrides import sweep
from app.settings.stored import with_overrides
from scripts import baseline, evaluate, inspect_data, simulate
from scripts.catalogue import settings_help
from scripts.command import command

NOBODY = 54321  # a user id that this machine has no entry for
TINY = [
    "data=manifest",
    "federation.num_clients=2",
    "data.partition.by=site",
    "model.vehicle.backbone=test_efficientnet",
    "model.vehicle.image_size=32",
    "model.plate=null",
    "model.embedding_dim=8",
    "device=cpu",
    "train.precision=float32",
    "train.threads=1",
    "train.epochs=1",
    "train.pids_per_batch=4",
    "train.images_per_pid=2",
]


def test_a_sweep_is_every_combination_in_order():
    jobs = sweep(["experiment=quickstart", "federation.num_clients=2,4", "seed=range(3)", "loss.metric=none"])
    assert jobs == [
        ["experiment=quickstart", f"federation.num_clients={clients}", f"seed={seed}", "loss.metric=none"]
        for clients in (2, 4)
        for seed in range(3)
    ]


def test_a_sweep_keeps_lists_and_quoted_commas_together():
    assert sweep(["evaluation.compare=[stand_alone,central]"]) == [["evaluation.compare=[stand_alone,central]"]]
    assert sweep(["data=two_cam,veri776"]) == [["data=two_cam"], ["data=veri776"]]


@pytest.mark.parametrize("job", sweep(["train.lr=0.1,0.2", "federation.private=['*classifier*','a.*'],['*b*']"]))
def test_every_job_of_a_sweep_can_be_loaded(job):
    assert load_settings(job).train.lr in (0.1, 0.2)


@pytest.fixture(scope="module")
def kept():
    return load_settings(["experiment=quickstart", "model.embedding_dim=8", "seed=3"]).as_dict()


def test_overrides_of_a_checkpoint_change_what_they_name_and_nothing_else(kept):
    settings = with_overrides(kept, ["evaluation.embedding=vehicle", "data.eval_split=val", "device=cpu"])
    assert settings.evaluation.embedding == "vehicle"
    assert settings.data.eval_split == "val"
    assert settings.device == "cpu"
    assert settings.model == load_settings("experiment=quickstart model.embedding_dim=8").model
    assert (settings.seed, settings.train) == (3, load_settings("experiment=quickstart").train)
    assert with_overrides(kept, []).as_dict() == kept


def test_another_data_set_brings_its_own_settings(kept):
    settings = with_overrides(kept, ["data=veri776", "data.root=/pictures"])
    assert (settings.data.reader, settings.data.root) == ("veri776", "/pictures")
    assert settings.data.val_split == load_settings("data=veri776").data.val_split
    assert with_overrides(kept, ["data=veri776"]).data.root == load_settings("data=veri776").data.root


def test_values_of_overrides_have_types(kept):
    settings = with_overrides(kept, ["evaluation.rerank=true", "evaluation.batch_size=7", "model.plate=null"])
    assert (settings.evaluation.rerank, settings.evaluation.batch_size, settings.model.plate) == (True, 7, None)


@pytest.mark.parametrize(
    ("word", "named"),
    [
        ("seed=4", "seed cannot be changed"),
        ("experiment=two_cam", "experiment cannot be changed"),
        ("rerank", "not of the form key=value: 'rerank'"),
        ("evaluation.rerunk=true", "unknown key evaluation.rerunk"),
        ("evaluation.batch_size=many", "evaluation.batch_size"),
        ("data=nowhere", "nowhere"),
    ],
)
def test_a_wrong_override_of_a_checkpoint_is_named(kept, word, named):
    with pytest.raises(SettingsError) as caught:
        with_overrides(kept, [word])
    assert named in str(caught.value)


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory, pictures_root):
    """A centralised model of a tiny network."""
    folder = tmp_path_factory.mktemp("runs") / "central"
    baseline.main([*TINY, f"data.root={pictures_root}", f"run_dir={folder}", "mode=central"])
    return folder


def last_line(capsys):
    return json.loads(capsys.readouterr().out.strip().splitlines()[-1])


@pytest.mark.parametrize("mode", ["central", "local"])
def test_the_baseline_ends_with_its_figures(mode, tmp_path, pictures_root, capsys):
    here = "simulation.cpus=1"  # one model after the other, in this process
    baseline.main([*TINY, f"data.root={pictures_root}", f"run_dir={tmp_path}/run", f"mode={mode}", here])
    found = last_line(capsys)
    measures = found["models"]["central" if mode == "central" else "stand_alone"]
    assert measures.keys() >= {"mAP", "rank1", "rank5", "mINP", "queries", "skipped"}
    assert 0 <= measures["mAP"] <= 1
    if mode == "local":
        rows = measures["clients"]
        assert list(rows) == ["client-0", "client-1"]
        assert measures["mAP"] == pytest.approx((rows["client-0"]["mAP"] + rows["client-1"]["mAP"]) / 2)
    assert RunFolder(tmp_path / "run").read_summary()["models"] == found["models"]


def test_evaluating_a_checkpoint_gives_the_figures_it_was_stored_with(run_folder, capsys):
    evaluate.main([f"run={run_folder}", "model=central"])
    found = last_line(capsys)
    stored = RunFolder(run_folder).read_summary()["models"]["central"]
    names = ("mAP", "rank1", "rank5", "mINP", "queries", "skipped", "vehicle_mAP")
    assert {name: found[name] for name in names} == {name: stored[name] for name in names}
    assert (found["model"], found["data"], found["split"]) == ("central", "manifest", "test")


def test_the_untrained_network_can_be_measured(run_folder, capsys):
    evaluate.main([f"run={run_folder}", "model=untrained", "data.eval_split=val"])
    assert last_line(capsys)["split"] == "val"


def test_a_checkpoint_holds_no_classifier(run_folder):
    arrays, _ = RunFolder(run_folder).load_arrays("central")
    assert arrays
    assert not any("classifier" in name for name in arrays)


def test_clients_are_counted(pictures_root, capsys):
    inspect_data.main([*TINY, f"data.root={pictures_root}", "federation.num_clients=2"])
    assert last_line(capsys)["clients"] == [{"images": 20, "pids": 5}, {"images": 12, "pids": 3}]


def fails(capsys, main, argv):
    """The one line on standard error of a command that ends with status 2."""
    with pytest.raises(SystemExit) as ended:
        command(main, argv)
    captured = capsys.readouterr()
    assert ended.value.code == 2
    (line,) = captured.err.strip().splitlines()
    assert captured.out == ""
    return line


def test_mistakes_end_with_one_line_and_status_2(capsys, tmp_path, pictures_root, run_folder):
    fail = partial(fails, capsys)
    root = f"data.root={pictures_root}"
    here = f"run_dir={tmp_path}/run"
    central = [*TINY, here, "mode=central"]
    assert f"data.root not found: {tmp_path}/nowhere" in fail(
        baseline.main, [*central, f"data.root={tmp_path}/nowhere"]
    )
    assert "data.root=FOLDER is missing" in fail(inspect_data.main, ["data=manifest"])
    assert "unknown key train.epoch" in fail(baseline.main, [*central, root, "train.epoch=3"])
    assert "unknown key train.epoch" in fail(simulate.main, [root, "train.epoch=3"])
    assert "unknown backbone 'resnet51'" in fail(baseline.main, [*central, root, "model.vehicle.backbone=resnet51"])
    assert "mode must be given" in fail(baseline.main, [*TINY, root, here])
    assert "run=RUN_FOLDER is missing" in fail(evaluate.main, [])
    assert f"run folder not found: {tmp_path}/nowhere" in fail(evaluate.main, [f"run={tmp_path}/nowhere"])
    missing = fail(evaluate.main, [f"run={run_folder}"])
    assert "global.safetensors" in missing
    assert missing.endswith("there are: central; model=central takes the first")
    assert "there is no such folder" in fail(simulate.main, [f"resume={tmp_path}/nowhere"])
    assert "overrides.txt is missing" in fail(simulate.main, [f"resume={run_folder}"])
    unknown = fail(inspect_data.main, ["privacy=foo"])
    assert "there is no privacy=foo; known: " in unknown
    assert unknown.endswith("known: ckks, kahe, plain")
    assert "takes its settings from that folder" in fail(simulate.main, [f"resume={run_folder}", "seed=1"])
    wider = fail(evaluate.main, [f"run={run_folder}", "model=central", "model.embedding_dim=16"])
    assert "vehicle.neck" in wider
    assert "has shape" in wider
    other = fail(evaluate.main, [f"run={run_folder}", "model=central", "model.vehicle.backbone=test_resnet"])
    assert "another network's checkpoint" in other
    assert "train_vehicles" in fail(inspect_data.main, ["data.synthetic.train_vehicles_per_site=-1"])


@pytest.mark.parametrize("word", ["--help", "-h"])
def test_help_is_the_docstring_of_the_command(word, capsys):
    command(simulate.main, [word])
    assert capsys.readouterr().out.strip() == f"{simulate.__doc__.strip()}\n\n{settings_help()}"


def test_resuming_a_run_that_ended_shows_its_figures_and_leaves_it_as_it_is(tmp_path, capsys):
    row = {"mAP": 0.5, "rank1": 0.75, "rank5": 1.0, "mINP": 0.25}
    figures = {"rounds": 2, "seconds": 1.0, "seconds_federation": 1.0, "bytes_up": 1, "bytes_down": 1}
    ended = {**figures, "converged": False, "left_out": [], "bad_pictures": {}, "models": {"global": row}}
    folder = RunFolder(tmp_path)
    folder.write_summary({**ended, "run_dir": str(tmp_path), "of_the_server": 7})
    (tmp_path / "overrides.txt").write_text("experiment=quickstart", encoding="utf-8")
    before = (tmp_path / "summary.json").read_bytes()
    simulate.main([f"resume={tmp_path}"])
    shown = capsys.readouterr()
    assert "has ended" in shown.err
    assert "50.00 %" in shown.out
    assert json.loads(shown.out.splitlines()[-1]) == {**ended, "run_dir": str(tmp_path)}
    assert (tmp_path / "summary.json").read_bytes() == before
    assert {path.name for path in tmp_path.iterdir()} == {"overrides.txt", "summary.json"}


def test_a_search_for_a_run_to_resume_creates_no_folder(tmp_path, capsys):
    fails(capsys, simulate.main, [f"resume={tmp_path}/nowhere"])
    assert not (tmp_path / "nowhere").exists()


def test_a_user_without_an_entry_has_a_name_and_a_home(tmp_path, monkeypatch):
    """As in a container that is run with --user 12345; torch and Flower ask for both."""

    def unknown(_):
        raise KeyError("getpwuid(): uid not found: 12345")

    for name in ("LOGNAME", "USER", "LNAME", "USERNAME", "HOME"):
        monkeypatch.setenv(name, "")  # so that the values set by the command are reset afterwards
        monkeypatch.delenv(name)
    monkeypatch.setattr(pwd, "getpwuid", unknown)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    seen = []
    command(lambda _: seen.append((getpass.getuser(), Path.home(), dict(os.environ))), ["word"])
    [(user, home, environment)] = seen
    assert user == f"uid-{os.getuid()}"
    assert home.is_dir()
    assert home.parent == tmp_path
    assert (environment["USER"], environment["HOME"]) == (user, str(home))


@pytest.mark.slow
@pytest.mark.skipif(
    os.getuid() != 0 or shutil.which("setpriv") is None, reason="another user id needs root and setpriv (util-linux)"
)
def test_a_user_id_without_an_entry_trains(tmp_path, pictures_root):
    """A real process without HOME. The capability lets it read a Python that lies in root's own folder, and no more."""
    place = tmp_path / "place"
    place.mkdir()
    os.chown(place, NOBODY, NOBODY)
    with pytest.raises(KeyError):
        pwd.getpwuid(NOBODY)
    user = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"]
    reading = ["--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search"]
    words = [*TINY, f"data.root={pictures_root}", f"run_dir={place}/run", "mode=central", "train.epochs=1"]
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(Path(__file__).parents[2])}
    command_line = [*user, *reading, sys.executable, "-m", "scripts.baseline", *words]
    done = subprocess.run(command_line, cwd=place, env=environment, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    assert "central" in json.loads(done.stdout.splitlines()[-1])["models"]
    assert (place / "run/central.safetensors").stat().st_uid == NOBODY


def test_a_user_with_an_entry_keeps_name_and_home():
    before = {name: os.environ.get(name) for name in ("USER", "LOGNAME", "HOME")}
    command(lambda _: None, ["word"])
    assert {name: os.environ.get(name) for name in before} == before
