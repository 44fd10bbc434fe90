"""`PartialSync` as a strategy of Flower's: hooks that a subclass overrides, and the arguments of `start`."""

import math
import re
import weakref
from pathlib import Path

import numpy as np
import pytest
from fake_clients import CLOSE, Client, Federation, average, three
from flwr.app import ConfigRecord, MetricRecord
from flwr.serverapp.strategy import Strategy

from strategies import messages as m
from strategies.partial_sync import PartialSync

_PAGE = Path(__file__).parents[2] / "docs/federation.md"


@pytest.fixture(scope="module")
def examples():
    """The classes of docs/federation.md by name."""
    blocks = re.findall(r"```python\n(class .*?)```", _PAGE.read_text(encoding="utf-8"), re.DOTALL)
    names = {"PartialSync": PartialSync, "math": math}
    for block in blocks:
        exec(block, names)
    return names


def strategy_of(federation, **overridden):
    """A subclass with these methods."""
    federation.strategy = type("Changed", (PartialSync,), overridden)
    return federation


def test_it_is_a_strategy_of_flower():
    assert issubclass(PartialSync, Strategy)
    assert not PartialSync.__abstractmethods__


def test_a_subclass_chooses_the_cohort(examples):
    clients = [Client(name, 10, [number, 0, 0]) for number, name in enumerate("abcd")]
    federation = Federation(clients, examples["InTurn"], rounds=3, fraction=0.5)
    federation.run()
    assert [list(report.clients) for report in federation.reports] == [["a", "b"], ["c", "d"], ["a", "b"]]
    assert federation.events[0] == (1, 1, ("a", "b"))
    expected = [average(federation, names) for names in ("ab", "cd", "ab")]
    for client in clients:  # also those that a round passed by
        np.testing.assert_allclose(client.models[3], sum(expected), **CLOSE)


def test_a_subclass_weighs_the_clients(examples):
    federation = three(rounds=1)
    federation.strategy = examples["SquareRoot"]
    federation.run()
    weights = [math.sqrt(examples) for examples in (10, 30, 60)]
    np.testing.assert_allclose(federation.mean(1), average(federation, weights=weights), **CLOSE)
    assert not np.allclose(federation.mean(1), average(federation), atol=0.01)


def test_a_subclass_calls_the_hooks_of_flower(examples):
    federation = three(rounds=2)
    federation.clients["north"] = north = Client("north", 100, [9, 9, 9])
    federation = Federation(federation.clients.values(), examples["Patient"], rounds=2)
    federation.run()
    assert {message.content[m.CONFIG]["warm-up"] for message in federation.sent("train")} == {True}
    assert list(federation.reports[1].clients) == ["a", "b", "c"]
    np.testing.assert_allclose(federation.mean(2), average(federation), **CLOSE)
    assert [number for number, _ in north.trained] == [1, 2]
    np.testing.assert_array_equal(north.models[2], federation.clients["a"].models[2])


def test_what_hooks_return_is_stored_and_reported():
    def aggregate_train(self, server_round, replies):
        arrays, metrics = PartialSync.aggregate_train(self, server_round, replies)
        return arrays, MetricRecord({**metrics, "round_squared": float(server_round**2)})

    federation = strategy_of(three(rounds=3), aggregate_train=aggregate_train)
    federation.run()
    assert [report.measures["round_squared"] for report in federation.reports] == [1.0, 4.0, 9.0]
    assert [row["round_squared"] for row in federation.result.train_metrics_clientapp.values()] == [1.0, 4.0, 9.0]


def test_replies_are_folded_one_at_a_time():
    """Beside the newest reply at most the one before it is in memory."""
    alive, most = weakref.WeakSet(), []

    def aggregate_train(self, server_round, replies):
        def watched():
            for reply in replies:
                alive.add(reply)
                most.append(len(alive))
                yield reply

        return PartialSync.aggregate_train(self, server_round, watched())

    federation = Federation([Client(f"client-{i}", 10, [i, 0, 0]) for i in range(9)], rounds=2)
    answer = federation.grid.push_messages

    def push(messages):  # this grid keeps what it received; a real one does not
        ids = answer(messages)
        federation.grid.received.clear()
        return ids

    federation.grid.push_messages = push
    strategy_of(federation, aggregate_train=aggregate_train).run()
    assert len(most) == 18
    assert max(most) <= 2


def test_start_takes_the_arguments_of_flower():
    federation, seen = three(), []

    def evaluate(server_round, arrays):
        seen.append((server_round, arrays[m.AGGREGATE].data if arrays else b""))
        return MetricRecord({"rounds": server_round}) if server_round else None

    federation.run(
        num_rounds=2,
        timeout=7.0,
        train_config=ConfigRecord({"lr": 0.5, m.COEFFICIENT_SUM: 99.0}),
        evaluate_config=ConfigRecord({"top": 5}),
        evaluate_fn=evaluate,
    )
    assert [server_round for server_round, _ in seen] == [0, 1, 2]
    assert [payload for _, payload in seen] == [b"", *(state.aggregate for state in federation.states)]
    train = federation.sent("train")
    assert {message.content[m.CONFIG]["lr"] for message in train} == {0.5}
    sums = [message.content[m.CONFIG][m.COEFFICIENT_SUM] for message in federation.sent("train", 2)]
    assert sums == pytest.approx([1.0] * 3)  # its own keys stay its own
    assert {message.metadata.ttl for message in federation.sent("train", 1)} == {7.0}
    assert {message.content[m.CONFIG]["top"] for message in federation.sent("evaluate")} == {5}
    result = federation.result
    assert {number: dict(row) for number, row in result.evaluate_metrics_serverapp.items()} == {
        1: {"rounds": 1},
        2: {"rounds": 2},
    }
    assert list(result.train_metrics_clientapp) == [1, 2]
    assert dict(result.train_metrics_clientapp[2]) == federation.reports[1].measures
    assert {number: dict(row) for number, row in result.evaluate_metrics_clientapp.items()} == {2: {"global_mAP": 0.5}}
    assert result.arrays[m.AGGREGATE].data == federation.states[-1].aggregate


def test_start_goes_on_from_given_arrays():
    """Another sum of round 2 than the one in the state: twice as large."""
    first, doubled = three(rounds=2), three(rounds=1)
    for client in doubled.clients.values():
        client.update = 2 * client.update
    first.run()
    doubled.run()
    second = three(rounds=3)
    second.clients = first.clients
    for client in second.clients.values():
        del client.models[2]
    second.run(first.states[-1], initial_arrays=doubled.states[0].arrays)
    for client in second.clients.values():
        np.testing.assert_allclose(client.models[3], (1 + 2 + 1) * average(first), rtol=0, atol=8e-6)


def test_a_reply_under_the_number_of_another_node_is_refused():
    """Hooks know a reply by its sender, so that nobody must answer as another."""
    federation = three(rounds=1)

    def pretend(_, reply):
        if reply.metadata.message_type == "train" and reply.metadata.src_node_id == 2:
            reply.metadata.__dict__["_src_node_id"] = 1
        return reply

    federation.grid.tamper = pretend
    federation.run()
    assert federation.left_out(1) == {"b": "refused: its reply names node 1 as sender"}
    np.testing.assert_allclose(federation.mean(1), average(federation, "ac"), **CLOSE)


def test_the_summary_is_logged(caplog):
    with caplog.at_level("INFO", logger="flwr"):
        three(rounds=1).run()
    assert "PartialSync: 1 rounds of dual_reid, 3 clients" in caplog.text
