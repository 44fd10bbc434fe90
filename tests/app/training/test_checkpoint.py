"""Checkpoints: the network comes back as it was, and its digest stands for what it says of a picture."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from app.core.arrays import float_arrays
from app.core.run_folder import RunFolder
from app.settings.load import SettingsError, load_settings, settings_from
from app.settings.stored import with_overrides
from app.tasks import make_task
from app.training.checkpoint import Checkpoint, network_of, save_checkpoint

WORDS = (
    "model.vehicle.backbone=test_efficientnet model.vehicle.image_size=32 model.plate.backbone=test_efficientnet "
    "model.plate.image_size=32 model.embedding_dim=8 device=cpu train.precision=float32"
)


@pytest.fixture(scope="module")
def settings():
    return load_settings(WORDS)


@pytest.fixture(scope="module")
def network(settings):
    return make_task(settings).build(5, 3)


@pytest.fixture
def checkpoint(settings, network, tmp_path):
    save_checkpoint(RunFolder(tmp_path), "global", float_arrays(network), settings, make_task(settings))
    return Checkpoint.read(tmp_path, "global")


def test_a_network_comes_back_without_the_rows_of_its_labels(checkpoint, network):
    kept = settings_from(checkpoint.settings)
    _, again = network_of(checkpoint.arrays, kept)
    images, generator = [], torch.Generator().manual_seed(0)
    for side in (32, 32):
        images.append(torch.randn(2, 3, side, side, generator=generator))
    seen = torch.tensor([True, True])
    before, after = (net.eval().embed(*images, seen) for net in (network, again))
    network.train()
    for one, other in zip(before, after, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=0)
    assert not any("classifier" in name for name in checkpoint.arrays)


def test_the_digest_follows_arrays_and_model_and_nothing_else(checkpoint, tmp_path):
    digest = checkpoint.digest
    checkpoint.write(tmp_path, "copy")
    assert Checkpoint.read(tmp_path, "copy").digest == digest
    moved = {**checkpoint.settings, "data": {"reader": "elsewhere"}, "seed": 9}
    assert replace(checkpoint, settings=moved).digest == digest
    larger = {**checkpoint.settings["model"], "vehicle": {**checkpoint.settings["model"]["vehicle"], "image_size": 48}}
    assert replace(checkpoint, settings={**checkpoint.settings, "model": larger}).digest != digest
    name = next(iter(checkpoint.arrays))
    changed = {**checkpoint.arrays, name: checkpoint.arrays[name] + np.float32(1e-3)}
    assert replace(checkpoint, arrays=changed).digest != digest


def test_what_is_no_checkpoint_is_named(checkpoint, settings, tmp_path):
    with pytest.raises(FileNotFoundError, match="run folder not found"):
        Checkpoint.read(tmp_path / "nowhere", "global")
    RunFolder(tmp_path).save_arrays("other", {"x": np.zeros(1, np.float32)})
    with pytest.raises(ValueError, match="not a checkpoint of this project"):
        Checkpoint.read(tmp_path, "other")
    name = next(iter(checkpoint.arrays))
    with pytest.raises(ValueError, match=f"array '{name}' is missing"):
        network_of({key: array for key, array in checkpoint.arrays.items() if key != name}, settings)


@pytest.mark.parametrize(
    "kept", ["", "null", "[]", "{}", "5", '"x"', "[[]]", "9" * 5000, "[" * 100_000, '{"task": []}', '{"a": 1}']
)
def test_a_checkpoint_with_damaged_settings_is_named(checkpoint, tmp_path, kept):
    RunFolder(tmp_path).save_arrays("damaged", checkpoint.arrays, {"settings": kept})
    with pytest.raises(ValueError, match=r"damaged file .*/damaged\.safetensors: its settings cannot be used: ."):
        Checkpoint.read(tmp_path, "damaged")


def test_a_section_of_another_kind_is_named_with_file_and_key(checkpoint, tmp_path):
    kept = json.dumps({**checkpoint.settings, "model": 5})
    RunFolder(tmp_path).save_arrays("damaged", checkpoint.arrays, {"settings": kept})
    with pytest.raises(ValueError, match=r"damaged\.safetensors: .*model: Input should be an object; got 5"):
        Checkpoint.read(tmp_path, "damaged")


def test_values_that_do_not_fit_here_are_not_damage_and_can_be_replaced(checkpoint, tmp_path):
    """A weights file that another machine had, and a key of another version of the project."""
    kept = load_settings("experiment=synthetic_night").as_dict()
    kept["loss"]["perceptual_weights"] = "/elsewhere/vgg16.safetensors"
    RunFolder(tmp_path).save_arrays("moved", checkpoint.arrays, {"settings": json.dumps(kept)})
    moved = Checkpoint.read(tmp_path, "moved")
    assert with_overrides(moved.settings, ["loss.perceptual_weights=random"]).loss.perceptual_weights == "random"
    assert with_overrides(moved.settings, []).loss.perceptual_weights == "/elsewhere/vgg16.safetensors"  # not opened
    kept = {**checkpoint.settings, "loss": {**checkpoint.settings["loss"], "of_a_later_version": 1}}
    RunFolder(tmp_path).save_arrays("later", checkpoint.arrays, {"settings": json.dumps(kept)})
    with pytest.raises(SettingsError, match=r"unknown key loss\.of_a_later_version"):
        settings_from(Checkpoint.read(tmp_path, "later").settings)
