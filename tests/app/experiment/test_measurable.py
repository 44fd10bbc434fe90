"""Splits are opened before training, and a checkpoint is written before it is measured."""

import csv
import json
from pathlib import Path

import pytest
import torch
from conftest import NETWORK, TRAINING, LocalFederation
from federation_checks import divide
from PIL import Image

from app.core.run_folder import RunFolder
from app.core.sample import Box, Sample
from app.data.dataset import open_source
from app.data.readers.reader import Direction
from app.evaluation.matches import count_matches
from app.experiment.baselines import Job, run_job
from app.experiment.compare import compare_models
from app.experiment.measurable import evaluation_problems, query_remarks, require_measurable
from app.settings.load import SettingsError, load_settings
from app.tasks import make_task
from scripts import baseline, inspect_data, simulate
from scripts.command import command

TINY = (
    "experiment=quickstart data=manifest data.partition.by=site federation.num_clients=2 "
    f"{NETWORK} {TRAINING} train.epochs=1"
)
READER = (
    "model.start= "
    "experiment=plates_countries data=manifest data.made_plates.share=0 model.backbone=test_resnet model.height=32 "
    "model.width=64 model.dim=16 model.layers=1 device=cpu federation.num_clients=2 data.partition.by=site"
)
NIGHT = (
    "experiment=roadscene data=manifest data.partition.by=site model.backbone=test_resnet model.pretrained=false "
    "device=cpu federation.num_clients=2"
)


def changed(root, folder, change):
    """The set at `root` with other rows: `change` takes one and gives it, changed, or None."""
    with (root / "manifest.csv").open(newline="", encoding="utf-8") as file:
        rows = [dict(row, path=str(root / row["path"])) for row in csv.DictReader(file)]
    rows = [row for row in map(change, rows) if row is not None]
    folder.mkdir()
    with (folder / "manifest.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    return folder


def without_test(row):
    return None if row["split"].startswith("test") else row


def one_camera(row):
    return row | {"camid": 0}


def two_cameras_in_training(row):
    """The rows to measure with are of one camera."""
    return row if row["split"] == "train" else row | {"camid": 0}


def other_vehicles(row):
    """The gallery shows none of the vehicles that are asked for."""
    return row | {"pid": int(row["pid"]) + 1000} if row["split"].endswith("_gallery") else row


def val_at_another_site(row):
    """Queries of each vehicle stand at one site and their matches at the other."""
    return row | {"site": "a" if row["split"] == "val_query" else "b"} if row["split"].startswith("val") else row


@pytest.mark.parametrize("script", [simulate.main, lambda words: baseline.main([*words, "mode=central"])])
@pytest.mark.parametrize(
    ("change", "more", "named"),
    [
        (
            without_test,
            "",
            ["data.eval_split=test", "has no split 'test'", "it has train, val, all", "data.holdout=0.2"],
        ),
        (one_camera, "", ["data.eval_split=test", "none of its 8 queries", "one camera alone", "camid is empty"]),
        (two_cameras_in_training, "", ["data.eval_split=test", "none of its 8 queries", "one camera alone"]),
        (other_vehicles, "", ["data.eval_split=test", "none of its 8 queries has a true match"]),
        (one_camera, "data.val_split=val", ["data.val_split=val", "data.val_split= measures no rounds"]),
        (lambda row: row, "data.val_split=vla", ["data.val_split=vla", "has no split 'vla'"]),
        (one_camera, "data.eval_split=holdout data.holdout=0.3", ["data.eval_split=holdout", "one camera alone"]),
        (lambda row: row, "data.eval_split=holdout", ["data.eval_split=holdout needs data.holdout above 0"]),
        (lambda row: row, "data.eval_split=", ["data.eval_split=:", "has no split ''"]),
    ],
)
def test_what_cannot_be_measured_stops_before_training(
    tmp_path, pictures_root, capsys, monkeypatch, script, change, more, named
):
    for started in (
        "app.experiment.training_alone.train",
        "scripts.simulate.simulate",
        "app.data.crops.ImageReader.vehicle",
    ):
        monkeypatch.setattr(started, None)
    root = changed(pictures_root, tmp_path / "set", change)
    words = [*f"{TINY} data.root={root} run_dir={tmp_path}/run {more}".split()]
    with pytest.raises(SystemExit) as ended:
        command(script, words)
    error = capsys.readouterr().err.strip()
    assert ended.value.code == 2
    assert error.count("\n") == 0
    assert all(part in error for part in named), error
    assert not (tmp_path / "run").exists()


def test_figures_that_rest_on_few_queries_say_so():
    rows = {
        "global": {"mAP": 1.0, "queries": 1.0, "skipped": 61.0},
        "local": {"mAP": 1.0, "queries": 1.0, "skipped": 61.0},
        "alone": {"mAP": 1.0, "queries": 9.0, "skipped": 0.0},
        "central": {"mAP": 1.0, "queries": 10.0, "skipped": 0.0},
        "plates": {"accuracy": 1.0, "queries": 2.0, "skipped": 3.0},
    }
    first, second = query_remarks(rows)
    assert first.startswith("measured by 1 of 62 queries: the others have no true match in another camera")
    assert second == "measured by 9 queries alone: one more or less changes every figure"


def test_a_match_at_another_client_measures_no_round(tmp_path, pictures_root):
    root = changed(pictures_root, tmp_path / "set", val_at_another_site)
    settings = load_settings(f"{TINY} data.root={root} data.val_split=val")
    source, task = open_source(settings.data, settings.seed), make_task(settings)
    with pytest.raises(SettingsError, match=r"data\.val_split=val: .* at the same client"):
        require_measurable(settings, source, task, 2)
    require_measurable(settings, source, task)  # one model on all images can be measured


def test_matches_are_counted_as_the_evaluation_counts_them(pictures_root, tmp_path):
    """Half of the vehicles have images of one camera, another has no gallery; against plain loops over all pairs."""

    def change(row):
        pid = int(row["pid"])
        if pid % 4 == 1 and row["split"].endswith("_gallery"):
            return None
        return row | {"camid": 0} if pid % 4 == 2 else row

    settings = load_settings(f"{TINY} data.root={changed(pictures_root, tmp_path / 'set', change)}")
    directions = open_source(settings.data, settings.seed).evaluation("all")
    directions += open_source(settings.data, settings.seed).evaluation("test")
    for direction, counts in zip(directions, count_matches(directions).values(), strict=True):
        expected = sum(any(g.pid == q.pid and g.camid != q.camid for g in direction.gallery) for q in direction.query)
        assert counts[:3] == (len(direction.query), len(direction.gallery), expected)
        task = make_task(settings)
        found = task.evaluate(task.build(2, 0), [direction], torch.device("cpu")).measures
        assert found["queries"] == expected
    assert 0 < expected < len(direction.query)


def sample(pid, camid, **more):
    return Sample(Path(f"{pid}-{camid}.png"), pid, camid, **more)


@pytest.mark.parametrize(
    ("words", "good", "bad", "named"),
    [
        (
            NIGHT,
            Direction("d", (sample(1, 0),), (sample(1, 1, modality="infrared"),)),
            Direction("d", (sample(1, 0),), (sample(1, 1),)),
            "nothing to measure",
        ),
        (
            NIGHT,
            Direction("d", (sample(1, 0),), (sample(1, 1, modality="infrared"),)),
            Direction("d", (sample(1, 0),), (sample(2, 1, modality="infrared"),)),
            "in the other modality",
        ),
        (
            READER,
            Direction("d", (sample(1, 0, plate_text="AB 1", plate_boxes=(Box(0, 0, 9, 9),)),), ()),
            Direction("d", (sample(1, 0, plate_text="AB 1"), sample(2, 0, plate_text="???")), ()),
            "has a plate with a text",
        ),
        (
            f"{TINY} evaluation.embedding=plate model.plate.backbone=test_efficientnet".replace("model.plate=null", ""),
            Direction("d", *((sample(1, camid, plate_boxes=(Box(0, 0, 9, 9),)),) for camid in (0, 1))),
            Direction("d", (sample(1, 0), sample(2, 0, plate_boxes=(Box(0, 0, 9, 9),))), (sample(1, 1),)),
            "none of its 1 queries",
        ),
    ],
)
def test_every_task_counts_what_it_measures(words, good, bad, named, monkeypatch, pictures_root):
    settings = load_settings(f"{words} data.root={pictures_root}")
    source, task = open_source(settings.data, settings.seed), make_task(settings)
    monkeypatch.setattr(type(source), "evaluation", lambda *_: [good])
    require_measurable(settings, source, task)
    monkeypatch.setattr(type(source), "evaluation", lambda *_: [bad])
    assert named in next(evaluation_problems(settings, source, task))


def test_the_splits_that_are_measured_are_shown(pictures_root, tmp_path, capsys):
    words = [*TINY.split(), f"data.root={pictures_root}", "data.val_split=val"]
    inspect_data.main(words)
    shown = capsys.readouterr().out
    direction = {"query_to_gallery": {"queries": 8, "gallery": 8, "matched": 8}}
    assert json.loads(shown.splitlines()[-1])["evaluation"] == {"val": direction, "test": direction}
    assert "with a true match" in shown
    root = changed(pictures_root, tmp_path / "set", without_test)
    inspect_data.main([*words[:-2], f"data.root={root}", "data.val_split="])
    shown = capsys.readouterr().out
    assert "has no split 'test'" in json.loads(shown.splitlines()[-1])["evaluation"]["test"]["error"]
    assert "test: " in shown


def unreadable(root):
    """Every image of the split test becomes a damaged file."""
    for path in root.glob("test-*.png"):
        path.write_bytes(b"no image")
    return root


def copied(root, folder):
    folder.mkdir()
    for path in root.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    return folder


@pytest.mark.parametrize("partition_id", [None, 1])
def test_a_model_that_cannot_be_measured_is_not_lost(tmp_path, pictures_root, partition_id):
    """What counting cannot see: none of the images opens."""
    root = unreadable(copied(pictures_root, tmp_path / "set"))
    settings = load_settings(f"{TINY} data.root={root}")
    require_measurable(settings, open_source(settings.data, settings.seed), make_task(settings))
    with pytest.raises(ValueError, match=r"the model is in .*central\.safetensors"):
        run_job(Job("central", partition_id, settings, tmp_path / "run"))
    assert RunFolder(tmp_path / "run").has_arrays("central")


def test_federated_models_that_cannot_be_measured_are_not_lost(tmp_path, pictures_root, base_overrides):
    root = copied(pictures_root, tmp_path / "set")
    words = base_overrides.replace(str(pictures_root), str(root))
    run = LocalFederation(tmp_path / "run", f"{words} federation.rounds=1 train.epochs=1").run()
    unreadable(root)
    with pytest.raises(ValueError, match="can be read"):
        compare_models(run.settings, run.folder)
    assert all(run.folder.has_arrays(name) for name in ("global", "local-client-0", "local-client-1"))


@pytest.mark.slow
def test_a_site_says_once_in_its_own_log_what_it_cannot_measure(tmp_path, pictures_root, base_overrides, caplog):
    """Its training goes on: other sites may measure."""
    parts = divide(pictures_root, tmp_path / "parts")
    parts["a"] = changed(parts["a"], tmp_path / "one-camera", one_camera)
    words = base_overrides.replace("data.partition.by=site", "")
    nodes = [
        {"client": site, "data": "manifest", "data-root": str(root), "state-dir": str(tmp_path / site / "node")}
        for site, root in parts.items()
    ]
    run = LocalFederation(tmp_path / "run", f"{words} federation.rounds=1 train.epochs=1", nodes).run()
    said = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert [line.split(": ")[0] for line in said] == ["a", "a"]
    assert "data.val_split=val: none of its 4 queries" in said[0]
    assert "data.eval_split=test: none of its 4 queries" in said[1]
    assert run.folder.read_summary()["measures"]["global_queries"] == 4  # of the other site


def test_images_of_a_manifest_without_cameras_are_compared(tmp_path, pictures_root):
    """The remedy that the error names."""
    root = changed(pictures_root, tmp_path / "set", lambda row: row | {"camid": ""})
    settings = load_settings(f"{TINY} data.root={root}")
    require_measurable(settings, open_source(settings.data, settings.seed), make_task(settings), 2)


def test_the_images_of_the_written_set_can_be_opened(pictures_root):
    """The tests above replace some of them: this is what they began with."""
    with Image.open(next(pictures_root.glob("test-*.png"))) as image:
        assert image.size == (32, 32)
