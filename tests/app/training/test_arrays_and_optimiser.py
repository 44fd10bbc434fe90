"""Arrays of a network by name, and the local optimiser over a whole run."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from app.core.arrays import float_arrays, load_arrays, private_patterns, shared_layout
from app.settings.federation import FederationSettings
from app.settings.sections import TrainSettings
from app.training.optimiser import (
    learning_rate,
    load_optimiser_state,
    make_optimiser,
    optimiser_state,
    set_learning_rate,
)

SHARED, LOCAL = FederationSettings(), FederationSettings(batch_norm="local")


def network(seed=0):
    torch.manual_seed(seed)
    layers = {
        "conv": nn.Conv2d(3, 4, 3),
        "abnormal": nn.Linear(4, 4),  # "bn" and "norm" in a name make no BatchNorm
        "first": nn.BatchNorm2d(4),
        "ln": nn.LayerNorm(4),
        "inner": nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4)),
        "plain": nn.BatchNorm1d(4, affine=False),
        "classifier": nn.Linear(4, 7, bias=False),
    }
    return nn.ModuleDict(layers)


BATCH_NORM = {f"{name}.{array}" for name in ("first", "inner.1") for array in ("weight", "bias")} | {
    f"{name}.{array}" for name in ("first", "inner.1", "plain") for array in ("running_mean", "running_var")
}


def test_counters_stay_out_and_statistics_are_in():
    names = set(float_arrays(network()))
    assert names >= BATCH_NORM
    assert not any("num_batches_tracked" in name for name in names)


def test_shared_batch_norm_travels_and_local_batch_norm_is_just_the_batch_norm_arrays():
    everything = set(float_arrays(network()))
    assert set(shared_layout(network(), SHARED).names) == everything - {"classifier.weight"}
    assert set(shared_layout(network(), LOCAL).names) == everything - {"classifier.weight"} - BATCH_NORM


def test_the_layout_does_not_depend_on_the_number_of_labels():
    other = network()
    other["classifier"] = nn.Linear(4, 99, bias=False)
    assert shared_layout(other, SHARED).digest == shared_layout(network(), SHARED).digest
    assert private_patterns(network(), SHARED) == ["*classifier*"]


def test_arrays_come_back_into_another_network():
    source, target = network(0), network(1).to(memory_format=torch.channels_last)
    arrays = float_arrays(source)
    load_arrays(target, arrays)
    for name, array in float_arrays(target).items():
        np.testing.assert_array_equal(array, arrays[name])
    assert target["conv"].weight.is_contiguous(memory_format=torch.channels_last)


def test_arrays_are_copies():
    net = network()
    arrays = float_arrays(net)
    arrays["conv.weight"][:] = 0
    assert net["conv"].weight.abs().sum() > 0


def test_another_networks_arrays_are_named():
    with pytest.raises(ValueError, match=r"no array 'conv2\.weight'"):
        load_arrays(network(), {"conv2.weight": np.zeros(1, np.float32)})
    with pytest.raises(ValueError, match=r"'conv\.weight' has shape \(1,\), the network's is \(4, 3, 3, 3\)"):
        load_arrays(network(), {"conv.weight": np.zeros(1, np.float32)})


SETTINGS = TrainSettings(lr=0.2, warm_up=0.25, final_lr=0.1)


def test_the_rate_rises_falls_and_ends_where_it_should():
    """Warm-up over the first 5 of 20 steps in equal parts, then lr (f + (1 - f)(1 + cos(pi p)) / 2)."""
    rates = [learning_rate(step, 20, SETTINGS) for step in range(20)]
    assert rates[:5] == pytest.approx([0.2 * k / 6 for k in range(1, 6)])
    assert rates[5] == pytest.approx(0.2)
    assert rates[5:] == pytest.approx([0.2 * (0.1 + 0.45 * (1 + math.cos(math.pi * k / 15))) for k in range(15)])
    assert learning_rate(20, 20, SETTINGS) == pytest.approx(0.02)
    assert rates[5:] == sorted(rates[5:], reverse=True)


def test_the_rate_of_the_published_cross_modal_schedule():
    """5e-4 to 5e-3 over 10 of 200 epochs, held to epoch 20, then a tenth every 5 epochs up to epoch 35."""
    settings = TrainSettings(
        schedule="steps", lr=5e-3, warm_up=0.05, warm_up_from=0.1, steps=[0.1, 0.125, 0.15, 0.175], step_factor=0.1
    )
    rates = [learning_rate(epoch * 7, 200 * 7, settings) for epoch in range(200)]
    assert rates[0] == pytest.approx(5e-4 + 4.5e-3 / 71)  # the first of 70 steps of warm-up
    assert np.diff(rates[:11]) == pytest.approx([4.5e-3 * 7 / 71] * 9 + [rates[10] - rates[9]])
    assert rates[10:20] == pytest.approx([5e-3] * 10)
    for first, rate in ((20, 5e-4), (25, 5e-5), (30, 5e-6)):
        assert rates[first : first + 5] == pytest.approx([rate] * 5)
    assert rates[35:] == pytest.approx([5e-7] * 165)


def test_groups_have_their_own_rates_and_decay():
    settings = replace(SETTINGS, head_lr_scale=3.0, head_warm_up=0.5, weight_decay=0.01)
    net = network()
    engine = make_optimiser(net, settings, ["*classifier*"])
    names = {parameter: name for name, parameter in net.named_parameters()}
    for step, resting in ((9, True), (10, False)):
        rate = set_learning_rate(engine, step, 20, settings)
        for group in engine.param_groups:
            for parameter in group["params"]:
                private = "classifier" in names[parameter]
                expected = 3.0 * rate if private else 0.0 if resting else rate
                assert group["lr"] == pytest.approx(expected)
                assert group["weight_decay"] == (0.01 if parameter.ndim > 1 else 0.0)
    assert sum(len(group["params"]) for group in engine.param_groups) == len(names)


def steps_of(net, engine, steps, settings):
    """Some steps of least squares on made data, each depending on its number alone."""
    for step in steps:
        generator = torch.Generator().manual_seed(step)
        features = torch.randn(8, 4, generator=generator)
        set_learning_rate(engine, step, 8, settings)
        engine.zero_grad()
        pictures = net["conv"](torch.randn(2, 3, 5, 5, generator=generator)).square().mean()
        loss = net["classifier"](net["inner"](features)).square().mean() + pictures
        loss.backward()
        engine.step()


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("kind", ["adamw", "adam", "sgd"])
def test_a_stored_state_goes_on_as_if_nothing_had_happened(kind, layout):
    settings = replace(SETTINGS, optimiser=kind)
    whole = network().to(memory_format=layout)
    engine = make_optimiser(whole, settings, ["*classifier*"])
    steps_of(whole, engine, range(8), settings)

    first = network().to(memory_format=layout)
    half = make_optimiser(first, settings, ["*classifier*"])
    steps_of(first, half, range(3), settings)
    second = network(1).to(memory_format=layout)
    load_arrays(second, float_arrays(first))
    other = make_optimiser(second, settings, ["*classifier*"])
    load_optimiser_state(second, other, optimiser_state(first, half))
    assert optimiser_state(second, other).keys() == optimiser_state(first, half).keys()
    steps_of(second, other, range(3, 8), settings)
    for name, array in float_arrays(whole).items():
        np.testing.assert_array_equal(float_arrays(second)[name], array, err_msg=name)


def test_a_state_of_another_network_is_named():
    engine = make_optimiser(network(), SETTINGS, [])
    with pytest.raises(ValueError, match=r"optimiser state of 'conv9\.weight'"):
        load_optimiser_state(network(), engine, {"conv9.weight/exp_avg": np.zeros(3, np.float32)})


def test_a_moment_of_another_shape_is_named():
    net = network()
    engine = make_optimiser(net, SETTINGS, [])
    with pytest.raises(
        ValueError, match=r"conv\.weight/exp_avg has shape \(3,\), the network's parameter \(4, 3, 3, 3\)"
    ):
        load_optimiser_state(net, engine, {"conv.weight/exp_avg": np.zeros(3, np.float32)})


def test_sgd_without_momentum_keeps_nothing():
    settings = replace(SETTINGS, optimiser="sgd", momentum=0.0)
    net = network()
    engine = make_optimiser(net, settings, [])
    steps_of(net, engine, range(1), settings)
    assert optimiser_state(net, engine) == {}
