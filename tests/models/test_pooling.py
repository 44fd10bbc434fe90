"""Pooling of feature maps."""

import pytest
import torch

from models.head import AveragePooling, GeMPooling, GridPooling, build_pooling


def feature_map(seed: int = 0, scale: float = 1.0) -> torch.Tensor:
    return scale * torch.rand(2, 3, 4, 5, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("p", [0.5, 1.0, 3.0, 6.5])
def test_gem_equals_the_definition(p: float) -> None:
    maps = feature_map()
    pooled = GeMPooling(p).double()(maps)
    for n in range(2):
        for c in range(3):
            values = maps[n, c].flatten().tolist()
            assert pooled[n, c].item() == pytest.approx((sum(x**p for x in values) / len(values)) ** (1 / p))


def test_gem_lies_between_the_mean_and_the_maximum() -> None:
    maps = feature_map()
    assert torch.allclose(GeMPooling(1.0)(maps), AveragePooling()(maps))
    # (1 / 20)^(1 / p) of the maximum is a lower bound: 0.997 at p = 1000
    assert torch.allclose(GeMPooling(1000.0)(maps), maps.amax(dim=(2, 3)), rtol=4e-3)


def test_gem_gradient_equals_finite_differences_for_the_map_and_for_p() -> None:
    pooling = GeMPooling(3.0).double()
    maps = (feature_map(1) + 0.1).requires_grad_()

    def pooled(maps: torch.Tensor, p: torch.Tensor) -> torch.Tensor:
        return torch.func.functional_call(pooling, {"p": p}, (maps,))

    assert torch.autograd.gradcheck(pooled, (maps, pooling.p))


@pytest.mark.parametrize("scale", [0.0, 1e-20, 1e15])
@pytest.mark.parametrize("p", [1.0, 3.0, 40.0])
def test_gem_stays_finite_for_extreme_maps(scale: float, p: float) -> None:
    pooling = GeMPooling(p)
    maps = feature_map(2, scale).float().requires_grad_()
    pooled = pooling(maps)
    pooled.sum().backward()
    assert pooled.isfinite().all()
    assert maps.grad is not None
    assert maps.grad.isfinite().all()
    assert pooling.p.grad is not None
    assert pooling.p.grad.isfinite().all()


@pytest.mark.parametrize("name", ["gem", "average"])
def test_half_precision_is_pooled_in_float32(name: str) -> None:
    pooling, maps = build_pooling(name), feature_map(3).bfloat16()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        pooled = pooling(maps)
    assert pooled.dtype == torch.float32
    assert torch.equal(pooled, pooling(maps.float()))


def test_p_is_learnt_only_if_wanted() -> None:
    assert GeMPooling().p.requires_grad
    assert not GeMPooling(learn=False).p.requires_grad
    assert "p" in GeMPooling(learn=False).state_dict()


def test_unknown_names_and_values_are_refused() -> None:
    with pytest.raises(ValueError, match=r"'max'; known: average, gem"):
        build_pooling("max")
    with pytest.raises(ValueError, match="above 0"):
        GeMPooling(p=0.0)


@pytest.mark.parametrize(("height", "width", "cells"), [(4, 4, 2), (5, 7, 2), (4, 6, 4), (5, 5, 3), (2, 3, 2)])
@pytest.mark.parametrize("name", ["gem", "average"])
def test_cells_are_pooled_by_themselves_row_by_row(name: str, height: int, width: int, cells: int) -> None:
    maps = torch.rand(2, 3, height, width, generator=torch.Generator().manual_seed(0))
    pooled = build_pooling(name, cells)(maps).view(2, cells, cells, 3)
    power = 3.0 if name == "gem" else 1.0
    expected = torch.nn.functional.adaptive_avg_pool2d(maps**power, cells) ** (1 / power)
    assert torch.allclose(pooled.permute(0, 3, 1, 2), expected, atol=1e-6)


def test_one_cell_is_the_pooling_itself_and_none_is_refused() -> None:
    assert isinstance(build_pooling("gem", 1), GeMPooling)
    assert torch.equal(GridPooling(AveragePooling(), 1)(feature_map()), AveragePooling()(feature_map()))
    with pytest.raises(ValueError, match="cells must be at least 1, got 0"):
        GridPooling(AveragePooling(), 0)
