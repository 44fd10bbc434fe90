"""Equalisation of a client's pictures from end to end: a real network, real files, a real federation."""

import errno
import hashlib
import json
import os
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
from app.client_batches import ClientBatches
from app.comparison import Job, equalise_alone, run_job, train_alone
from app.data import enhanced_drafts, enhanced_files
from app.data.equalise_settings import KINDS
from app.data.sample import Box, Sample
from app.data.source import open_source
from app.equalisation import equalise
from app.node_store import NodeStore
from app.settings import SettingsError, load_settings
from app.tasks import make_task

SURE = "data.equalise.suspect_margin=2 data.equalise.suspect_below=2"  # no label is doubted
INSIDE = "data.equalise.interval=[-1,1]"  # every candidate is good enough
ALL = f"{SURE} {INSIDE}"


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
        f"{SURE} data.equalise.target=4 data.equalise.base=-1 "
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


def test_enhanced_pictures_are_made_of_undoubted_base_pictures_alone(make):
    settings = make("data.equalise.target=6 data.equalise.base_quantile=0.4", ALL)
    found = run(settings)
    base = {place for place, cosine in enumerate(found.record["own"]) if cosine > found.record["threshold"]}
    assert 0 < len(base) < 11
    assert {row["place"] for row in found.record["kept"]} <= base
    doubted = run(make("data.equalise.target=6 data.equalise.base=-1 data.equalise.suspect_margin=-0.3", INSIDE))
    suspects = {row["place"] for row in doubted.record["suspects"]}
    assert suspects
    assert doubted.record["kept"]
    assert not {row["place"] for row in doubted.record["kept"]} & suspects


def test_no_more_is_drawn_than_is_wanted_and_allowed(make):
    easy = run(make("data.equalise.target=6 data.equalise.base=-1", ALL)).record
    assert len(easy["drawn"]) == len(easy["kept"]) == 6 * 4 - 11
    hard = run(make("data.equalise.target=6 data.equalise.base=-1 data.equalise.interval=[-1,-0.999]", SURE)).record
    assert len(hard["drawn"]) == 3 * (6 * 4 - 11)
    assert len(hard["refused"]) == 12


def test_boxes_plates_and_infrared_pictures(make, tmp_path, monkeypatch):
    """An enhanced picture is the vehicle alone; its plate is neither mirrored nor hidden; infrared stays grey."""
    rng, samples = np.random.default_rng(0), []
    for i in range(6):
        path, modality = tmp_path / f"{i}.png", "infrared" if i % 2 else "visible"
        pixels = np.zeros((90, 120, 3), np.uint8)
        pixels[20:60, 30:80] = rng.integers(60, 250, (40, 50, 1 if i % 2 else 3))
        Image.fromarray(pixels).save(path)
        boxes = (Box(40, 40, 20, 10),)
        samples.append(Sample(path, i // 3, i, vehicle_box=Box(30, 20, 50, 40), plate_boxes=boxes, modality=modality))
    kinds = []
    whole = enhanced_drafts.enhanced

    def note(picture, own, rng, *, infrared=False):
        kinds.append((tuple(picture.shape[1:]), tuple(own)))
        return whole(picture, own, rng, infrared=infrared)

    monkeypatch.setattr(enhanced_drafts, "enhanced", note)
    found = run(make("data.equalise.target=4 data.equalise.base=-1", ALL), samples)
    made = [sample for sample in found.samples if sample.enhanced]
    assert len(made) == 4 * 4 - 6  # two vehicles in two modalities
    for sample in made:
        assert sample.vehicle_box is None
        assert sample.plate_boxes == ()
        with Image.open(sample.path) as file:
            pixels = np.asarray(file.convert("RGB")).astype(int)
        assert pixels.shape == (40, 50, 3)
        if sample.modality == "infrared":
            assert np.ptp(pixels, axis=2).max() <= 4  # as JPEG leaves grey
    assert {own for shape, own in kinds if shape == (12, 24)} == {("colour", "blur", "night")}
    assert {own for shape, own in kinds if shape == (40, 50)} == {KINDS}


def test_what_depends_on_the_pictures_is_made_anew(make, tmp_path):
    settings = make("data.equalise.target=4 data.equalise.base=-1", ALL)
    samples = pictures_of(settings)
    copy = tmp_path / "copy.png"
    shutil.copy(samples[0].path, copy)
    samples = [replace(samples[0], path=copy), *samples[1:]]
    keys = {run(settings, samples).folder}
    os.utime(copy, ns=(0, 0))
    keys.add(run(settings, samples).folder)
    keys.add(run(settings, [*samples[:-1], replace(samples[-1], pid=2)]).folder)
    for other in ("data.equalise.candidates=2", "data.equalise.base=-0.9", "model.embedding_dim=8"):
        keys.add(run(make("data.equalise.target=4 data.equalise.base=-1", ALL, other), samples).folder)
    assert len(keys) == 6
    same = make("data.equalise.target=4 data.equalise.base=-1", ALL, "data.equalise.sample_down=false train.lr=1")
    assert run(same, samples).folder in keys


def test_a_truncated_picture_is_made_again(make, tmp_path):
    settings = make("data.equalise.target=4 data.equalise.base=-1", ALL)
    first = run(settings)
    file = tmp_path / "kept" / first.record["kept"][0]["file"]
    whole = file.read_bytes()
    file.write_bytes(b"")
    assert run(settings).samples == first.samples
    assert file.read_bytes() == whole


def test_a_lost_report_is_written_again(make):
    settings = make("data.equalise.target=4 data.equalise.base=-1", ALL)
    folder = run(settings).folder
    (folder / "report.html").unlink()
    run(settings)
    assert (folder / "report.html").is_file()


def test_embeddings_that_are_not_finite_are_said(make):
    settings = make("data.equalise.target=4", ALL)

    def broken():
        network = network_of(settings)
        with torch.no_grad():
            next(network.parameters()).fill_(float("nan"))
        return network

    found = equalise(settings, pictures_of(settings), broken, model_key="broken", seed=0)
    assert found.samples == pictures_of(settings)
    assert any("not finite" in warning for warning in found.record["warnings"])
    json.dumps(found.record, allow_nan=False)


def test_training_and_its_summary_use_what_was_made(make, tmp_path):
    settings = make("data.equalise.target=4 data.equalise.base=-1 data.equalise.own_epochs=0.1", ALL, "train.epochs=1")
    row = run_job(Job("central", None, settings, tmp_path))
    assert row["training"]["equalised"]["kept"] == 5
    plain = run_job(Job("central", None, make("train.epochs=1"), tmp_path))
    assert "equalised" not in plain["training"]
    assert plain["training"]["pictures"] == row["training"]["pictures"]  # an epoch is as long


def test_what_cannot_be_equalised_is_said_at_the_start(make, tmp_path):
    with pytest.raises(SettingsError, match="the task plate_text has no embeddings"):
        load_settings("experiment=plates_made data.equalise.target=3")
    with pytest.raises(SettingsError, match=r"from_round=9 is after the last round"):
        make("data.equalise.target=3 data.equalise.from_round=9 federation.rounds=8")
    assert make("data.equalise=median").data.equalise.target == "median"
    assert make("data.equalise=7").data.equalise.target == 7
    for model, error in (("none.safetensors", FileNotFoundError), ("other.safetensors", SettingsError)):
        save_file({"other": np.zeros(3, np.float32)}, tmp_path / "other.safetensors")
        settings = make("data.equalise.target=3", f"data.equalise.model={tmp_path / model}")
        task = make_task(settings)
        with pytest.raises(error, match=r"data\.equalise\.model"):
            ClientBatches(settings, task, "a", pictures_of(settings), NodeStore(tmp_path / "s"), task.build(4, 0))


def test_a_client_takes_the_model_of_now_where_nothing_is_left_of_the_noted_one(make, tmp_path):
    settings = make("data.equalise.target=4 data.equalise.base=-1 data.equalise.model=global", ALL)
    samples, store, task = pictures_of(settings), NodeStore(tmp_path / "store"), make_task(settings)
    networks = [task.build(4, seed) for seed in (0, 1)]

    def folder_in(server_round, network):
        batches = ClientBatches(settings, task, "a", samples, store, network)  # a new process
        batches.of_round(server_round, network)
        return batches.equalised.folder

    first = folder_in(3, networks[0])
    assert folder_in(4, networks[1]) == first  # what was made is found
    assert folder_in(3, networks[1]) != first  # the round was taken back
    second = folder_in(4, networks[0])
    assert second == folder_in(3, networks[1])
    shutil.rmtree(tmp_path / "kept")
    assert folder_in(5, networks[0]) == first  # under the key of its own network


def test_a_stream_is_that_of_its_round(make, tmp_path):
    settings = make(
        "data.equalise.target=4 data.equalise.base=-1 data.equalise.model=global data.equalise.from_round=2", ALL
    )
    task = make_task(settings)
    network = task.build(4, 0)
    batches = ClientBatches(settings, task, "a", pictures_of(settings), NodeStore(tmp_path / "store"), network)
    plain, equal = (batches.of_round(number, network) for number in (1, 2))
    assert len(plain.samples) == 11
    assert len(equal.samples) == 16
    assert batches.of_round(1, network) is plain


def test_a_real_node_keeps_what_it_makes_below_its_own_folder(root, tmp_path):
    """Whatever the server's settings say."""
    node = {"client": "garage", "data": "manifest", "data-root": str(root), "state-dir": str(tmp_path / "state")}
    words = f"{NETWORK} {TRAINING} privacy=plain data.equalise.folder={tmp_path / 'public'}"
    client_app._make_client.cache_clear()
    client = client_app._make_client(words, tuple(sorted(node.items())), "0" * 16, 1)
    assert client.settings.data.equalise.folder == str(tmp_path / "state" / "equalised")


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
    records = list((tmp_path / "kept").glob("*/record.json"))
    assert len(records) == 2  # one a client, in two equalised rounds
    # Six wanted of each vehicle, four there: five vehicles and three.
    assert sorted(len(json.loads(record.read_text())["kept"]) for record in records) == [6, 10]
    assert all((record.parent / "report.html").is_file() for record in records)
    assert "enhanced" not in json.dumps(federation.lines())  # how many a site makes tells how many pictures it has
    notes = {note.read_text().split()[0] for note in federation.folder.path.glob("nodes/**/pre_model.txt")}
    assert notes == {"2"}
    assert all(json.loads(record.read_text())["target"] == 6 for record in records)
