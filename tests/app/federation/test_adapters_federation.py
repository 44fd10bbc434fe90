"""A federation that shares adapters alone: what travels, what stays, and who is refused."""

import hashlib

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from app.core.arrays import float_arrays, shared_layout
from app.core.site_runs import runs_in
from app.experiment.compare import compare_models
from app.federation.layout import shared_part
from app.federation.site_model import SiteModel
from app.register.embedder import read_recogniser
from app.settings.checks import NamedFileError, SettingsError
from app.settings.load import load_settings
from app.tasks import make_task
from app.training.checkpoint import Checkpoint
from app.training.onnx_file import write_onnx
from models.backbone import build_backbone

pytestmark = pytest.mark.slow

TOKENS = "model.vehicle.backbone=test_vit model.vehicle.options={embed_dim:16,depth:2,num_heads:2}"


@pytest.fixture(scope="module")
def start(tmp_path_factory):
    """Words for a start from files: of a convolutional network and of one of tokens."""
    words, torch_seed = {}, 3
    for name, options in (("test_efficientnet", {}), ("test_vit", {"embed_dim": 16, "depth": 2, "num_heads": 2})):
        torch.manual_seed(torch_seed)
        path = tmp_path_factory.mktemp("start") / f"{name}.safetensors"
        size = (32, 32) if name == "test_vit" else None
        backbone = build_backbone(name, options=options, size=size)
        save_file(getattr(backbone, "network", backbone).state_dict(), path)
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        words[name] = (
            f"model.trainable=adapters model.vehicle.pretrained={path} model.vehicle.sha256={digest} "
            f"{TOKENS if name == 'test_vit' else ''}"
        )
    return words


@pytest.fixture(params=["test_efficientnet", "test_vit"])
def federation(request, make_federation, start):
    return make_federation(
        changes=f"{start[request.param]} federation.rounds=2 evaluation.compare=[] evaluation.ranked_lists=0"
    ).run()


def test_only_adapters_and_heads_travel_and_the_rest_stays_as_the_file_has_it(federation):
    settings, task = federation.settings, make_task(federation.settings)
    network = task.build(3, settings.seed)
    begun, layout = float_arrays(network), shared_layout(network, settings.federation, task.heads)
    frozen = [name for name in network.frozen if name in begun]
    assert layout.names == shared_part(settings)[0].names  # as the server has it, without the file
    assert not set(layout.names) & set(frozen)
    assert {name for name in begun if "classifier" not in name} == {*layout.names, *frozen}
    assert layout.size < sum(array.size for array in begun.values()) * 0.6
    for client, store in federation.stores().items():
        arrays = federation.held("private")[client]
        for name in frozen:
            assert np.array_equal(arrays[f"array/{name}"], begun[name]), name
        assert federation.held("global")[client]["vector"].size == layout.size
        site = runs_in(store.folder)
        assert SiteModel.of_run(site[0])[0].read("global").arrays.keys() == {*layout.names, *frozen}


def test_the_checkpoint_is_whole_and_embeds_the_same_with_merged_adapters(federation, tmp_path):
    measures = compare_models(federation.settings, federation.folder)["global"]
    assert "clients" not in measures  # one global model, measured once
    checkpoint = Checkpoint.read(federation.folder.path, "global")
    task, merged = checkpoint.network(federation.settings)
    images = torch.rand(2, 3, 32, 32)
    network = task.build(1, 0, pretrained=False)
    own = network.state_dict()
    with torch.no_grad():
        for name, array in checkpoint.arrays.items():
            own[name].copy_(torch.from_numpy(array))
        expected = network.eval().embed(images).vehicle
        assert not any("parametrizations" in name for name in merged.state_dict())
        torch.testing.assert_close(merged.eval().embed(images).vehicle, expected, atol=1e-5, rtol=0)
    write_onnx(tmp_path / "n.onnx", task.graph(merged), checkpoint.digest, checkpoint.settings)
    assert read_recogniser(tmp_path / "n.onnx", "cpu").digest == checkpoint.digest


def test_a_party_with_another_file_is_refused(make_federation, start, tmp_path):
    words = start["test_efficientnet"]
    path = tmp_path / "other.safetensors"
    save_file(build_backbone("test_efficientnet").state_dict(), path)
    settings = load_settings(f"{make_federation().overrides} {words} model.vehicle.pretrained={path}")
    with pytest.raises(
        NamedFileError, match=r"model\.vehicle\.pretrained: .*other\.safetensors has SHA-256 .*get the file"
    ):
        make_task(settings).build(2, 0)
    make_task(settings).build(2, 0, pretrained=False)  # whoever needs no values needs no file


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (
            "model.trainable=adapters",
            r"model\.vehicle\.pretrained must be a weights file with model\.trainable=adapters",
        ),
        (
            "model.trainable=adapters model.vehicle.pretrained=a.pth",
            r"model\.vehicle\.sha256 is missing: .*sha256sum FILE",
        ),
        (
            f"model.trainable=adapters model.hashed=0.5 model.vehicle.pretrained=a.pth model.vehicle.sha256={'a' * 64}",
            "model.hashed",
        ),
        (
            "model.vehicle.pretrained=a.pth model.vehicle.sha256=abc",
            r"model\.vehicle\.sha256 must be 64 hexadecimal digits",
        ),
        (f"model.vehicle.sha256={'a' * 64}", "sha256 .* of a weights file"),
        ("model.trainable=some", r"model\.trainable must be one of all, adapters"),
    ],
)
def test_settings_that_adapters_do_not_go_with_are_named(words, named):
    with pytest.raises(SettingsError, match=named):
        load_settings(f"model.plate=null {words}")
