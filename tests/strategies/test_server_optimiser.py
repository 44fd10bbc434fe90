"""The server's step against a second computation."""

import math

import numpy as np
import pytest
import torch

from strategies.server_optimiser import Adam, Average, Momentum

ROUNDS, SIZE = 5, 9
UPDATES = np.random.default_rng(1).standard_normal((ROUNDS, SIZE)).astype(np.float32)
START = np.random.default_rng(2).standard_normal(SIZE).astype(np.float32)
# Values near 1 in float32 carry 6e-8 of rounding; a handful of operations over five rounds stay below 2e-6.
TOLERANCE = 2e-6


def run(optimiser):
    vector, state = START, optimiser.initial_state(SIZE)
    for update in UPDATES:
        vector, state = optimiser.step(vector, update, state)
    return vector


def torch_sgd(lr, momentum, nesterov):
    """Descends along gradient -u, so that w + lr u is a plain step."""
    parameter = torch.nn.Parameter(torch.tensor(START, dtype=torch.float64))
    engine = torch.optim.SGD([parameter], lr=lr, momentum=momentum, nesterov=nesterov)
    for update in UPDATES:
        parameter.grad = -torch.tensor(update, dtype=torch.float64)
        engine.step()
    return parameter.detach().numpy()


@pytest.mark.parametrize("lr", [1.0, 0.3])
def test_average_adds_the_mean_update(lr):
    expected = START + lr * UPDATES.astype(np.float64).sum(axis=0)
    np.testing.assert_allclose(run(Average(lr)), expected, rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize(
    ("lr", "momentum", "nesterov"),
    [(1.0, 0.9, False), (0.1, 0.5, False), (1.0, 0.0, False), (1.0, 0.9, True), (0.1, 0.5, True)],
)
def test_momentum_is_sgd_along_the_negative_update(lr, momentum, nesterov):
    expected = torch_sgd(lr, momentum, nesterov)
    np.testing.assert_allclose(run(Momentum(lr, momentum, nesterov)), expected, rtol=0, atol=5 * TOLERANCE)


def test_adam_equals_the_papers_loop():
    lr, beta1, beta2, tau = 0.05, 0.8, 0.95, 1e-3
    expected = []
    for place in range(SIZE):
        w, m, v = float(START[place]), 0.0, tau**2
        for update in UPDATES[:, place].astype(float):
            m = beta1 * m + (1 - beta1) * update
            v = beta2 * v + (1 - beta2) * update**2
            w += lr * m / (math.sqrt(v) + tau)
        expected.append(w)
    np.testing.assert_allclose(run(Adam(lr, beta1, beta2, tau)), expected, rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize("optimiser", [Average(), Momentum(), Momentum(nesterov=True), Adam()])
def test_a_step_leaves_its_arguments_and_stays_float32(optimiser):
    vector, update, state = START.copy(), UPDATES[0].copy(), optimiser.initial_state(SIZE)
    kept = {name: moment.copy() for name, moment in state.items()}
    after, moments = optimiser.step(vector, update, state)
    np.testing.assert_array_equal(vector, START)
    np.testing.assert_array_equal(update, UPDATES[0])
    assert after.dtype == np.float32
    assert set(moments) == set(kept)
    for name, moment in kept.items():
        np.testing.assert_array_equal(state[name], moment)
        assert moments[name].dtype == np.float32


def test_without_updates_a_plain_model_stands_still():
    zero = np.zeros(SIZE, np.float32)
    for optimiser in (Average(), Momentum(), Adam()):
        np.testing.assert_array_equal(optimiser.step(START, zero, optimiser.initial_state(SIZE))[0], START)
