"""Pooling of feature maps."""

import pytest
import torch

from models.head import AveragePooling, GeMPooling, build_pooling


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
