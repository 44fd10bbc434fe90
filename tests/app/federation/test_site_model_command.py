"""Checkpoints at real nodes, whose images and folders are their own: the command, damage, kills and full disks."""

import json
import logging
import os
import shutil
import stat
import tempfile
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from conftest import LocalFederation, write_set
from federation_checks import PowerCutError, assert_same_arrays, divide, power_cut_at
from safetensors import SafetensorError
from safetensors.numpy import save_file
from site_checkpoints import made_in

from app.core.arrays import float_arrays, shared_layout
from app.core.site_runs import SiteModelError, chosen_run, runs_in
from app.federation.recipe import FILE
from app.federation.site_model import model_of
from app.settings.load import load_settings, settings_from
from app.training.checkpoint import Checkpoint
from scripts import evaluate, federation
from scripts.command import command

pytestmark = pytest.mark.slow


@pytest.fixture
def sites(tmp_path, base_overrides):
    """Makes a federation of two sites with images of their own; `run.state` are their state folders."""
    images = divide(write_set(tmp_path / "set"), tmp_path / "parts")

    def make(more="", name="run"):
        nodes = [
            {
                "client": site,
                "data": "manifest",
                "data-root": str(root),
                "state-dir": str(tmp_path / site / "state/node"),
            }
            for site, root in images.items()
        ]
        words = base_overrides.replace("data.partition.by=site", "")
        return LocalFederation(tmp_path / name, f"{words} federation.rounds=2 train.epochs=2 {more}", nodes)

    make.states = {site: tmp_path / site / "state" for site in images}
    return make


def last_line(capsys):
    return json.loads(capsys.readouterr().out.strip().splitlines()[-1])


def fails(capsys, main, argv):
    """The one line on standard error of a command that ends with status 2."""
    with pytest.raises(SystemExit) as ended:
        command(main, argv)
    assert ended.value.code == 2
    line = capsys.readouterr().err.strip().splitlines()[-1]
    assert line.startswith("error: ")
    return line


def test_a_site_measures_its_model_without_naming_its_images(sites, capsys):
    run = sites().run()
    final = run.folder.read_metrics()[-1]["clients"]
    for name, state in sites.states.items():
        evaluate.main([f"run={made_in(state)}", "data.eval_split=val"])
        assert last_line(capsys)["mAP"] == pytest.approx(final[name]["global_mAP"], abs=1e-9)
        evaluate.main([f"run={made_in(state)}", "data.eval_split=val", "model=untrained"])


@pytest.mark.parametrize("error", [SafetensorError("no space"), PermissionError("not mine"), IndexError("a bug")])
def test_an_update_is_not_lost_over_a_checkpoint_that_cannot_be_written(sites, monkeypatch, caplog, error):
    def fail(*_):
        raise error

    monkeypatch.setattr(logging.getLogger("flwr"), "propagate", True)
    monkeypatch.setattr(Checkpoint, "write", fail)
    run = sites("federation.rounds=1").run()
    assert run.folder.read_summary()["left_out"] == []
    [told, *_] = [record for record in caplog.records if "no checkpoint in" in record.getMessage()]
    assert str(error) in told.getMessage()
    assert bool(told.exc_info) is not isinstance(error, OSError), "a bug has its traceback"


def test_whatever_a_site_writes_is_for_its_owner_alone(sites):
    sites().run()
    state = sites.states["a"]
    command(federation.main, ["model", str(state), "--out", str(state.parent / "out")])
    found = [*(state / "models").rglob("*"), *(state / "node").rglob("recipe.json"), *(state.parent / "out").iterdir()]
    assert {"global.safetensors", "local.safetensors", "settings.json", "recipe.json"} <= {path.name for path in found}
    for path in (state / "models", state.parent / "out", *found):
        assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600), path


@pytest.mark.skipif(os.geteuid() != 0, reason="only an administrator can write for another user")
def test_what_an_administrator_makes_belongs_to_the_site(sites, capsys):
    """The service's user could not write its next round into a folder of root's."""
    sites().run()
    with tempfile.TemporaryDirectory() as name:  # pytest's own folder is closed to other users
        home = Path(name)
        home.chmod(0o755)
        shutil.copytree(sites.states["a"] / "node", home / "state" / "node")
        for path in (home / "state", *(home / "state").rglob("*")):
            os.chown(path, 12345, 12346)
        command(federation.main, ["model", str(home / "state")])
        made = Path(last_line(capsys)["folder"])
        for path in (made.parent, made, *made.iterdir()):
            assert (path.stat().st_uid, path.stat().st_gid) == (12345, 12346), path
    assert (os.geteuid(), os.getegid()) == (0, 0)


@pytest.mark.parametrize(("when", "rounds"), [(("train", 2), {"global": 1, "local": 2}), (("train", 1), {"local": 1})])
def test_a_run_that_was_cut_off_leaves_a_model(sites, capsys, when, rounds):
    """The power fails with the first reply of a round: one site has trained in it, the other has not."""
    run = sites()
    with pytest.raises(PowerCutError):
        run.run(power_cut_at(*when))
    state = sites.states["a"]
    command(federation.main, ["model", str(state)])
    told = last_line(capsys)
    assert (told["rounds"], told["client"]) == (rounds, "a")
    for kind, server_round in rounds.items():
        vector = runs_in(state)[0].store.read(kind, server_round)[0]["vector"]
        kept = Checkpoint.read(made_in(state), kind)
        _, network = kept.network(settings_from(kept.settings))
        layout = shared_layout(network, run.settings.federation)
        np.testing.assert_array_equal(layout.flatten(float_arrays(network)), vector)
    if "global" not in rounds:
        assert "there are: local" in fails(capsys, evaluate.main, [f"run={made_in(state)}"])


def test_before_the_first_round_there_is_no_model(sites, capsys):
    """A run that ends while the clients describe themselves: the store holds the network before training."""
    with pytest.raises(PowerCutError):
        sites().run(power_cut_at("query"))
    state = sites.states["a"]
    assert "nothing has been learnt" in fails(capsys, federation.main, ["model", str(state)])
    assert not list(state.glob("models/*/*.safetensors"))


def test_of_several_runs_the_newest_is_taken_and_all_are_named(sites, capsys):
    sites().run()
    sites(name="later").run(more="seed=1")
    state = sites.states["a"]
    newer, older = runs_in(state)
    command(federation.main, ["model", str(state)])
    shown = capsys.readouterr()
    assert json.loads(shown.out.splitlines()[-1])["run"] == newer.key
    assert newer.key in shown.err
    assert older.key in shown.err
    command(federation.main, ["model", str(state.parent), "--run", older.key[:6]])
    assert last_line(capsys)["run"] == older.key
    command(federation.main, ["model", str(older.folder)])  # and by the folder of its node store
    assert last_line(capsys)["run"] == older.key
    line = fails(capsys, federation.main, ["model", str(state), "--run", "../../etc"])
    assert f"there are {newer.key} (" in line


def test_a_store_of_an_older_version_says_what_to_do(sites, capsys):
    run = sites().run()
    state = sites.states["a"]
    [store] = runs_in(state)
    (store.folder / FILE).unlink()
    expected = Checkpoint.read(made_in(state), "global").arrays
    shutil.rmtree(state / "models")
    line = fails(capsys, federation.main, ["model", str(state)])
    assert "--settings" in line
    command(federation.main, ["model", str(state), "--settings", str(run.folder.path / "settings.json")])
    assert_same_arrays(Checkpoint.read(made_in(state), "global").arrays, expected)
    other = run.folder.path / "other.json"
    other.write_text(json.dumps(load_settings(f"{run.overrides} model.embedding_dim=8").as_dict()))
    line = fails(capsys, federation.main, ["model", str(state), "--settings", str(other)])
    assert "another network" in line
    other.write_text("[1]")
    assert "is no settings.json" in fails(capsys, federation.main, ["model", str(state), "--settings", str(other)])
    for damaged in ("{", '{"format": 1}', '{"format": 2}', "[]"):
        (store.folder / FILE).write_text(damaged)
        assert FILE in fails(capsys, federation.main, ["model", str(state)])


def test_a_damaged_file_is_passed_over_for_the_model_before_it(sites, capsys):
    run = sites("federation.rounds=3")
    run.run()
    state = sites.states["a"]
    [held] = runs_in(state)
    path = held.folder / "global-000003.safetensors"
    arrays, about = held.store.read("global", 3)
    path.write_bytes(path.read_bytes()[:-100])
    command(federation.main, ["model", str(state)])
    told = last_line(capsys)
    assert told["rounds"]["global"] == 2
    assert "global-000003" in told["damaged"][0]
    save_file({"vector": arrays["vector"] + 1}, path, about)  # whole, and not what was written
    command(federation.main, ["model", str(state)])
    assert "digest" in last_line(capsys)["damaged"][0]
    for number in (2, 3):
        (held.folder / f"global-{number:06d}.safetensors").write_bytes(b"")
        (held.folder / f"local-{number:06d}.safetensors").write_bytes(b"")
    assert "cannot read" in fails(capsys, federation.main, ["model", str(state)])


def test_a_kill_while_writing_leaves_the_model_before(sites, monkeypatch):
    sites().run()
    state = sites.states["a"]
    made = made_in(state)
    before = (made / "global.safetensors").read_bytes()

    def killed(_arrays, path, _about):
        path.write_bytes(b"half")
        raise PowerCutError

    monkeypatch.setattr("app.core.run_folder.save_file", killed)
    monkeypatch.setattr("pathlib.Path.unlink", lambda *_, **__: None)  # a killed process tidies nothing up
    with pytest.raises(PowerCutError):
        model_of(chosen_run(runs_in(state)))
    monkeypatch.undo()
    assert (made / "global.safetensors").read_bytes() == before
    assert list(made.glob(".*.tmp"))
    model_of(chosen_run(runs_in(state)))
    assert not list(made.glob(".*.tmp"))
    assert (made / "global.safetensors").read_bytes() == before


def test_a_disk_that_is_full_costs_no_round(sites, monkeypatch, caplog):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("app.training.checkpoint.Checkpoint.write", full)
    run = sites().run()
    assert run.folder.read_summary()["left_out"] == []
    assert "No space left" in caplog.text
    monkeypatch.undo()
    assert model_of(chosen_run(runs_in(sites.states["a"])))["rounds"] == {"global": 2, "local": 2}


def test_a_folder_that_is_no_checkpoint_says_where_the_checkpoints_are(sites, capsys):
    run = sites().run()
    state = sites.states["a"]
    [held], fail = runs_in(state), partial(fails, capsys, evaluate.main)
    made = str(made_in(state))
    for wrong in (state.parent, state, state / "models"):
        assert made in fail([f"run={wrong}"]), wrong
    assert "federation model" in fail([f"run={held.folder}"])
    assert "the server's folder" in fail([f"run={run.folder.path}"])
    shutil.rmtree(state / "models")
    assert held.key in fail([f"run={state}"])
    assert "holds no run of a site" in fails(capsys, federation.main, ["model", str(state.parent.parent / "set")])
    assert "there is no folder" in fails(capsys, federation.main, ["model", str(state / "nowhere")])
    with pytest.raises(SiteModelError, match="no run"):
        chosen_run([held], "f" * 17)
