"""Round loop, driven by clients with handwritten replies."""

import time
from dataclasses import replace

import numpy as np
import pytest
from fake_clients import CLOSE, SIZE, Client, Federation, average, error, three

from strategies import messages as m
from strategies.rounds import Convergence, FederationError, ServerState


def test_the_mean_is_weighted_by_examples_and_every_client_reaches_the_same_model():
    federation = three()
    state, final = federation.run()
    assert state.server_round == 3
    for server_round in (1, 2, 3):
        np.testing.assert_allclose(federation.mean(server_round), average(federation), **CLOSE)
        assert federation.left_out(server_round) == {}
    models = [client.models[3] for client in federation.clients.values()]
    np.testing.assert_allclose(models[0], 3 * average(federation), rtol=0, atol=6e-6)
    for model in models[1:]:
        np.testing.assert_array_equal(model, models[0])
    assert final.measures == {"global_mAP": 0.5}


def test_measures_are_means_over_clients_weighted_by_examples():
    federation = three(rounds=1)
    federation.clients["a"].measures = {"loss_only_a": 7.0}
    federation.run()
    report = federation.reports[0]
    assert report.measures["loss_total"] == pytest.approx((10 * 10 + 30 * 30 + 60 * 60) / 100)
    assert report.measures["loss_only_a"] == 7.0
    assert list(report.clients) == ["a", "b", "c"]


def test_uniform_coefficients():
    federation = three(rounds=1, weighting="uniform")
    federation.run()
    assert [client.trained for client in federation.clients.values()] == [[(1, 1 / 3)]] * 3
    np.testing.assert_allclose(federation.mean(1), average(federation, weights=[1, 1, 1]), **CLOSE)


def test_below_the_quorum_the_round_is_repeated():
    federation = three(rounds=2)
    federation.fail_once("ab", 2)
    federation.run()
    report = federation.reports[1]
    assert report.attempts == 2
    assert [row["client"] for row in report.left_out] == ["a", "b"]
    np.testing.assert_allclose(federation.mean(2), average(federation), **CLOSE)
    assert federation.states[1].coefficient_sum == pytest.approx(1.0, abs=1e-12)  # of the good attempt alone
    assert [number for number, _ in federation.clients["c"].trained] == [1, 2, 2]


def test_a_round_that_stays_below_the_quorum_stops_the_run_and_keeps_the_last_state():
    federation = three()
    for name in "ab":
        federation.clients[name].faults = {2: error}
    with pytest.raises(
        FederationError, match=r"round 2 stayed below the quorum: a: error 2.*out of memory.*b: error 2"
    ):
        federation.run()
    assert [state.server_round for state in federation.states] == [1]
    assert len(federation.sent("train", 2)) == 6


def test_nobody_left_is_an_error_and_not_a_round():
    federation = three(rounds=1, quorum=0.01)
    for client in federation.clients.values():
        client.faults = {1: error}
    with pytest.raises(FederationError, match="round 1 stayed below the quorum"):
        federation.run()


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({m.LAYOUT: "other"}, "layout 'other' instead of '0123456789abcdef'"),
        ({m.TASK: "plate_text"}, "task 'plate_text' instead of 'dual_reid'"),
        ({m.KEY_ID: "k2"}, "key-id 'k2' instead of ''"),
        ({m.CLIENT: "a"}, "another node already calls itself 'a'"),
        ({m.CLIENT: "A"}, "its name 'A' looks like that of 'a'; choose another"),
        ({m.CLIENT: "\u0430"}, "its name '\u0430' looks like that of 'a'; choose another"),  # Cyrillic
        ({m.NUM_EXAMPLES: 0}, "num-examples is 0"),
    ],
)
def test_a_node_that_does_not_fit_is_refused_before_it_gets_anything(change, reason):
    federation = three(rounds=2)
    federation.rules = replace(federation.rules, num_clients=2)
    federation.clients["b"].info = change
    federation.run()
    for server_round in (1, 2):
        name = f"{change.get(m.CLIENT, 'b')} (node 2)"  # its number, because anybody may call itself b
        assert federation.left_out(server_round) == {name: f"refused: {reason}"}
        np.testing.assert_allclose(federation.mean(server_round), average(federation, "ac"), **CLOSE)
    assert not federation.clients["b"].trained
    assert {message.metadata.dst_node_id for message in federation.sent("train")} == {1, 3}


def test_too_few_nodes_at_the_start_is_an_error_that_says_who_was_refused():
    federation = three(quorum=0.9)
    federation.clients["b"].info = {m.LAYOUT: "other"}
    with pytest.raises(FederationError, match=r"2 of 3 nodes .*here: a, c; b \(node 2\): refused: layout 'other'"):
        federation.run()
    assert not federation.states


def test_a_refused_node_is_not_waited_for():
    federation = three(rounds=1, start_timeout=60.0)
    federation.clients["b"].info = {m.LAYOUT: "other"}
    started = time.monotonic()
    federation.run()
    assert time.monotonic() - started < 10
    np.testing.assert_allclose(federation.mean(1), average(federation, "ac"), **CLOSE)


def test_where_nodes_know_their_number_no_more_are_waited_for():
    federation = three(rounds=1)
    federation.rules = replace(federation.rules, num_clients=9, simulated=True)
    for client in federation.clients.values():
        client.info = {m.NUM_NODES: 3}
    federation.run()
    assert list(federation.reports[0].clients) == ["a", "b", "c"]


def test_a_fraction_of_the_nodes_is_sampled_by_the_seed():
    def cohorts(seed):
        clients = [Client(f"client-{i}", 10, [i, 0, 0]) for i in range(8)]
        federation = Federation(clients, rounds=6, fraction=0.5, seed=seed)
        federation.run()
        for client in clients:
            assert {coefficient for _, coefficient in client.trained} <= {0.25}
        return [tuple(report.clients) for report in federation.reports]

    first = cohorts(0)
    assert all(len(cohort) == 4 for cohort in first)
    assert first == cohorts(0)
    assert first != cohorts(1)
    assert len(set(first)) > 1


def test_a_node_left_behind_gets_the_model_passed_on():
    clients = [Client(f"client-{i}", 10, [i, 1, 0]) for i in range(6)]
    federation = Federation(clients, rounds=5, fraction=0.34, seed=3)
    federation.run()
    relayed = [message for message in federation.sent("train") if m.GLOBAL in message.content]
    assert relayed
    for message in relayed:  # by the sum of the replies up to then, added up again
        config = message.content[m.CONFIG]
        assert config[m.GLOBAL_VERSION] in (config[m.SERVER_ROUND] - 1, config[m.SERVER_ROUND] - 2)
        assert (m.AGGREGATE in message.content) == (config[m.GLOBAL_VERSION] == config[m.SERVER_ROUND] - 2)
        expected = np.zeros(SIZE, np.float32)
        for server_round in range(1, config[m.GLOBAL_VERSION] + 1):
            expected = expected + federation.mean(server_round)
        vector = np.frombuffer(m.bytes_of(message.content, m.GLOBAL, beside=[m.AGGREGATE]), np.float32)
        np.testing.assert_array_equal(vector, expected)
    assert len({client.models[5].tobytes() for client in clients}) == 1


def test_a_node_that_lost_its_models_gets_them_from_another():
    federation = three()
    client = federation.clients["b"]

    def lose(_):
        client.models = {0: np.zeros(SIZE, np.float32)}
        raise RuntimeError("disk replaced")

    client.faults = {2: lose}
    federation.run()
    (message,) = [message for message in federation.sent("train", 3) if message.metadata.dst_node_id == 2]
    assert m.GLOBAL in message.content
    assert m.AGGREGATE in message.content  # nobody has used it yet, and a query does not make anybody use it
    assert message.content[m.CONFIG][m.GLOBAL_VERSION] == 1
    np.testing.assert_allclose(federation.mean(3), average(federation), **CLOSE)
    assert len({client.models[3].tobytes() for client in federation.clients.values()}) == 1


def test_a_node_whose_model_differs_gets_the_one_of_the_majority():
    federation = three(rounds=3)
    client = federation.clients["b"]

    def bend(reply):
        client.models[1] = client.models[1] + 1
        reply[m.INFO].update(client.describe())
        return reply

    client.faults = {2: bend}
    federation.run()
    assert [m.GLOBAL in message.content for message in federation.sent("train", 3)] == [False, True, False]
    assert len({client.models[3].tobytes() for client in federation.clients.values()}) == 1


def test_the_aggregate_is_sent_only_to_those_who_lack_it():
    federation = three(rounds=2)
    federation.fail_once("ab", 2)
    federation.run()
    first, second = federation.sent("train", 2)[:3], federation.sent("train", 2)[3:]
    assert [m.AGGREGATE in message.content for message in first] == [True] * 3
    assert [m.AGGREGATE in message.content for message in second] == [False] * 3


def test_the_order_of_arrival_changes_nothing():
    def states(backwards):
        rng = np.random.default_rng(5)
        clients = [Client(f"client-{i}", int(rng.integers(1, 99)), rng.standard_normal(SIZE)) for i in range(7)]
        federation = Federation(clients, rounds=3)
        for client in clients:
            client.measures = {"global_mAP": client.examples / 700}
        if backwards:
            send = federation.grid.push_messages
            federation.grid.push_messages = lambda messages: list(send(list(messages)))
            pull, held = federation.grid.pull_messages, []

            def last_first(ids):  # a reply is given out once those of all later messages are gone
                (message_id,) = ids
                waiting = sorted(federation.grid._replies, key=lambda text: int(text.split("-")[1]))
                return pull(ids) if waiting and message_id == waiting[-1] else held

            federation.grid.pull_messages = last_first
        federation.run()
        return [(s.aggregate, s.coefficient_sum, s.convergence) for s in federation.states], [
            report.measures for report in federation.reports
        ]

    assert states(False) == states(True)


def test_measuring_is_asked_for_in_the_right_rounds():
    for every, expected in (
        (1, [False, True, True, True, True]),
        (2, [False, False, True, False, True]),
        (0, [False] * 5),
    ):
        federation = three(rounds=5, measure_every=every)
        federation.run()
        asked = [federation.sent("train", r)[0].content[m.CONFIG][m.MEASURE] for r in range(1, 6)]
        assert asked == expected
        assert {message.content[m.CONFIG][m.MEASURE] for message in federation.sent("evaluate")} == {True}


def test_it_stops_when_the_measure_gains_no_more():
    federation = three(rounds=9)
    for client in federation.clients.values():
        client.measures = {"global_mAP": 0.4}
    state, _ = federation.run(ServerState(0, Convergence(2, 0.001)))
    # Round 1 measures 0.4 and is the best; rounds 2 and 3 gain nothing.
    assert state.server_round == 3
    assert state.convergence.reached


def test_a_resumed_loop_goes_on_where_the_other_stopped():
    whole = three(rounds=4)
    whole.run()
    first = three(rounds=2)
    first.run()
    second = three(rounds=4)
    second.clients = first.clients
    second.run(first.states[-1])
    assert [report.server_round for report in second.reports] == [3, 4]
    assert [state.aggregate for state in first.states + second.states] == [state.aggregate for state in whole.states]
    assert [c.models[4].tobytes() for c in second.clients.values()] == [
        c.models[4].tobytes() for c in whole.clients.values()
    ]


def test_a_round_whose_checkpoint_fails_did_not_happen():
    federation = three()

    def full_disk(*_):
        raise OSError("no space left on device")

    federation.finished = full_disk
    with pytest.raises(OSError, match="no space left"):
        federation.run()
    assert not federation.sent("train", 2)


def test_bytes_are_counted_both_ways():
    federation = three(rounds=2)
    federation.run()
    payload = 16 + 4 * SIZE
    assert [report.bytes_up for report in federation.reports] == [3 * payload] * 2
    assert [report.bytes_down for report in federation.reports] == [0, 3 * payload]


def test_a_listener_gets_the_cohort_and_the_replies():
    federation = three(rounds=2)
    federation.fail_once("ab", 2)
    federation.run()
    cohort = ("a", "b", "c")
    rounds = [(1, 1, cohort), *"abc", (2, 1, cohort), "c", (2, 2, cohort), *"abc"]
    assert federation.events == [*rounds, (3, "final", cohort, federation.rules.deadline), *"abc"]
