"""Federations of three clients under `privacy.cipher=kahe`, as fixtures."""

import numpy as np
import pytest
from flwr.app import Error, Message

from strategies import messages as m

KAHE = "privacy.cipher=kahe"
QUICK = "federation.quorum=0.6 federation.measure_every=0 train.epochs=1"
THREE = f"{KAHE} data.partition.by=identity federation.num_clients=3 {QUICK}"
THREE_NODES = [{"partition-id": i, "num-partitions": 3} for i in range(3)]


@pytest.fixture
def three_kahe(make_federation):
    """Makes federations of three, of which two are needed to open a sum."""

    def make(rounds=2):
        return make_federation(changes=f"{THREE} federation.rounds={rounds}", node_configs=THREE_NODES)

    return make


@pytest.fixture(scope="session")
def undisturbed_kahe(tmp_path_factory, base_overrides):
    """The global model after two rounds of three that nothing disturbed."""
    from conftest import LocalFederation

    folder = tmp_path_factory.mktemp("undisturbed") / "run"
    overrides = f"{base_overrides} {THREE} federation.rounds=2"
    return vector_of(LocalFederation(folder, overrides, THREE_NODES).run())


def vector_of(federation):
    """The latest global model, which all clients hold bit for bit."""
    first, *others = (arrays["vector"] for arrays in federation.held("global").values())
    for other in others:
        np.testing.assert_array_equal(first, other)
    return first


def is_question(message):
    return message.content[m.CONFIG].get(m.ACTION) == m.ACTION_SUM_SHARES


def gone(message):
    return Message(Error(8, "ended"), reply_to=message)
