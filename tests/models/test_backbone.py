"""Feature extractors and their weights files."""

from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import load_file, save_file
from timm.layers import resample_abs_pos_embed

from models.backbone import build_backbone, map_size
from models.input_statistics import input_statistics

REAL_WEIGHTS = Path(__file__).parents[3] / "shared" / "data" / "weights"


@pytest.fixture(scope="module")
def arrays() -> dict[str, torch.Tensor]:
    """A published file of test_resnet: with a classifier, without BatchNorm's counters."""
    torch.manual_seed(0)
    state = timm.create_model("test_resnet", num_classes=10).state_dict()
    return {key: array + 0.5 for key, array in state.items() if not key.endswith("num_batches_tracked")}


@pytest.mark.parametrize("name", ["test_resnet", "test_efficientnet", "mobilenetv3_small_050"])
def test_num_features_is_the_width_of_the_feature_map(name: str) -> None:
    backbone = build_backbone(name)
    assert backbone.training
    feature = backbone.eval()(torch.zeros(2, 3, 64, 96))
    assert feature.shape == (2, backbone.num_features, 2, 3)


def test_the_seed_alone_decides_the_values() -> None:
    torch.manual_seed(5)
    first = build_backbone("test_resnet").state_dict()
    torch.manual_seed(5)
    second = build_backbone("test_resnet").state_dict()
    assert all(torch.equal(first[key], second[key]) for key in first)


@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
def test_a_weights_file_is_loaded_without_its_classifier(
    tmp_path: Path, arrays: dict[str, torch.Tensor], suffix: str
) -> None:
    path = tmp_path / f"weights{suffix}"
    if suffix == ".pth":
        torch.save({"state_dict": arrays}, path)
    else:
        save_file(arrays, path)
    state = build_backbone("test_resnet", pretrained=path).state_dict()
    assert {key for key in state if not key.endswith("num_batches_tracked")} == {
        key for key in arrays if not key.startswith("fc.")
    }
    assert all(torch.equal(array, state[key]) for key, array in arrays.items() if key in state)


def test_a_weights_file_with_other_keys_or_shapes_is_refused(tmp_path: Path, arrays: dict[str, torch.Tensor]) -> None:
    path = tmp_path / "weights.safetensors"
    for changed, message in (
        ({key: array for key, array in arrays.items() if key != "bn1.weight"}, r"missing: bn1\.weight$"),
        (arrays | {"extra.weight": torch.ones(1)}, r"unexpected: extra\.weight$"),
        (arrays | {"bn1.weight": torch.ones(7)}, r"of another shape: bn1\.weight \(7,\) instead of \(\d+,\)$"),
    ):
        save_file(changed, path)
        with pytest.raises(ValueError, match=rf"weights\.safetensors does not fit backbone 'test_resnet': {message}"):
            build_backbone("test_resnet", pretrained=path)


@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
def test_a_damaged_weights_file_is_named(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"damaged{suffix}"
    path.write_bytes(b"no weights at all")
    with pytest.raises(ValueError, match=f"cannot read weights file .*damaged{suffix}"):
        build_backbone("test_resnet", pretrained=path)


def test_a_missing_weights_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"absent\.safetensors"):
        build_backbone("test_resnet", pretrained=tmp_path / "absent.safetensors")


def test_an_unknown_backbone_is_refused_with_suggestions() -> None:
    with pytest.raises(ValueError, match=r"unknown backbone 'resnet5O'; did you mean .*resnet50"):
        build_backbone("resnet5O")
    with pytest.raises(ValueError, match=r"unknown backbone '\+\+\+'$"):
        build_backbone("+++")


@pytest.mark.parametrize("name", ["test_vit", "swin_tiny_patch4_window7_224"])
def test_networks_of_tokens_are_refused_where_images_have_any_size(name: str) -> None:
    with pytest.raises(ValueError, match=f"backbone '{name}'"):
        build_backbone(name)


@pytest.mark.parametrize(
    ("name", "channels", "places"),
    [("test_vit", 64, (4, 6)), ("vit_tiny_patch16_224", 192, (4, 6)), ("vit_small_patch14_dinov2", 384, (4, 6))],
)
def test_tokens_lie_where_their_patches_are(name: str, channels: int, places: tuple[int, int]) -> None:
    """Only the attention spreads a change of one patch; without it, one place of the map changes."""
    backbone = build_backbone(name, size=(64, 96)).eval()
    for module in backbone.modules():
        if hasattr(module, "attn"):
            module.attn.forward = lambda x, **_: torch.zeros_like(x)
    patch = 14 if "patch14" in name else 16
    image = torch.zeros(1, 3, 64, 96)
    changed = image.clone()
    changed[..., 2 * patch : 3 * patch, 3 * patch : 4 * patch] = 1
    with torch.no_grad():
        before, after = backbone(image), backbone(changed)
    assert before.shape == (1, channels, *places)
    assert backbone.num_features == channels
    assert torch.nonzero((before != after).any(dim=1)[0]).tolist() == [[2, 3]]


def test_swins_map_is_turned_and_the_class_token_is_one_place() -> None:
    network = build_backbone("swin_tiny_patch4_window7_224", size=(64, 96)).eval()
    with torch.no_grad():
        assert network(torch.zeros(1, 3, 64, 96)).shape == (1, 768, 2, 3)
        image = torch.rand(2, 3, 32, 32)
        found = build_backbone("test_vit", size=(32, 32), options={"token": "class"}).eval()
        torch.testing.assert_close(found(image)[..., 0, 0], found.network.forward_features(image)[:, 0])


def test_the_size_of_a_map_is_that_of_the_network_in_hand() -> None:
    """Remembered by the arguments of the build: networks that print alike may differ in them."""
    deep, flat = (build_backbone("test_resnet", options={"output_stride": stride}) for stride in (32, 8))
    mean, one = (build_backbone("test_vit", size=(64, 64), options={"token": token}) for token in ("mean", "class"))
    for network in (deep, flat, mean, one, build_backbone("test_resnet"), deep, flat, mean, one):
        with torch.no_grad():
            assert map_size(network, 64, 64) == tuple(network(torch.zeros(1, 3, 64, 64)).shape[2:])
    assert map_size(deep, 96, 64) == (3, 2)
    fixed = {"dynamic_img_size": False}
    small, large = (build_backbone("test_vit", size=(side, side), options=fixed) for side in (64, 96))
    assert repr(small) == repr(large)
    assert [map_size(network, 64, 64) for network in (large, small, large)] == [None, (4, 4), None]
    own = torch.nn.Conv2d(3, 4, 3, stride=2, padding=1)  # not of build_backbone
    assert map_size(own, 8, 8) == (4, 4)
    own.stride = (4, 4)
    assert map_size(own, 8, 8) == (2, 2)


def test_a_network_with_dynamic_size_takes_images_of_other_sizes() -> None:
    """DINOv2's is of one size otherwise; at its own size both give the same."""
    fixed, dynamic = (
        build_backbone("vit_small_patch14_dinov2", size=(56, 56), options={"depth": 1, **more}).eval()
        for more in ({}, {"dynamic_img_size": True})
    )
    dynamic.load_state_dict(fixed.state_dict())
    image = torch.rand(1, 3, 56, 56)
    with torch.no_grad():
        assert torch.equal(fixed(image), dynamic(image))
        assert dynamic(torch.zeros(1, 3, 70, 84)).shape == (1, 384, 5, 6)
        with pytest.raises(AssertionError, match="doesn't match"):
            fixed(torch.zeros(1, 3, 70, 84))


def test_weights_for_images_of_another_size_are_resampled(tmp_path: Path) -> None:
    """As timm resamples position embeddings; of the same size they are taken over as they are."""
    whole = timm.create_model("test_vit", img_size=(64, 64), num_classes=7)
    save_file(whole.state_dict(), tmp_path / "vit.safetensors")
    same = build_backbone("test_vit", size=(64, 64), pretrained=tmp_path / "vit.safetensors")
    assert torch.equal(same.network.pos_embed, whole.pos_embed)
    other = build_backbone("test_vit", size=(32, 96), pretrained=tmp_path / "vit.safetensors")
    expected = resample_abs_pos_embed(whole.pos_embed, new_size=[2, 6], old_size=[4, 4], num_prefix_tokens=1)
    torch.testing.assert_close(other.network.pos_embed, expected)
    assert torch.equal(other.network.blocks[0].mlp.fc1.weight, whole.blocks[0].mlp.fc1.weight)


@pytest.mark.parametrize(
    ("name", "size", "options", "named"),
    [
        ("test_vit", (60, 64), {}, "does not accept images of 60 x 64 px.* 48 x 64 px and 64 x 64 px fit"),
        ("vit_small_patch14_dinov2", (64, 56), {"dynamic_img_size": True, "depth": 1}, "56 x 56 px and 70 x 56 px fit"),
        ("test_vit", (64, 64), {"token": "first"}, "must be mean or class; got 'first'"),
        ("swin_tiny_patch4_window7_224", (64, 64), {"token": "class"}, "has no class token"),
        ("test_vit", (64, 64), {"chanels": 1}, "'test_vit' cannot be built with"),
        ("efficientformer_l1", (64, 96), {}, "'efficientformer_l1'"),
    ],
)
def test_what_a_network_of_tokens_cannot_be_is_named(
    name: str, size: tuple[int, int], options: dict, named: str
) -> None:
    with pytest.raises(ValueError, match=named):
        build_backbone(name, size=size, options=options)


def test_options_reach_the_model_and_a_wrong_one_is_named() -> None:
    """A ResNet of a quarter of the usual channels: its map has 128 channels in place of 512."""
    narrow = build_backbone("resnet10t", options={"channels": [16, 32, 64, 128]})
    assert narrow(torch.zeros(1, 3, 64, 64)).shape[1] == narrow.num_features == 128
    with pytest.raises(ValueError, match=r"'resnet10t' cannot be built with .*'chanels'"):
        build_backbone("resnet10t", options={"chanels": [1]})


def test_input_statistics_are_the_models_own() -> None:
    assert input_statistics(build_backbone("tf_efficientnet_lite0")) == ((0.5,) * 3, (0.5,) * 3)
    mean, std = input_statistics(build_backbone("test_efficientnet"))
    assert mean == (0.485, 0.456, 0.406)
    assert std == (0.229, 0.224, 0.225)


def test_a_file_of_half_precision_fills_a_network_of_float32(tmp_path: Path, arrays: dict[str, torch.Tensor]) -> None:
    halved = {key: array.half() if array.is_floating_point() else array for key, array in arrays.items()}
    save_file(halved, tmp_path / "half.safetensors")
    state = build_backbone("test_resnet", pretrained=tmp_path / "half.safetensors").state_dict()
    assert {array.dtype for array in state.values() if array.is_floating_point()} == {torch.float32}
    assert torch.equal(state["conv1.0.weight"], halved["conv1.0.weight"].float())


@pytest.mark.skipif(not REAL_WEIGHTS.is_dir(), reason="the published weights are not here")
@pytest.mark.parametrize("name", ["tf_efficientnet_lite0", "tf_efficientnet_lite2"])
def test_published_weights_are_loaded(name: str) -> None:
    backbone = build_backbone(name, pretrained=REAL_WEIGHTS / f"{name}.safetensors")
    arrays, state = load_file(REAL_WEIGHTS / f"{name}.safetensors"), backbone.state_dict()
    assert state["conv_stem.weight"].dtype == torch.float32
    assert all(torch.equal(state[key], arrays[key].to(state[key].dtype)) for key in state if key in arrays)
    assert backbone.num_features == arrays["classifier.weight"].shape[1]
