"""Frozen files of every kind open and answer alike, before and after an upgrade of their settings."""

import gzip
import hashlib
import json
import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest
from frozen_files import FROZEN, answers_of_plates, boxes_of, embeddings_of, models_of
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

from app.core.run_folder import RunFolder
from app.core.site_runs import SiteModelError
from app.deployment.status import read_status
from app.detection.detector_file import read_detector, write_detector
from app.federation.recipe import Recipe
from app.settings import upgrades
from app.settings.load import SettingsError, load_settings, settings_from
from app.settings.upgrades import Step, Steps, added, moved, removed
from app.training.checkpoint import Checkpoint
from app.training.onnx_file import OnnxFile

# The files were computed on another machine: sums of some hundred float32 products in another order; rows of length 1.
ATOL = 1e-5
SEAL = b"\x72\x4a\x0a\x06sha256\x12\x40"  # in an ONNX file, before 64 digits of the digest of what is before it


@pytest.fixture(params=FROZEN, ids=lambda folder: folder.name)
def frozen(request, tmp_path):
    """A copy, so that no test changes what is frozen."""
    return Path(shutil.copytree(request.param, tmp_path / "frozen"))


@pytest.fixture
def expected(frozen):
    return json.loads((frozen / "expected.json").read_text(encoding="utf-8"))


@pytest.fixture
def detector(frozen):
    path = frozen / "detector.safetensors"
    path.write_bytes(gzip.decompress((frozen / "detector.safetensors.gz").read_bytes()))
    return path


def assert_same(found, expected):
    assert list(found) == list(expected)
    for library, row in expected.items():
        np.testing.assert_allclose(found[library], row, atol=ATOL)


def assert_answers(frozen, expected, detector):
    """Every kind of file says what it said when it was written."""
    for name, rows in expected["embeddings"].items():
        assert_same(embeddings_of(frozen / "checkpoints" / f"{name}.safetensors", frozen), rows)
    for name, digest in expected["digests"].items():
        assert Checkpoint.read(frozen / "checkpoints", name).digest == digest
    assert_same(embeddings_of(frozen / "dual.onnx", frozen), expected["embeddings"]["dual"])
    assert OnnxFile(frozen / "dual.onnx").digest == expected["onnx"]
    for found, told in zip(answers_of_plates(frozen / "checkpoints", frozen), expected["plates"], strict=True):
        assert found[0] == told[0]
        np.testing.assert_allclose(found[1], told[1], atol=ATOL)
    # Corners in pixels come from distances times a stride of up to 128.
    np.testing.assert_allclose(boxes_of(detector, frozen), expected["detector"], atol=128 * ATOL)
    [store] = (frozen / "node").iterdir()
    assert models_of(store, frozen / "models") == expected["node"]
    status = read_status(frozen / "run")
    assert (status["state"], status["round"], sorted(status["clients"])) == ("ended", 2, ["client-0", "client-1"])
    for folder in ("run", "checkpoints"):
        settings_from(RunFolder.existing(frozen / folder).read_settings())


def test_frozen_files_open_and_answer_alike(frozen, expected, detector):
    assert_answers(frozen, expected, detector)


def plus(monkeypatch, name, upgrade):
    """A further step of RUN or DETECTOR."""
    now = getattr(upgrades, name)
    monkeypatch.setattr(upgrades, name, now._replace(steps=(*now.steps, Step(now.version + 1, upgrade))))


def renamed(raw, before, after):
    """Settings as an older version with another name of a key would have written them."""
    raw = json.loads(json.dumps(raw))
    moved(raw, before, after)
    return raw


def rewrite_safetensors(path, change):
    """Change the metadata of a file, a dictionary of texts."""
    with safe_open(path, framework="numpy") as file:
        metadata = file.metadata()
    save_file(load_file(path), path, change(metadata))


def rewrite_onnx(path, change):
    model = onnx.load_from_string(path.read_bytes()[: -len(SEAL) - 64])
    metadata = change({entry.key: entry.value for entry in model.metadata_props})
    del model.metadata_props[:]
    onnx.helper.set_model_props(model, metadata)
    data = model.SerializeToString()
    path.write_bytes(data + SEAL + hashlib.sha256(data).hexdigest().encode())


def rewrite_json(path, change):
    path.write_text(json.dumps(change(json.loads(path.read_text(encoding="utf-8")))), encoding="utf-8")


def in_metadata(key, change):
    return lambda metadata: {**metadata, key: json.dumps(change(json.loads(metadata[key])))}


def change_all(frozen, detector, run, size):
    """Change the settings in every file: `run` those of a run, `size` those of the detector."""
    for path in (frozen / "checkpoints").glob("*.safetensors"):
        rewrite_safetensors(path, in_metadata("settings", run))
    rewrite_safetensors(detector, in_metadata("detector", size))
    rewrite_onnx(frozen / "dual.onnx", in_metadata("settings", run))
    for name in ("run", "checkpoints"):
        rewrite_json(frozen / name / "settings.json", run)
    [recipe] = (frozen / "node").glob("*/recipe.json")
    rewrite_json(recipe, lambda kept: {**kept, "settings": run(kept["settings"])})


def readings(frozen, detector):
    """Every reader of stored settings by name; each gives settings of a run typed, or a detector."""
    [store] = (frozen / "node").iterdir()
    settings = frozen / "run" / "settings.json"
    return {
        "checkpoint": lambda: settings_from(Checkpoint.read(frozen / "checkpoints", "dual").settings),
        "onnx": lambda: settings_from(OnnxFile(frozen / "dual.onnx").settings),
        "recipe": lambda: Recipe.read(store).typed(),
        "settings file": lambda: Recipe.from_settings_file(settings).typed(),
        "run folder": lambda: settings_from(RunFolder.existing(frozen / "run").read_settings()),
        "detector": lambda: read_detector(detector),
    }


def test_files_from_before_a_key_was_renamed_open_and_answer_alike(frozen, expected, detector, monkeypatch):
    change_all(
        frozen,
        detector,
        lambda raw: renamed(raw, "train.epochs", "train.passes"),
        lambda raw: renamed(raw, "size", "side"),
    )
    for name, read in readings(frozen, detector).items():
        with pytest.raises(ValueError, match=r"unknown key train\.passes|unknown key detector\.side"):
            pytest.fail(f"{name}: {read()}")
    plus(monkeypatch, "RUN", lambda raw: moved(raw, "train.passes", "train.epochs"))
    plus(monkeypatch, "DETECTOR", lambda raw: moved(raw, "side", "size"))
    assert_answers(frozen, expected, detector)
    for read in readings(frozen, detector).values():
        read()


def test_files_of_a_newer_version_are_refused_by_name(frozen, detector):
    newer = {"settings_version": "99"}
    rewrite_safetensors(frozen / "checkpoints" / "dual.safetensors", in_metadata("settings", lambda kept: kept | newer))
    rewrite_safetensors(detector, in_metadata("detector", lambda kept: kept | newer))
    rewrite_onnx(frozen / "dual.onnx", lambda kept: kept | newer)
    rewrite_json(frozen / "run" / "settings.json", lambda kept: kept | {"settings_version": 99})
    [recipe] = (frozen / "node").glob("*/recipe.json")
    rewrite_json(recipe, lambda kept: kept | {"settings_version": 99})
    names = {"checkpoint": "dual.safetensors", "onnx": "dual.onnx", "recipe": "recipe.json"}
    for name, read in readings(frozen, detector).items():
        file = names.get(name, "detector.safetensors" if name == "detector" else "settings.json")
        told = rf"{file} holds settings of a \w+ of version 99, .* up to \d+: use the version of the project that wrote"
        with pytest.raises(ValueError, match=told):
            pytest.fail(f"{name}: {read()}")


@pytest.mark.parametrize("version", ["", "-1", "one", "1.0", "\u0661", True, [], 10**10])
def test_a_version_that_is_none_is_named(frozen, version):
    path = frozen / "run" / "settings.json"
    rewrite_json(path, lambda kept: kept | {"settings_version": version})
    with pytest.raises(SettingsError, match=r"run/settings\.json: settings_version is .*, not a whole number"):
        RunFolder.existing(frozen / "run").read_settings()
    [recipe] = (frozen / "node").glob("*/recipe.json")
    rewrite_json(recipe, lambda kept: kept | {"settings_version": version})
    with pytest.raises(SiteModelError, match=r"recipe\.json: settings_version is"):
        Recipe.read(recipe.parent)


def test_what_is_written_says_its_version_and_is_not_upgraded_again(frozen, monkeypatch, tmp_path):
    """A step that adds 1 tells how often it was taken."""
    plus(monkeypatch, "RUN", lambda raw: added(raw, "seed", raw["seed"] + 1))
    old = Checkpoint.read(frozen / "checkpoints", "dual")
    assert old.settings["seed"] == 1
    old.write(tmp_path, "copy")
    assert Checkpoint.read(tmp_path, "copy").settings["seed"] == 1

    folder = RunFolder(tmp_path / "run")
    folder.write_settings({"seed": 5})
    assert folder.read_settings() == {"seed": 5}
    rewrite_json(folder.path / "settings.json", lambda kept: {"seed": kept["seed"]})
    assert folder.read_settings() == {"seed": 6}

    [recipe] = (frozen / "node").glob("*/recipe.json")
    kept = Recipe.read(recipe.parent)
    assert kept.settings["seed"] == 1
    assert kept.write(recipe.parent)
    assert not kept.write(recipe.parent)
    assert Recipe.read(recipe.parent) == kept


def test_a_detector_says_its_version(detector, monkeypatch):
    before = upgrades.DETECTOR.version
    plus(monkeypatch, "DETECTOR", lambda raw: added(raw, "convs", 1))
    write_detector(detector, *read_detector(detector))
    with safe_open(detector, framework="numpy") as file:
        assert json.loads(file.metadata()["detector"])["settings_version"] == before + 1


def test_a_renamed_key_of_the_network_leaves_the_digest(frozen, expected, monkeypatch, tmp_path):
    """A register knows its model by the digest: thresholds and embeddings stay with it."""
    path = frozen / "checkpoints" / "dual.safetensors"
    rewrite_safetensors(path, in_metadata("settings", lambda raw: renamed(raw, "model.embedding_dim", "model.dim")))
    plus(monkeypatch, "RUN", lambda raw: moved(raw, "model.dim", "model.embedding_dim"))
    first = Checkpoint.read(path.parent, "dual")
    assert first.settings["model"]["embedding_dim"] == 8
    assert first.digest != expected["digests"]["dual"]  # the file says another key than the frozen one
    with safe_open(path, framework="numpy") as file:
        raw = json.loads(file.metadata()["settings"])
    assert first.digest == Checkpoint(first.arrays, raw).digest
    first.write(tmp_path, "copy")
    again = Checkpoint.read(tmp_path, "copy")
    assert again.digest == first.digest
    again.write(tmp_path, "another")
    assert Checkpoint.read(tmp_path, "another").digest == first.digest


def test_steps_run_in_order_from_the_version_of_the_file():
    steps = Steps(
        "run",
        (
            Step(1, lambda raw: moved(raw, "a.x", "a.y")),
            Step(2, lambda raw: moved(raw, "a.y", "b.z")),
            Step(4, lambda raw: [removed(raw, "old"), added(raw, "b.new", 7)]),
        ),
    )
    raw = {"a": {"x": None, "kept": 1}, "old": 3}
    assert steps.upgraded("f", None, raw) == {"a": {"kept": 1}, "b": {"z": None, "new": 7}}
    assert raw == {"a": {"x": None, "kept": 1}, "old": 3}
    assert steps.upgraded("f", 1, {"a": {"y": 2}}) == {"a": {}, "b": {"z": 2, "new": 7}}
    assert steps.upgraded("f", "2", {"b": {}, "a": {"y": 2}}) == {"a": {"y": 2}, "b": {"new": 7}}
    assert steps.upgraded("f", "4", {"old": 1}) == {"old": 1}
    assert steps.version == 4


@pytest.mark.parametrize("raw", [{}, {"a": None}, {"a": 5}, {"a": []}, {"a": {"x": 1}}])
def test_steps_take_damaged_settings(raw):
    """What does not fit is named when the settings are typed, not by a traceback of a step."""
    step = Step(1, lambda raw: (moved(raw, "a.b.c", "a.d.e"), removed(raw, "x.y"), added(raw, "a.n", 1)))
    Steps("run", (step,)).upgraded("f", None, raw)


@pytest.mark.parametrize("raw", [None, [], "x", 5])
def test_settings_that_are_no_object_are_named(raw):
    with pytest.raises(SettingsError, match="f: its settings are no JSON object"):
        Steps("run").upgraded("f", None, raw)


def test_label_smoothing_that_a_loss_does_not_use_is_refused_and_left_out_of_older_files():
    with pytest.raises(SettingsError, match=r"label_smoothing=0.2 is for loss.classification=cross_entropy; arcface"):
        load_settings("loss.classification=arcface loss.label_smoothing=0.2")
    load_settings("loss.classification=arcface loss.label_smoothing=0")
    raw = load_settings("loss.label_smoothing=0.2").as_dict()
    assert settings_from(upgrades.RUN.upgraded("file", 2, raw)).loss.label_smoothing == 0.2
    raw["loss"]["classification"] = "focal"
    loss = settings_from(upgrades.RUN.upgraded("file", 2, raw)).loss
    assert (loss.classification, loss.label_smoothing) == ("focal", 0.1)


def test_a_file_with_the_circle_loss_as_a_plug_in_has_the_built_in_one():
    raw = load_settings("").as_dict()
    for name in ("circle_margin", "circle_scale"):
        del raw["loss"][name]
    for options, expected in (
        ({"margin": 0.4, "scale": 0.5}, (0.4, 0.5)),
        ({}, (0.25, 64.0)),
    ):  # the plug-in's defaults
        raw["loss"] |= {"metric": "circle", "metric_options": options}
        loss = settings_from(upgrades.RUN.upgraded("file", 1, raw)).loss
        assert (loss.metric, loss.circle_margin, loss.circle_scale, loss.metric_options) == ("circle", *expected, {})
    raw["loss"]["metric_options"] = {"margin": 0.4, "scale": 64.0, "mine": True}  # of another package's loss
    with pytest.raises(SettingsError, match=r"loss.metric_options are for a plug-in; circle has keys of its own"):
        settings_from(upgrades.RUN.upgraded("file", 1, raw))
    raw["loss"]["metric"] = "mine.losses:Far"
    assert upgrades.RUN.upgraded("file", 1, raw)["loss"] == raw["loss"]
