"""Equalisation of a client's images from end to end: a real network, real files."""

import errno
import hashlib
import json
import os
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from equalise_set import ALL, INSIDE, SURE, embeddings, images_of, network_of, run
from PIL import Image
from safetensors.numpy import save_file

from app.core.arrays import float_arrays
from app.core.sample import Box, Sample
from app.equalise import drafts, store
from app.equalise.run import equalise
from app.experiment.baselines import equalise_alone
from app.experiment.training_alone import train_alone
from app.settings.equalise import KINDS
from app.settings.load import SettingsError

pytestmark = pytest.mark.slow


def test_every_kept_image_lies_within_the_interval(equalise_settings):
    """Embedded again from its file and compared with a mean taken here."""
    settings = equalise_settings("data.equalise.target=4 data.equalise.base=-1", ALL)
    wide = run(settings)
    cosines = sorted(row["cosine"] for row in wide.record["kept"] + wide.record["refused"])
    low, high = np.quantile(cosines, [0.3, 0.8]).round(4).tolist()
    settings = equalise_settings(
        f"{SURE} data.equalise.target=4 data.equalise.base=-1 "
        f"data.equalise.interval=[{low},{high}] data.equalise.candidates=8"
    )
    found = run(settings)
    own = [sample for sample in found.samples if not sample.enhanced]
    made = [sample for sample in found.samples if sample.enhanced]
    assert own == images_of(settings)
    assert made
    rows = embeddings(settings, found.samples)
    for sample, row in zip(made, found.record["kept"], strict=True):
        mean = sum(rows[other] for other in own if other.pid == sample.pid)
        cosine = float(rows[sample] @ mean / np.linalg.norm(mean))
        # The same float32 network on a batch of another size.
        assert cosine == pytest.approx(row["cosine"], abs=1e-5)
        assert low < row["cosine"] < high
    assert all(not low < row["cosine"] < high for row in found.record["refused"])


def test_the_tail_is_filled_to_the_target(equalise_settings):
    found = run(equalise_settings("data.equalise.target=4 data.equalise.base=-1", ALL))
    counts = {pid: sum(sample.pid == pid for sample in found.samples) for pid in range(4)}
    assert counts == dict.fromkeys(range(4), 4)
    for sample in found.samples:
        if sample.enhanced:
            assert sample.has_plate
            # 12 x 6 with a tenth on each side, rounded outwards; the vehicle whole.
            for path, size in ((sample.plate_path, (16, 8)), (sample.path, (32, 32))):
                with Image.open(path) as picture:
                    assert picture.size == size


def test_seed_and_settings_decide_and_a_second_start_embeds_nothing(equalise_settings, tmp_path):
    words = "data.equalise.target=4 data.equalise.base=-1", ALL
    first = run(equalise_settings(*words))
    elsewhere = run(equalise_settings(*words, folder=tmp_path / "elsewhere"))
    names = [[row["file"] for row in found.record["kept"]] for found in (first, elsewhere)]
    assert names[0] == names[1]
    assert [row["file"] for row in run(equalise_settings(*words), seed=1).record["kept"]] != names[0]

    def forbidden():
        raise AssertionError("the record was there")

    settings = equalise_settings(*words)
    again = equalise(settings, images_of(settings), forbidden, model_key="fixed", seed=0)
    assert again.samples == first.samples
    other = equalise(settings, images_of(settings), lambda: network_of(settings), model_key="another", seed=0)
    assert other.folder != first.folder
    (tmp_path / "kept" / names[0][0]).unlink()  # somebody tidied up
    assert run(settings).samples == first.samples
    assert (tmp_path / "kept" / names[0][0]).is_file()


def test_files_are_the_owner_s_and_named_by_their_bytes(equalise_settings, tmp_path):
    found = run(equalise_settings("data.equalise.target=4 data.equalise.base=-1", ALL))
    for row in found.record["kept"]:
        data = (tmp_path / "kept" / row["file"]).read_bytes()
        assert row["file"].endswith(f"/{hashlib.sha256(data).hexdigest()[:32]}.jpg")
    assert (tmp_path / "kept").stat().st_mode & 0o077 == 0
    assert not list((tmp_path / "kept").glob(".drafts*"))


def test_nothing_above_the_threshold_is_said_by_name(equalise_settings):
    found = run(equalise_settings("data.equalise.target=4 data.equalise.base=1"))
    assert found.record["kept"] == []
    assert [sample for sample in found.samples if sample.enhanced] == []
    warnings = found.record["warnings"]
    assert any(w.startswith("vehicle 2 has no base image") for w in warnings)
    assert any(w.startswith("vehicle 3 has no base image") for w in warnings)
    assert len(found.samples) == 11


def test_an_interval_that_nothing_meets_is_said_by_name(equalise_settings):
    found = run(
        equalise_settings("data.equalise.target=4 data.equalise.base=-1 data.equalise.interval=[-1,-0.999]", SURE)
    )
    assert found.record["kept"] == []
    assert any("vehicle 3: 0 of 3 missing" in warning for warning in found.record["warnings"])
    assert found.record["refused"]


def test_identical_images_and_broken_ones(equalise_settings, tmp_path):
    settings = equalise_settings("data.equalise.target=4 data.equalise.base=0.65", ALL)
    samples = images_of(settings)
    copy, broken = tmp_path / "copy.png", tmp_path / "broken.png"
    shutil.copy(samples[0].path, copy)
    broken.write_bytes(b"nothing")
    twins = [samples[0], replace(samples[0], path=copy, camid=1), *samples[4:8], replace(samples[8], path=broken)]
    found = run(settings, twins)
    assert sum(sample.pid == samples[0].pid for sample in found.samples) == 4
    assert any("1 of 7 images cannot be embedded" in warning for warning in found.record["warnings"])
    assert found.samples[6].path == broken  # it stays: reading it is somebody else's error
    assert found.record["own"][6] is None


def test_a_full_disk_costs_the_images_and_not_the_run(equalise_settings, monkeypatch):
    written = 0

    def full(picture, path):
        nonlocal written
        written += 1
        if written > 4:
            raise OSError(errno.ENOSPC, "No space left on device")
        whole(picture, path)

    whole = store.write_draft
    monkeypatch.setattr("app.equalise.drafts.write_draft", full)
    settings = equalise_settings("data.equalise.target=4 data.equalise.base=-1", ALL)
    found = run(settings)
    assert any("No space left on device" in warning for warning in found.record["warnings"])
    task, network, _ = train_alone(settings, found.samples, "x")
    assert task is not None
    assert network is not None


def test_a_folder_that_cannot_be_made(equalise_settings, tmp_path):
    (tmp_path / "file").write_text("no folder")
    found = run(equalise_settings("data.equalise.target=4 data.equalise.base=-1", ALL, folder=tmp_path / "file"))
    assert found.folder is None
    assert found.record["kept"] == []
    assert any("cannot be written" in warning for warning in found.record["warnings"])


def test_a_model_that_does_not_fit_is_named(equalise_settings, tmp_path):
    settings = equalise_settings("data.equalise.target=4", f"data.equalise.model={tmp_path / 'none.safetensors'}")
    with pytest.raises(SettingsError, match=r"data.equalise.model: checkpoint not found: .*none.safetensors"):
        equalise_alone(settings, images_of(settings), "x")
    save_file({"other": np.zeros(3, np.float32)}, tmp_path / "other.safetensors")
    settings = equalise_settings("data.equalise.target=4", f"data.equalise.model={tmp_path / 'other.safetensors'}")
    with pytest.raises(SettingsError, match=r"other.safetensors does not fit: array '.*' is missing"):
        equalise_alone(settings, images_of(settings), "x")
    with pytest.raises(SettingsError, match=r"data.equalise.library must be one of vehicle"):
        run(equalise_settings("data.equalise.target=4 data.equalise.library=plate"))


def test_a_checkpoint_as_the_pre_model(equalise_settings, tmp_path):
    plain = equalise_settings()
    save_file(float_arrays(network_of(plain)), tmp_path / "model.safetensors")
    words = "data.equalise.target=4 data.equalise.base=-1", ALL
    settings = equalise_settings(*words, f"data.equalise.model={tmp_path / 'model.safetensors'}")
    found = equalise_alone(settings, images_of(settings), "x")
    own = run(equalise_settings(*words, folder=tmp_path / "elsewhere"))
    assert found.record["own"] == own.record["own"]


def test_only_undoubted_base_images_are_enhanced(equalise_settings):
    settings = equalise_settings("data.equalise.target=6 data.equalise.base_quantile=0.4", ALL)
    found = run(settings)
    base = {place for place, cosine in enumerate(found.record["own"]) if cosine > found.record["threshold"]}
    assert 0 < len(base) < 11
    assert {row["place"] for row in found.record["kept"]} <= base
    doubted = run(
        equalise_settings("data.equalise.target=6 data.equalise.base=-1 data.equalise.suspect_margin=-0.3", INSIDE)
    )
    suspects = {row["place"] for row in doubted.record["suspects"]}
    assert suspects
    assert doubted.record["kept"]
    assert not {row["place"] for row in doubted.record["kept"]} & suspects


def test_no_more_candidates_than_missing_and_allowed(equalise_settings):
    easy = run(equalise_settings("data.equalise.target=6 data.equalise.base=-1", ALL)).record
    assert len(easy["drawn"]) == len(easy["kept"]) == 6 * 4 - 11
    hard = run(
        equalise_settings("data.equalise.target=6 data.equalise.base=-1 data.equalise.interval=[-1,-0.999]", SURE)
    ).record
    assert len(hard["drawn"]) == 3 * (6 * 4 - 11)
    assert len(hard["refused"]) == 12


def test_boxes_plates_and_infrared_images(equalise_settings, tmp_path, monkeypatch):
    """An enhanced image is the vehicle alone; its plate is neither mirrored nor hidden; infrared stays grey."""
    rng, samples = np.random.default_rng(0), []
    for i in range(6):
        path, modality = tmp_path / f"{i}.png", "infrared" if i % 2 else "visible"
        pixels = np.zeros((90, 120, 3), np.uint8)
        pixels[20:60, 30:80] = rng.integers(60, 250, (40, 50, 1 if i % 2 else 3))
        Image.fromarray(pixels).save(path)
        boxes = (Box(40, 40, 20, 10),)
        samples.append(Sample(path, i // 3, i, vehicle_box=Box(30, 20, 50, 40), plate_boxes=boxes, modality=modality))
    kinds = []
    whole = drafts.enhanced

    def note(picture, own, rng, *, infrared=False):
        kinds.append((tuple(picture.shape[1:]), tuple(own)))
        return whole(picture, own, rng, infrared=infrared)

    monkeypatch.setattr(drafts, "enhanced", note)
    found = run(equalise_settings("data.equalise.target=4 data.equalise.base=-1", ALL), samples)
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


def test_a_change_of_the_images_gives_a_new_record(equalise_settings, tmp_path):
    settings = equalise_settings("data.equalise.target=4 data.equalise.base=-1", ALL)
    samples = images_of(settings)
    copy = tmp_path / "copy.png"
    shutil.copy(samples[0].path, copy)
    samples = [replace(samples[0], path=copy), *samples[1:]]
    keys = {run(settings, samples).folder}
    os.utime(copy, ns=(0, 0))
    keys.add(run(settings, samples).folder)
    keys.add(run(settings, [*samples[:-1], replace(samples[-1], pid=2)]).folder)
    for other in ("data.equalise.candidates=2", "data.equalise.base=-0.9", "model.embedding_dim=8"):
        keys.add(run(equalise_settings("data.equalise.target=4 data.equalise.base=-1", ALL, other), samples).folder)
    assert len(keys) == 6
    same = equalise_settings(
        "data.equalise.target=4 data.equalise.base=-1", ALL, "data.equalise.sample_down=false train.lr=1"
    )
    assert run(same, samples).folder in keys


def test_a_truncated_image_is_made_again(equalise_settings, tmp_path):
    settings = equalise_settings("data.equalise.target=4 data.equalise.base=-1", ALL)
    first = run(settings)
    file = tmp_path / "kept" / first.record["kept"][0]["file"]
    whole = file.read_bytes()
    file.write_bytes(b"")
    assert run(settings).samples == first.samples
    assert file.read_bytes() == whole


def test_a_lost_report_is_written_again(equalise_settings):
    settings = equalise_settings("data.equalise.target=4 data.equalise.base=-1", ALL)
    folder = run(settings).folder
    (folder / "report.html").unlink()
    run(settings)
    assert (folder / "report.html").is_file()


def test_embeddings_that_are_not_finite_are_said(equalise_settings):
    settings = equalise_settings("data.equalise.target=4", ALL)

    def broken():
        network = network_of(settings)
        with torch.no_grad():
            next(network.parameters()).fill_(float("nan"))
        return network

    found = equalise(settings, images_of(settings), broken, model_key="broken", seed=0)
    assert found.samples == images_of(settings)
    assert any("not finite" in warning for warning in found.record["warnings"])
    json.dumps(found.record, allow_nan=False)


def test_suspects_are_left_out_but_no_vehicle_is(equalise_settings):
    settings = equalise_settings(
        "data.equalise.suspects=leave_out data.equalise.base=1 data.equalise.suspect_margin=-2"
    )
    samples = images_of(settings)
    found = run(settings, samples)
    assert len(found.record["suspects"]) == 10  # everything but the image that is alone
    assert {sample.pid for sample in found.samples} == {0, 1, 2, 3}
    assert len(found.samples) < len(samples)
    assert len(found.samples) + len(found.record["left_out"]) == len(samples)
