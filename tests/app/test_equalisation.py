"""Equalisation of a client's pictures from end to end: a real network, real files, a real federation."""

import errno
import hashlib
import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from conftest import NETWORK, TRAINING, write_set
from PIL import Image
from safetensors.numpy import save_file

from app import client_app
from app.arrays import float_arrays
from app.comparison import equalise_alone, train_alone
from app.data import enhanced_files
from app.data.source import open_source
from app.equalisation import equalise
from app.settings import SettingsError, load_settings
from app.tasks import make_task

SURE = "data.equalise.suspect_margin=2"  # no label is doubted
ALL = f"{SURE} data.equalise.interval=[-1,1]"  # and every candidate is good enough


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """Vehicles 0 to 3 have 4, 4, 2 and 1 pictures to train on."""
    folder = write_set(tmp_path_factory.mktemp("equalise") / "set", vehicles={"a": 4})
    lines = (folder / "manifest.csv").read_text(encoding="utf-8").splitlines(keepends=True)
    out = ("train-2-2", "train-2-3", "train-3-1", "train-3-2", "train-3-3")
    (folder / "manifest.csv").write_text("".join(x for x in lines if not x.startswith(out)), encoding="utf-8")
    return folder


@pytest.fixture
def make(root, tmp_path):
    def settings_of(*words, folder=tmp_path / "kept"):
        return load_settings(
            f"data=manifest data.root={root} data.partition.by=none {NETWORK} {TRAINING} train.epochs=1 "
            f"data.equalise.folder={folder} {' '.join(words)}"
        )

    return settings_of


def pictures_of(settings):
    return open_source(settings.data, 0).train()


def network_of(settings):
    task = make_task(settings)
    return task.build(4, 0).eval()


def run(settings, samples=None, seed=0):
    samples = pictures_of(settings) if samples is None else samples
    return equalise(settings, samples, lambda: network_of(settings), model_key="fixed", seed=seed)


def embeddings(settings, samples):
    task = make_task(settings)
    network = task.build(4, 0).eval()
    found = task.embeddings(network, samples, torch.device("cpu"))
    return dict(zip(found.samples, found.libraries["vehicle"].astype(np.float64), strict=True))


def test_every_kept_picture_lies_within_the_interval(make):
    """Embedded again from its file and compared with a mean taken here."""
    settings = make("data.equalise.target=4 data.equalise.base=-1", ALL)
    wide = run(settings)
    cosines = sorted(row["cosine"] for row in wide.record["kept"] + wide.record["refused"])
    low, high = np.quantile(cosines, [0.3, 0.8]).round(4).tolist()
    settings = make(
        f"data.equalise.target=4 data.equalise.base=-1 data.equalise.suspect_margin=2 "
        f"data.equalise.interval=[{low},{high}] data.equalise.candidates=8"
    )
    found = run(settings)
    own = [sample for sample in found.samples if not sample.enhanced]
    made = [sample for sample in found.samples if sample.enhanced]
    assert own == pictures_of(settings)
    assert made
    rows = embeddings(settings, found.samples)
    for sample, row in zip(made, found.record["kept"], strict=True):
        mean = sum(rows[other] for other in own if other.pid == sample.pid)
        cosine = float(rows[sample] @ mean / np.linalg.norm(mean))
        # The same float32 network on a batch of another size.
        assert cosine == pytest.approx(row["cosine"], abs=1e-5)
        assert low < row["cosine"] < high
    assert all(not low < row["cosine"] < high for row in found.record["refused"])


def test_the_tail_is_filled_to_the_target(make):
    found = run(make("data.equalise.target=4 data.equalise.base=-1", ALL))
    counts = {pid: sum(sample.pid == pid for sample in found.samples) for pid in range(4)}
    assert counts == dict.fromkeys(range(4), 4)
    for sample in found.samples:
        if sample.enhanced:
            assert sample.has_plate
            # 12 x 6 with a tenth on each side, rounded outwards; the vehicle whole.
            for path, size in ((sample.plate_path, (16, 8)), (sample.path, (32, 32))):
                with Image.open(path) as picture:
                    assert picture.size == size


def test_seed_and_settings_decide_and_a_second_start_embeds_nothing(make, tmp_path):
    words = "data.equalise.target=4 data.equalise.base=-1", ALL
    first = run(make(*words))
    elsewhere = run(make(*words, folder=tmp_path / "elsewhere"))
    names = [[row["file"] for row in found.record["kept"]] for found in (first, elsewhere)]
    assert names[0] == names[1]
    assert [row["file"] for row in run(make(*words), seed=1).record["kept"]] != names[0]

    def forbidden():
        raise AssertionError("the record was there")

    settings = make(*words)
    again = equalise(settings, pictures_of(settings), forbidden, model_key="fixed", seed=0)
    assert again.samples == first.samples
    other = equalise(settings, pictures_of(settings), lambda: network_of(settings), model_key="another", seed=0)
    assert other.folder != first.folder
    (tmp_path / "kept" / names[0][0]).unlink()  # somebody tidied up
    assert run(settings).samples == first.samples
    assert (tmp_path / "kept" / names[0][0]).is_file()


def test_files_are_the_owner_s_and_named_by_their_bytes(make, tmp_path):
    found = run(make("data.equalise.target=4 data.equalise.base=-1", ALL))
    for row in found.record["kept"]:
        data = (tmp_path / "kept" / row["file"]).read_bytes()
        assert row["file"].endswith(f"/{hashlib.sha256(data).hexdigest()[:32]}.jpg")
    assert (tmp_path / "kept").stat().st_mode & 0o077 == 0
    assert not list((tmp_path / "kept").glob(".drafts*"))


def test_nothing_above_the_threshold_is_said_by_name(make):
    found = run(make("data.equalise.target=4 data.equalise.base=1"))
    assert found.record["kept"] == []
    assert [sample for sample in found.samples if sample.enhanced] == []
    warnings = found.record["warnings"]
    assert any(w.startswith("vehicle 2 has no base picture") for w in warnings)
    assert any(w.startswith("vehicle 3 has no base picture") for w in warnings)
    assert len(found.samples) == 11


def test_an_interval_that_nothing_meets_is_said_by_name(make):
    found = run(make("data.equalise.target=4 data.equalise.base=-1 data.equalise.interval=[-1,-0.999]", SURE))
    assert found.record["kept"] == []
    assert any("vehicle 3: 0 of 3 wanted" in warning for warning in found.record["warnings"])
    assert found.record["refused"]


def test_identical_pictures_and_broken_ones(make, tmp_path):
    settings = make("data.equalise.target=4 data.equalise.base=0.65", ALL)
    samples = pictures_of(settings)
    copy, broken = tmp_path / "copy.png", tmp_path / "broken.png"
    shutil.copy(samples[0].path, copy)
    broken.write_bytes(b"nothing")
    twins = [samples[0], replace(samples[0], path=copy, camid=1), *samples[4:8], replace(samples[8], path=broken)]
    found = run(settings, twins)
    assert sum(sample.pid == samples[0].pid for sample in found.samples) == 4
    assert any("1 of 7 pictures cannot be embedded" in warning for warning in found.record["warnings"])
    assert found.samples[6].path == broken  # it stays: reading it is somebody else's error
    assert found.record["own"][6] is None


def test_a_full_disk_costs_the_pictures_and_not_the_run(make, monkeypatch):
    written = 0

    def full(picture, path):
        nonlocal written
        written += 1
        if written > 4:
            raise OSError(errno.ENOSPC, "No space left on device")
        whole(picture, path)

    whole = enhanced_files.write_draft
    monkeypatch.setattr("app.data.enhanced_drafts.write_draft", full)
    settings = make("data.equalise.target=4 data.equalise.base=-1", ALL)
    found = run(settings)
    assert any("No space left on device" in warning for warning in found.record["warnings"])
    task, network, _ = train_alone(settings, found.samples, "x")
    assert task is not None
    assert network is not None


def test_a_folder_that_cannot_be_made(make, tmp_path):
    (tmp_path / "file").write_text("no folder")
    found = run(make("data.equalise.target=4 data.equalise.base=-1", ALL, folder=tmp_path / "file"))
    assert found.folder is None
    assert found.record["kept"] == []
    assert any("cannot be written" in warning for warning in found.record["warnings"])


def test_a_model_that_does_not_fit_is_named(make, tmp_path):
    settings = make("data.equalise.target=4", f"data.equalise.model={tmp_path / 'none.safetensors'}")
    with pytest.raises(FileNotFoundError, match=r"data.equalise.model: checkpoint not found: .*none.safetensors"):
        equalise_alone(settings, pictures_of(settings), "x")
    save_file({"other": np.zeros(3, np.float32)}, tmp_path / "other.safetensors")
    settings = make("data.equalise.target=4", f"data.equalise.model={tmp_path / 'other.safetensors'}")
    with pytest.raises(SettingsError, match=r"other.safetensors does not fit: array '.*' is missing"):
        equalise_alone(settings, pictures_of(settings), "x")
    with pytest.raises(SettingsError, match=r"data.equalise.library must be one of vehicle"):
        run(make("data.equalise.target=4 data.equalise.library=plate"))


def test_a_checkpoint_as_the_pre_model(make, tmp_path):
    plain = make()
    save_file(float_arrays(network_of(plain)), tmp_path / "model.safetensors")
    words = "data.equalise.target=4 data.equalise.base=-1", ALL
    settings = make(*words, f"data.equalise.model={tmp_path / 'model.safetensors'}")
    found = equalise_alone(settings, pictures_of(settings), "x")
    own = run(make(*words, folder=tmp_path / "elsewhere"))
    assert found.record["own"] == own.record["own"]


def test_suspects_are_left_out_but_no_vehicle_is(make):
    settings = make("data.equalise.suspects=leave_out data.equalise.base=1 data.equalise.suspect_margin=-2")
    samples = pictures_of(settings)
    found = run(settings, samples)
    assert len(found.record["suspects"]) == 10  # everything but the picture that is alone
    assert {sample.pid for sample in found.samples} == {0, 1, 2, 3}
    assert len(found.samples) < len(samples)
    assert len(found.samples) + len(found.record["left_out"]) == len(samples)


def test_clients_of_a_federation_equalise_once(make_federation, tmp_path):
    """From round 2 on, with the global model of that round; another process of the node finds what was made."""
    words = (
        f"{ALL} data.equalise.target=6 data.equalise.base=-1 data.equalise.model=global "
        f"data.equalise.from_round=2 data.equalise.folder={tmp_path / 'kept'} data.equalise.candidates=1"
    )
    federation = make_federation(changes=words)

    def forget(_, reply):
        client_app._make_client.cache_clear()  # a new process for each message
        return reply

    federation.run(forget)
    lines = federation.lines()
    counts = [{c: row.get("enhanced_pictures") for c, row in line["clients"].items()} for line in lines]
    assert counts[0] == {"client-0": None, "client-1": None}
    # Six wanted of each vehicle, four there: five vehicles and three.
    assert counts[1] == counts[2] == {"client-0": 10, "client-1": 6}
    records = list((tmp_path / "kept").glob("*/record.json"))
    assert len(records) == 2  # one a client, in two equalised rounds
    assert all(json.loads(record.read_text())["target"] == 6 for record in records)
