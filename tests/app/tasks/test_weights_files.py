"""Recipes for a better start: which network, which size, which weights."""

import hashlib
from pathlib import Path

import pytest
import torch

from app.settings.checks import NamedFileError, SettingsError
from app.settings.load import load_settings
from app.tasks import make_task
from models.osnet import OSNet

WEIGHTS = Path(__file__).parents[4] / "shared" / "data" / "weights"


@pytest.mark.parametrize(
    ("words", "side", "dim"),
    [
        ("model=efficientnet_lite2", 160, 1280),
        ("model=osnet", 208, 512),
        ("model=convnext_tiny", 256, 768),
    ],
)
def test_a_recipe_embeds_images_of_its_size(words, side, dim):
    settings = load_settings(f"{words} model.vehicle.pretrained=false device=cpu train.precision=float32")
    task = make_task(settings)
    network = task.build(2, 0).eval()
    assert settings.model.vehicle.image_size == side
    assert network.embed(torch.rand(2, 3, side, side)).vehicle.shape == (2, dim)


def test_osnet_trains_in_a_task():
    settings = load_settings("model=osnet model.vehicle.image_size=64 device=cpu train.precision=float32")
    network = make_task(settings).build(2, 0).train()
    output = network(torch.rand(4, 3, 64, 64))
    (output.vehicle.metric_feature.square().sum() + output.vehicle.logits.sum()).backward()
    assert [name for name, value in network.vehicle.backbone.named_parameters() if value.grad is None] == []
    assert isinstance(network.vehicle.backbone, OSNet)


def test_the_embedding_of_osnet_is_not_pooled_anew():
    settings = load_settings("model=osnet model.vehicle.image_size=64 model.pooling=gem device=cpu")
    with pytest.raises(SettingsError, match=r"model\.vehicle\.options\.head=true .*: set model\.pooling=average"):
        make_task(settings).build(2, 0)


@pytest.mark.skipif(not WEIGHTS.is_dir(), reason="the published weights are not here")
def test_the_digest_of_a_file_is_checked_without_adapters_too():
    path = WEIGHTS / "tf_efficientnet_lite0.safetensors"
    words = f"model=efficientnet_lite0 model.vehicle.pretrained={path} device=cpu model.vehicle.sha256="
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    make_task(load_settings(words + digest)).build(2, 0)
    with pytest.raises(NamedFileError, match=r"model\.vehicle\.pretrained: .*lite0\.safetensors has SHA-256"):
        make_task(load_settings(words + "0" * 64)).build(2, 0)
    with pytest.raises(NamedFileError, match=r"model\.vehicle\.pretrained: .*not found: gone\.pth"):
        make_task(load_settings(f"{words}{digest} model.vehicle.pretrained=gone.pth")).build(2, 0)
