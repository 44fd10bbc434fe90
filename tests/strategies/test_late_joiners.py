"""Models sent to late joiners, and to nodes that hold another one than the others."""

from dataclasses import replace

import numpy as np
import pytest
from fake_clients import CLOSE, SIZE, average, error, three, truncated
from in_process_grid import InProcessGrid

from strategies import messages as m
from strategies.rounds import FederationError


def lost_its_models(federation, name, server_round):
    """From this round on the client holds nothing but the first model, once."""
    client = federation.clients[name]

    def lose(_):
        client.models = {0: np.zeros(SIZE, np.float32)}
        client.faults = {}
        raise RuntimeError("disk replaced")

    client.faults = {server_round: lose}


def test_a_late_joiner_refuses_a_wrong_model_and_gets_one_from_another_node():
    """The first node sends a model that most do not hold; "c" refuses it and gets the right one a round later."""
    federation = three(rounds=5)
    lost_its_models(federation, "c", 2)
    federation.clients["a"].passes_on = lambda vector: vector + 1
    federation.run()
    assert "another model than most hold" in federation.left_out(3)["c"]
    assert federation.left_out(4) == {}
    assert [number for number, _ in federation.clients["c"].trained] == [1, 2, 4, 5]
    assert len({client.models[5].tobytes() for client in federation.clients.values()}) == 1


def test_another_node_is_queried_at_once_if_one_cannot_send_its_model():
    federation = three(rounds=4)
    lost_its_models(federation, "c", 2)
    federation.clients["a"].passes_on = error
    federation.run()
    assert "out of memory" in federation.left_out(3)["a"]
    assert [number for number, _ in federation.clients["c"].trained] == [1, 2, 3, 4]


@pytest.mark.parametrize("claimed", ["0" * 24, "f" * 24])
def test_one_of_two_cannot_put_its_model_in_the_place_of_the_others(claimed):
    """Whichever digest sorts first: the run stops before any model is sent, and names the digests of each node."""
    federation = three(rounds=4)
    del federation.clients["c"]
    federation.grid = InProcessGrid(federation.app, "", [{"client": name} for name in "ab"])
    federation.rules = replace(federation.rules, num_clients=2, quorum=0.9)
    honest, liar = federation.clients["a"], federation.clients["b"]

    def lie(reply):
        liar.info = {m.HELD_ROUNDS: [1, 2], m.HELD_DIGESTS: [liar.models[1].tobytes().hex(), claimed]}
        return truncated(reply)  # it is asked to describe itself again

    liar.faults = {3: lie}
    with pytest.raises(FederationError, match=r"disagree about global model 2, .*: a '[0-9a-f]+', b '(0{24}|f{24})'"):
        federation.run()
    assert not [message for message in federation.sent("query") if message.content[m.CONFIG][m.ACTION] == "send-global"]
    np.testing.assert_allclose(honest.models[2], 2 * average(federation, "ab"), **CLOSE)


def test_a_node_with_another_model_of_the_version_is_given_the_one_that_most_hold():
    """Not the sum, which it would not need: it would go on with its own."""
    federation = three(rounds=4)
    client = federation.clients["b"]

    def drift(reply):
        client.models[max(client.models) + 1] = np.full(SIZE, 7, np.float32)
        return reply

    client.faults = {2: drift}
    federation.run()
    assert len({client.models[4].tobytes() for client in federation.clients.values()}) == 1
    assert [m.GLOBAL in message.content for message in federation.sent("train", 4)] == [False, True, False]
    np.testing.assert_allclose(client.models[4], 4 * average(federation), **CLOSE)
