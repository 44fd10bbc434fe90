"""Equalisation by itself: the command, its report, and what it says of mistakes."""

import json
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from conftest import NETWORK, TRAINING, VEHICLES
from flwr.common.logger import FLOWER_LOGGER
from test_commands import fails

from app.data.dataset import open_source
from app.experiment.baselines import equalise_alone
from app.settings.load import load_settings, settings_from
from app.tasks.image_files import embed_samples
from app.training.checkpoint import Checkpoint
from scripts import baseline, equalise

pytestmark = pytest.mark.slow

ALL = [
    "data.equalise.base=-1",
    "data.equalise.interval=[-1,1]",
    "data.equalise.suspect_margin=2",
]  # every draft is kept
SIX = ["data.equalise.target=6", *ALL]  # of four images each


@pytest.fixture
def words(pictures_root, tmp_path):
    return [
        "data=manifest",
        f"data.root={pictures_root}",
        "data.partition.by=site",
        "federation.num_clients=2",
        *NETWORK.split(),
        *TRAINING.split(),
        "train.epochs=1",
        "data.equalise.own_epochs=0.3",
        f"data.equalise.folder={tmp_path / 'equalised'}",
    ]


@pytest.fixture
def run(words, capsys):
    """What the command prints last, and what it says on standard error."""

    def command(*more, words=words):
        equalise.main([*words, *more])
        said = capsys.readouterr()
        return json.loads(said.out.strip().splitlines()[-1]), said.err

    return command


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory, pictures_root):
    """A centralised model of a tiny network."""
    folder = tmp_path_factory.mktemp("runs") / "central"
    data = ["data=manifest", f"data.root={pictures_root}", "data.partition.by=none", f"run_dir={folder}"]
    baseline.main([*data, *NETWORK.split(), *TRAINING.split(), "train.epochs=0.3", "mode=central"])
    return folder


def test_all_images_are_equalised_and_shown(run, tmp_path):
    found, said = run(*SIX)
    vehicles = sum(VEHICLES.values())
    assert found["kept"] == 2 * vehicles
    assert found["target"] == 6
    assert found["left_out"] == found["warnings"] == 0
    assert "warning" not in said
    report = Path(found["report"])
    assert report.parent == Path(found["folder"])
    assert report.parent.parent == tmp_path / "equalised"
    assert sorted(path.name for path in report.parent.iterdir()) == ["record.json", "report.html", "report.png"]
    assert len(json.loads((report.parent / "record.json").read_text())["own"]) == 4 * vehicles
    assert "manifest, central" in report.read_text()


def test_warnings_are_said_each_time(run):
    first, said = run("data.equalise.target=6", "data.equalise.base=1")
    assert first["warnings"] == sum(VEHICLES.values())
    assert said.count("warning: vehicle 3 has no base image") == 1
    again, said = run("data.equalise.target=6", "data.equalise.base=1")
    assert again == {**first, "reused": True}  # seconds as well: the record was there
    assert said.count("warning: vehicle 3 has no base image") == 1


def test_one_client_s_record_is_the_one_that_its_training_uses(run, words):
    found, _ = run(*SIX, "client=1")
    assert found["kept"] == 2 * VEHICLES["b"]
    settings = load_settings([*words, *SIX])
    samples = open_source(settings.data, settings.seed).parts(2)[1]
    used = equalise_alone(settings, samples, "client-1")
    assert str(used.folder) == found["folder"]


def test_without_a_target_wrong_labels_are_looked_for_alone(run):
    found, _ = run("data.equalise.suspect_margin=-2")
    assert found["target"] is None
    assert found["kept"] == 0
    assert found["suspects"] == 4 * sum(VEHICLES.values())
    assert found["left_out"] == 0  # nobody trains on it
    assert "Labels in doubt" in Path(found["report"]).read_text()


def test_a_run_gives_settings_and_pre_model(run, run_folder, tmp_path):
    """Cosines to centres taken here, with the checkpoint's network."""
    of_run = [f"run={run_folder}", "model=central", f"data.equalise.folder={tmp_path / 'equalised'}"]
    found, _ = run(*SIX, words=of_run)
    record = json.loads((Path(found["folder"]) / "record.json").read_text())
    checkpoint = Checkpoint.read(run_folder, "central")
    settings = settings_from(checkpoint.settings)
    task, network = checkpoint.network(settings)
    samples = open_source(settings.data, settings.seed).train()
    rows = embed_samples(task, network, samples).libraries["vehicle"].astype(float)
    for place, sample in enumerate(samples):
        mean = sum(row for row, other in zip(rows, samples, strict=True) if other.pid == sample.pid)
        # Rounded to five digits.
        assert record["own"][place] == pytest.approx(rows[place] @ mean / np.linalg.norm(mean), abs=1e-5)


def test_what_is_given_beside_a_run_holds(run, run_folder, tmp_path):
    of_run = [f"run={run_folder}", "model=central", f"data.equalise.folder={tmp_path / 'equalised'}"]
    found, _ = run(*SIX, words=of_run)
    own, _ = run(*SIX, "data.equalise.model=own", "data.equalise.own_epochs=2", words=of_run)
    records = [json.loads((Path(each["folder"]) / "record.json").read_text()) for each in (found, own)]
    assert records[0]["own"] != records[1]["own"]


def test_mistakes_end_with_one_line(words, run_folder, tmp_path, capsys):
    fail = partial(fails, capsys, equalise.main)
    assert "client must be a whole number from 0 to 1; got '2'" in fail([*words, *SIX, "client=2"])
    assert "client must be a whole number from 0 to 1; got '-1'" in fail([*words, *SIX, "client=-1"])
    assert "client must be a whole number from 0 to 1; got 'a'" in fail([*words, *SIX, "client=a"])
    assert "run= is without a value" in fail(["run="])
    assert "there are: central" in fail([f"run={run_folder}"])
    assert "checkpoint not found" in fail([*words, *SIX, f"data.equalise.model={tmp_path}/none.safetensors"])
    assert "data.equalise.target" in fail([*words, "data.equalise.target=most"])
    assert "unknown key data.equalise.goal" in fail([*words, "data.equalise.goal=3"])
    (tmp_path / "file").write_text("no folder")
    assert "file" in fail([*words, *SIX, f"data.equalise.folder={tmp_path / 'file'}"])
    plates = ["experiment=plates_made", "data=manifest", f"data.root={tmp_path}", "data.equalise.target=3"]
    assert "the task plate_text has no embeddings" in fail(plates)


def test_a_client_without_images_is_named(words, capsys):
    spread = [*words, "data.partition.by=dirichlet", "data.partition.alpha=0.001", "federation.num_clients=20"]
    settings = load_settings(spread)
    parts = open_source(settings.data, settings.seed).parts(20)
    line = fails(capsys, equalise.main, [*spread, *SIX, f"client={parts.index([])}"])
    assert f"no training images for client-{parts.index([])}" in line


def test_a_folder_that_fills_up_is_named(words, monkeypatch, capsys):
    def full(*_):
        raise OSError("No space left on device")

    monkeypatch.setattr("app.equalise.store.EnhancedFiles.write_record", full)
    # Flower writes to standard error as well, once it has been imported: by this test or by an earlier one.
    monkeypatch.setattr(FLOWER_LOGGER, "handlers", [])
    monkeypatch.setattr(FLOWER_LOGGER, "propagate", False)
    assert "cannot be written, there is no folder for the report" in fails(capsys, equalise.main, [*words, *SIX])
