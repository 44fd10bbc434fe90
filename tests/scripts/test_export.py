"""The command that writes a network as ONNX, and registers that run from its file."""

import json
import shutil

import pytest
from registers import photo

from app.core.arrays import float_arrays
from app.core.run_folder import RunFolder
from app.register.errors import RegisterError
from app.settings.checks import SettingsError
from app.settings.load import load_settings
from app.tasks import make_task
from app.training.checkpoint import Checkpoint, save_checkpoint
from scripts import export, serve


@pytest.fixture
def words(base_overrides):
    root = next(word for word in base_overrides.split() if word.startswith("data.root="))
    return ["data=manifest", root, "data.eval_split=test"]


def written(path):
    """In place of an export, which takes seconds."""
    return lambda temporary, *_: shutil.copyfile(path, temporary)


def test_a_network_of_vehicles_alone_is_written_and_agrees(base_overrides, tmp_path, capsys):
    settings = load_settings(base_overrides)
    task = make_task(settings)
    save_checkpoint(RunFolder(tmp_path / "run"), "global", float_arrays(task.build(2, 0)), settings, task)
    export.main([f"run={tmp_path / 'run'}", f"out={tmp_path / 'x.onnx'}", "data.eval_split=test"])
    told = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert told["largest_difference"] <= 1e-4
    assert told["different"] == 0
    assert (told["pictures"], told["decisions"]) == (16, 8)  # two vehicles of each of two sites, two queries each
    assert sum(told["outcomes"].values()) == 8
    assert told["digest"] == Checkpoint.read(tmp_path / "run", "global").digest
    assert told["bytes"] == (tmp_path / "x.onnx").stat().st_size
    assert sorted(path.name for path in tmp_path.iterdir()) == ["run", "x.onnx"]


def test_networks_that_do_not_agree_leave_no_file(run_folder, onnx_path, words, tmp_path, monkeypatch):
    """The file is of the network "global", the checkpoint is "other"."""
    monkeypatch.setattr(export, "write_onnx", written(onnx_path))
    with pytest.raises(ValueError, match=r"differ from PyTorch's by up to .*x\.onnx was not written"):
        export.main([f"run={run_folder}", "model=other", f"out={tmp_path / 'x.onnx'}", *words])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("argv", "reason"),
    [
        (["out=x.onnx"], "run=... is missing"),
        (["run=."], "out=... is missing"),
        (["run=.", "out=x.pt"], "must end in .onnx"),
        (["run=.", "out=x.onnx", "pictures=0"], "pictures must be a whole number from 1 to"),
    ],
)
def test_a_mistake_is_one_line(argv, reason):
    with pytest.raises(SettingsError, match=reason):
        export.main(argv)


@pytest.fixture
def run(run_register):
    """Runs one command on a register; its last line as an object."""
    return lambda *argv: run_register(*argv)[0]


def test_a_register_that_never_saw_a_checkpoint(run, run_folder, onnx_path, tmp_path):
    first = tmp_path / "1.png"
    photo(1).image.save(first)
    digest = Checkpoint.read(run_folder, "global").digest
    assert run("reembed", "--onnx", onnx_path) == {
        "model": digest,
        "libraries": ["fused", "plate", "vehicle"],
        "views": 0,
    }
    run("enrol", first)
    answer = run("identify", first)
    assert (answer["decision"], answer["vehicle"], answer["similarity"]) == ("match", 1, 1.0)
    models = tmp_path / "register" / "models"
    assert [path.name for path in models.iterdir()] == [f"{digest}.onnx"]
    assert run("reembed", "--run", run_folder)["views"] == 1  # the checkpoint computes the same network from now on
    assert [path.name for path in models.iterdir()] == [f"{digest}.safetensors"]
    assert run("identify", first)["similarity"] == 1.0


def test_embeddings_of_different_networks_are_not_compared(run, run_folder, onnx_path, tmp_path, monkeypatch):
    first = tmp_path / "1.png"
    photo(1).image.save(first)
    run("reembed", "--run", run_folder, "--model", "other")
    ours, theirs = (Checkpoint.read(run_folder, name).digest for name in ("other", "global"))
    with pytest.raises(RegisterError, match=rf"network\.onnx is of model {theirs}, .* of this register is {ours}"):
        run("identify", "--onnx", onnx_path, first)
    with pytest.raises(RegisterError, match=f"model {theirs}, .* is {ours}"):
        serve.main(["run", "--onnx", str(onnx_path)])
    copied = tmp_path / "register" / "models" / f"{ours}.onnx"
    shutil.copyfile(onnx_path, copied)
    with pytest.raises(RegisterError, match=rf"models/{ours}\.onnx was changed"):
        run("identify", first)
    copied.unlink()
    run("reembed", "--run", run_folder)
    monkeypatch.setattr("app.training.checkpoint.Checkpoint.read", None)  # the network need not be in memory
    monkeypatch.setenv("REGISTER_ONNX", str(onnx_path))
    assert run("identify", first)["decision"] == "unknown"
    with pytest.raises(SettingsError, match="--run or --onnx"):
        run("reembed")
