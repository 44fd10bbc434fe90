"""Adapters: what is learnt, what stays, and the network that is used afterwards."""

import pytest
import torch

from models.adapters import RANK, add_adapters, frozen_arrays, merge_adapters
from models.backbone import build_backbone
from models.errors import NetworkError


def adapted(
    name: str, size: tuple[int, int] = (64, 64), **options: object
) -> tuple[torch.nn.Module, list[str], list[str]]:
    """A backbone with adapters, names of its arrays that stay, and of those that are learnt."""
    torch.manual_seed(0)
    backbone = build_backbone(name, size=size, options=options)
    frozen = add_adapters(backbone, size)
    return backbone, frozen, [key for key in backbone.state_dict() if key not in frozen]


def loss_of(feature: torch.Tensor) -> torch.Tensor:
    """A gradient in any direction; a mean of squares has none behind a normalisation."""
    return (feature * torch.randn(feature.shape, generator=torch.Generator().manual_seed(1))).sum()


@pytest.mark.parametrize(
    ("name", "size", "options"),
    [
        ("test_vit", (64, 64), {}),
        ("eva02_tiny_patch14_224", (56, 56), {"depth": 1}),  # reads the weight of a layer and does not call it
        ("vit_tiny_patch16_224", (32, 32), {"depth": 1}),
    ],
)
def test_a_network_of_tokens_learns_low_rank_additions_alone(name: str, size: tuple[int, int], options: dict) -> None:
    torch.manual_seed(0)
    plain = build_backbone(name, size=size, options=options).eval()
    backbone, _, learnt = adapted(name, size, **options)
    linear = [module for module in plain.modules() if isinstance(module, torch.nn.Linear)]
    sizes = {key: value.numel() for key, value in backbone.state_dict().items()}
    assert sum(sizes[key] for key in learnt) == sum(RANK * (each.in_features + each.out_features) for each in linear)
    assert len(learnt) == 2 * len(linear)
    images = torch.rand(2, 3, *size)
    with torch.no_grad():
        assert torch.equal(backbone.eval()(images), plain(images))
    before = {key: value.clone() for key, value in backbone.state_dict().items()}
    optimiser = torch.optim.SGD(backbone.parameters(), lr=1.0)
    for _ in range(2):  # in the first step only B moves, as it starts at 0
        optimiser.zero_grad()
        loss_of(backbone.train()(images)).backward()
        optimiser.step()
    moved = [key for key, value in backbone.state_dict().items() if not torch.equal(value, before[key])]
    assert sorted(moved) == sorted(learnt)
    with torch.no_grad():
        found = backbone.eval()(images)
        assert not torch.allclose(found, plain(images))
        merged = merge_adapters(backbone)
        torch.testing.assert_close(merged(images), found)
    assert set(merged.state_dict()) == set(plain.state_dict())


def test_a_network_of_tokens_with_batch_norms_learns_them_too_and_nothing_else_moves() -> None:
    backbone, frozen, learnt = adapted("xcit_nano_12_p16_224", (32, 32), depth=1)
    norms = [key for key in backbone.state_dict() if key.endswith("running_var")]
    assert norms
    assert set(norms) <= set(learnt)
    before = {key: value.clone() for key, value in backbone.state_dict().items()}
    optimiser = torch.optim.SGD(backbone.parameters(), lr=1.0)
    loss_of(backbone.train()(torch.rand(2, 3, 32, 32))).backward()
    optimiser.step()
    assert [key for key in frozen if not torch.equal(backbone.state_dict()[key], before[key])] == []
    assert not torch.equal(backbone.state_dict()[norms[0]], before[norms[0]])


@pytest.mark.parametrize(
    ("name", "stage"),
    [
        ("resnet10t", "layer4"),
        ("tf_efficientnet_lite0", "blocks.6"),
        ("mobilenetv3_small_050", "blocks.5"),
        ("test_convnext", "stages.3"),
        ("osnet_ain_x1_0", "conv4"),
    ],
)
def test_a_convolutional_network_learns_its_last_stage_and_its_norms(name: str, stage: str) -> None:
    backbone, frozen, learnt = adapted(name)
    state = backbone.state_dict()
    kernels = [key for key in state if state[key].ndim == 4]
    first = next(number for number, key in enumerate(kernels) if key.startswith(f"{stage}."))
    assert [key for key in kernels if key in learnt and not key.startswith("head")] == kernels[first:]
    norms = [key for key in state if key.endswith("running_var")] or [key for key in state if "norm" in key]
    assert set(norms) <= set(learnt)
    images = torch.rand(4, 3, 64, 64)
    before = {key: value.clone() for key, value in state.items()}
    optimiser = torch.optim.SGD(backbone.parameters(), lr=1.0)
    loss_of(backbone.train()(images)).backward()
    optimiser.step()
    assert [key for key in frozen if not torch.equal(backbone.state_dict()[key], before[key])] == []
    assert not torch.equal(backbone.state_dict()[kernels[-1]], before[kernels[-1]])


@pytest.mark.parametrize(
    ("name", "options", "first", "last"),
    [
        ("densenet121", {"growth_rate": 4, "block_config": (1, 1, 1, 1)}, "features.transition3.", "features.norm5."),
        ("vgg11", {"mlp_ratio": 0.02}, "features.16.", "features.18."),
    ],
)
def test_a_stage_that_timm_names_by_its_end_is_learnt_from_the_end_before(
    name: str, options: dict, first: str, last: str
) -> None:
    *_, learnt = adapted(name, **options)
    kernels = [key for key in learnt if ".norm" not in key]
    assert kernels
    assert kernels[0].startswith(first)
    assert learnt[-1].startswith(last)  # and not pre_logits, 119 of VGG's 129 million values


def test_a_network_without_a_last_stage_is_named() -> None:
    backbone = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3, padding=1), torch.nn.AvgPool2d(2))
    with pytest.raises(NetworkError, match="no convolution that computes its last map"):
        add_adapters(backbone, (8, 8))


def test_a_network_that_timm_does_not_describe_learns_from_its_smallest_map_on() -> None:
    backbone = build_backbone("test_resnet")
    backbone.feature_info = None
    frozen = add_adapters(backbone, (64, 64))
    assert "layer3.0.conv1.weight" in frozen
    assert "layer4.0.conv2.weight" not in frozen


def test_a_network_without_adapters_keeps_nothing_frozen_and_is_not_changed() -> None:
    backbone = build_backbone("test_resnet")
    before = set(backbone.state_dict())
    assert frozen_arrays(backbone) == ()
    assert set(merge_adapters(backbone).state_dict()) == before
