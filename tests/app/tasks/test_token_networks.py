"""Networks of tokens as vehicle network: trained, embedded, exported, measured by a policy, refused elsewhere."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from frozen_files import embeddings_of
from PIL import Image

from app.core.arrays import float_arrays
from app.core.sample import Sample
from app.federation.network_size import network_size
from app.register.embedder import Recogniser, read_recogniser
from app.settings.checks import SettingsError
from app.settings.load import load_settings
from app.tasks import make_task
from app.training.checkpoint import Checkpoint, without_heads
from app.training.onnx_file import write_onnx

pytestmark = pytest.mark.slow

WORDS = "model.pooling=average model.vehicle.image_size=64 model.plate=null model.embedding_dim=16 device=cpu"
WORDS += " train.precision=float32 train.pids_per_batch=2 train.images_per_pid=2 train.augment.erase=0"
MODELS = (
    "test_vit",
    "test_vit3",
    "swin_tiny_patch4_window7_224",
    "eva02_tiny_patch14_224 model.vehicle.options={depth:1}",
    "vit_small_patch14_dinov2 model.vehicle.options={depth:1,dynamic_img_size:true} model.vehicle.image_size=56",
)
FROZEN = Path(__file__).parents[2] / "frozen" / "tokens-1"


@pytest.fixture(scope="module")
def samples(tmp_path_factory):
    """Two vehicles with three images each."""
    folder, rng = tmp_path_factory.mktemp("images"), np.random.default_rng(0)
    found = []
    for number in range(6):
        path = folder / f"{number}.png"
        Image.fromarray(rng.integers(0, 256, (64, 64, 3), np.uint8)).save(path)
        found.append(Sample(path, pid=number // 3, camid=number % 3))
    return found


@pytest.mark.parametrize("backbone", MODELS)
def test_a_step_reaches_every_value_of_the_backbone(backbone, samples):
    task = make_task(load_settings(f"{WORDS} model.vehicle.backbone={backbone}"))
    network = task.build(2, 0, pretrained=False).train()
    task.losses(network, task.batches(samples, 0)[0])["total"].backward()
    without = [name for name, value in network.vehicle.backbone.named_parameters() if value.grad is None]
    assert not [name for name in without if "head" not in name]
    assert network_size(task.settings).parameters > 0


@pytest.mark.parametrize(
    "words",
    [
        "test_vit model.vehicle.options={token:mean}",
        "test_vit model.vehicle.options={token:class}",
        *MODELS[-2:],
    ],
)
def test_an_onnx_file_embeds_the_same(words, samples, tmp_path):
    settings = load_settings(f"{WORDS} model.vehicle.backbone={words}")
    task = make_task(settings)
    network = task.build(1, 0, pretrained=False).eval()
    checkpoint = Checkpoint(without_heads(float_arrays(network), task), settings.as_dict())
    write_onnx(tmp_path / "n.onnx", task.graph(network), checkpoint.digest, settings.as_dict())
    ours, theirs = (
        each.embed_files(samples)
        for each in (Recogniser(checkpoint, "cpu"), read_recogniser(tmp_path / "n.onnx", "cpu"))
    )
    for expected, found in zip(ours, theirs, strict=True):
        # Sums of some hundred float32 products in another order, in a few layers; rows of length 1.
        np.testing.assert_allclose(found["vehicle"], expected["vehicle"], atol=1e-5)


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (f"{WORDS} model.vehicle.backbone=test_vit model.pooling=gem", "set model.pooling=average"),
        (
            f"{WORDS} model.vehicle.backbone=test_vit model.vehicle.image_size=60",
            "does not accept images of 60 x 60 px",
        ),
        ("experiment=regdb data.root=. device=cpu model.backbone=test_vit", r"model\.backbone: backbone 'test_vit'"),
        ("experiment=plates_countries data.root=. device=cpu model.backbone=test_vit", r"model\.backbone: backbone"),
    ],
)
def test_where_tokens_do_not_fit_the_key_is_named(words, named):
    with pytest.raises(SettingsError, match=named):
        make_task(load_settings(words)).build(2, 0, pretrained=False)


def test_a_class_token_is_another_embedding(samples):
    found = []
    for token in ("mean", "class"):
        task = make_task(
            load_settings(f"{WORDS} model.vehicle.backbone=test_vit model.vehicle.options={{token:{token}}}")
        )
        network = task.build(2, 0, pretrained=False).eval()
        found.append(task.probe(network, samples, torch.device("cpu")))
    assert not torch.allclose(found[0], found[1], atol=1e-3)


@pytest.mark.parametrize("name", ["vit.safetensors", "vit.onnx"])
def test_frozen_networks_of_tokens_embed_as_when_they_were_written(name):
    """Made by `tests/frozen/make_tokens.py`, untrained."""
    [expected] = json.loads((FROZEN / "expected.json").read_text(encoding="utf-8")).values()
    [found] = embeddings_of(FROZEN / name, FROZEN.parent / "settings-0-register-1").values()
    np.testing.assert_allclose(found, expected, atol=1e-5)  # as of the other frozen files: another machine
