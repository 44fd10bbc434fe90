"""Server momentum and Adam, as every client computes them from the aggregates."""

import numpy as np
import pytest
import torch
from federation_checks import kind_of, replies

from app.core.arrays import float_arrays, shared_layout
from app.core.node_store import digest_of
from app.tasks import make_task
from strategies import messages as m
from strategies.ciphers.binding import Binding
from strategies.ciphers.plain import PlainCipher

pytestmark = pytest.mark.slow


def aggregates(federation):
    """The mean update of each round, as decrypted from what the server sent out."""
    means = {}
    for message in federation.grid.sent:
        if m.AGGREGATE in message.content:
            payload = m.bytes_of(message.content, m.AGGREGATE)
            size = (len(payload) - 16) // 4
            config = message.content[m.CONFIG]
            means[kind_of(message)[1] - 1] = (
                PlainCipher(size).decrypt(payload, config[m.COEFFICIENT_SUM], Binding("", "", 1), state={}).mean
            )
    return [means[server_round] for server_round in sorted(means)]


def start_vector(federation):
    network = make_task(federation.settings).build(2, federation.settings.seed)
    return shared_layout(network, federation.settings.federation).flatten(float_arrays(network))


def statistics(federation):
    """Where BatchNorm's running statistics stand in the shared vector."""
    network = make_task(federation.settings).build(2, federation.settings.seed)
    learnt = {name for name, _ in network.named_parameters()}
    layout = shared_layout(network, federation.settings.federation)
    whole = layout.unflatten(np.zeros(layout.size, np.float32))
    return layout.flatten({name: array + (name not in learnt) for name, array in whole.items()}) == 1


def assert_reached(federation, stepped):
    """Learnt values took the server's step, statistics the plain mean."""
    averaged = start_vector(federation).astype(np.float64) + np.sum(aggregates(federation), axis=0, dtype=np.float64)
    expected = np.where(statistics(federation), averaged, stepped)
    for arrays in federation.held("global", 3).values():
        # Values below 8, rounded to float32 at each of three steps and their moments.
        np.testing.assert_allclose(arrays["vector"], expected, rtol=1e-6, atol=1e-6)


def test_server_momentum_is_sgd_on_every_client_alike(make_federation):
    changes = "federation.server_optimiser.name=momentum federation.server_optimiser.momentum=0.5"
    federation = make_federation(changes=changes).run()
    assert_digests_agree(federation)
    parameter = torch.nn.Parameter(torch.from_numpy(start_vector(federation)).double())
    engine = torch.optim.SGD([parameter], lr=1.0, momentum=0.5)
    for mean in aggregates(federation):
        parameter.grad = -torch.from_numpy(mean).double()
        engine.step()
    assert_reached(federation, parameter.detach().numpy())


def test_server_adam_is_the_papers_step_on_every_client_alike(make_federation):
    changes = "federation.server_optimiser.name=adam federation.server_optimiser.lr=0.001"
    federation = make_federation(changes=changes).run()
    assert_digests_agree(federation)
    vector = start_vector(federation).astype(np.float64)
    first, second, tau = np.zeros_like(vector), np.full_like(vector, 1e-6), 1e-3
    for mean in aggregates(federation):
        first = 0.9 * first + 0.1 * mean
        second = 0.99 * second + 0.01 * mean.astype(np.float64) ** 2
        vector = vector + 0.001 * first / (np.sqrt(second) + tau)
    assert_reached(federation, vector)


@pytest.mark.parametrize("optimiser", ["momentum", "adam federation.server_optimiser.lr=0.1"])
def test_a_server_step_takes_no_variance_below_zero(make_federation, optimiser):
    """A momentum of 0.9 goes on lowering the variances of an untrained network long after they have settled."""
    changes = f"federation.rounds=8 train.epochs=24 federation.server_optimiser.name={optimiser}"
    federation = make_federation(changes=changes).run()
    network = make_task(federation.settings).build(2, 0)
    arrays = shared_layout(network, federation.settings.federation).unflatten(
        federation.held("global", 8)["client-0"]["vector"]
    )
    assert min(array.min() for name, array in arrays.items() if "running_var" in name) > 0


def assert_digests_agree(federation):
    """Each client says in each round which global models it holds, moments included: all say the same."""
    said = {}
    for (_, client), reply in replies(federation, "train").items():
        info = reply.content[m.INFO]
        for version, digest in zip(info[m.HELD_ROUNDS], info[m.HELD_DIGESTS], strict=True):
            said.setdefault(version, {}).setdefault(client, set()).add(digest)
    assert sorted(said) == [0, 1, 2]
    for clients in said.values():
        assert len(clients) == 2
        assert len(set.union(*clients.values())) == 1
    last = [digest_of(arrays) for arrays in federation.held("global", 3).values()]
    assert len(set(last)) == 1
    assert len({next(iter(next(iter(clients.values())))) for clients in said.values()}) == 3
