"""Waiting of the server: for sites that are not there, that went away, and that are slow."""

import time
from dataclasses import replace

import pytest
from fake_clients import Client, Federation, three
from flwr.app import Error, Message, MessageType, RecordDict
from flwr.supercore.task_identity import TaskIdentity

from app.federation.build import make_rules
from app.settings.load import load_settings
from strategies.directory import NodeDirectory
from strategies.exchange import Patience, exchange
from strategies.nodes import Node
from strategies.rounds import FederationError, RoundReport


def lose(federation, name, server_round):
    """The training of this client and round goes to a process that never answers; once."""
    federation.clients[name].faults[server_round] = lambda _: federation.clients[name].faults.clear()


def test_a_client_is_waited_for_by_its_own_earlier_rounds_and_not_for_the_deadline():
    federation = three(rounds=3, deadline=60.0, straggler_factor=5.0, straggler_seconds=0.4)
    lose(federation, "b", 2)
    started = time.monotonic()
    federation.run()
    assert federation.left_out(2) == {"b": "no reply before the deadline"}
    assert 0.4 <= federation.reports[1].seconds < 5
    assert federation.left_out(3) == {}
    assert time.monotonic() - started < 15


@pytest.mark.slow
def test_the_slowest_earlier_answer_counts_times_the_factor():
    federation = three(rounds=2, deadline=60.0, straggler_factor=3.0, straggler_seconds=0.0)
    pull, held = federation.grid.pull_messages, {}

    def slow(ids):  # the answer of b in round 1 comes after half a second
        ids = list(ids)
        now = time.monotonic()
        first = [message.metadata for message in federation.sent("train", 1) if message.metadata.dst_node_id == 2]
        asked = any(metadata.message_id in ids for metadata in first)
        return [] if asked and now < held.setdefault("first", now) + 0.5 else pull(ids)

    federation.grid.pull_messages = slow
    lose(federation, "b", 2)
    federation.run()
    assert federation.left_out(1) == {}
    assert list(federation.left_out(2)) == ["b"]
    assert 3 * 0.5 <= federation.reports[1].seconds < 3 * 0.5 + 2


def test_a_client_that_was_not_waited_for_has_the_whole_deadline_the_next_time():
    federation = three(rounds=3, deadline=1.0, straggler_factor=1.0, straggler_seconds=0.1)
    faults = federation.clients["b"].faults
    faults[2] = faults[3] = lambda _: None
    federation.run()
    assert federation.reports[1].seconds < 0.9
    assert federation.reports[2].seconds >= 1.0


def test_a_message_lives_as_long_as_its_answer_is_waited_for():
    federation = three(rounds=2, deadline=3600.0, straggler_factor=5.0, straggler_seconds=20.0)
    federation.run()
    assert {message.metadata.ttl for message in federation.sent("train", 1)} == {3600.0}
    assert {message.metadata.ttl for message in federation.sent("train", 2)} == {20.0}


def test_a_silent_site_ends_its_round_after_three_times_its_slowest_one_and_two_minutes_at_least():
    settings = load_settings("experiment=quickstart privacy=plain")
    rules = make_rules(settings, task=settings.task, layout="l", run_key="r")
    node, patience = Node(7, "north", 10, {}), Patience(rules)
    assert patience.seconds(node, MessageType.TRAIN, 1) == rules.deadline == 3600.0  # nothing is known yet
    for took, waits in ((10.0, 120.0), (100.0, 300.0), (20.0, 300.0), (2000.0, 3600.0)):
        patience.answered(node, MessageType.TRAIN, took, 1)
        assert patience.seconds(node, MessageType.TRAIN, 2) == waits


@pytest.mark.parametrize(("cpus", "waiting"), [(2, 16), (64, 128)])
def test_in_a_simulation_few_messages_wait_at_once(cpus, waiting):
    """Twice as many as compute at a time, and 16 at least; at real sites all."""
    settings = load_settings(f"experiment=quickstart privacy=plain simulation.cpus={cpus}")
    for simulated, most in ((True, waiting), (False, 0)):
        rules = make_rules(settings, task=settings.task, layout="l", run_key="r", simulated=simulated)
        assert NodeDirectory(rules)._at_once == most


def test_simulated_clients_wait_for_one_another_with_personal_models():
    words = (
        "experiment=quickstart privacy=plain federation.deadline=100 personalise.deadline=50 federation.num_clients=4"
    )
    for more, simulated, seconds in (("", True, 0), ("personalise=on", False, 150), ("personalise=on", True, 600)):
        settings = load_settings(f"{words} {more}")
        rules = make_rules(settings, task=settings.task, layout="l", run_key="r", simulated=simulated)
        assert rules.final_seconds == seconds


def test_without_a_factor_the_deadline_alone_counts():
    federation = three(rounds=2, deadline=0.8, straggler_factor=0.0, straggler_seconds=0.0)
    lose(federation, "b", 2)
    federation.run()
    assert federation.reports[1].seconds >= 0.8


@pytest.mark.parametrize(("code", "words"), [(5, "the site is gone"), (8, "its client process ended")])
def test_an_error_of_flower_ends_the_wait_for_the_site_it_was_meant_for(code, words):
    """Flower's own replies name node 1 as their sender, whoever they are about."""
    federation = three(rounds=2, deadline=60.0)
    app = federation.app

    def gone(message, context):
        if message.metadata.message_type == "train" and context.node_config["client"] == "c":
            reply = Message(Error(code, "Node Unavailable"), reply_to=message)
            reply.metadata.__dict__["_src_node_id"] = 1
            return reply
        return app(message, context)

    federation.grid.app = gone
    started = time.monotonic()
    federation.run()
    assert time.monotonic() - started < 10
    [reason] = federation.left_out(1).values()
    assert list(federation.left_out(1)) == ["c"]
    assert words in reason
    assert f"error {code}" in reason


def test_the_listener_gets_connected_nodes_and_the_seconds_left():
    federation = Federation([Client("north", 3, [1, 0, 0]), Client("south", 5, [0, 1, 0])], rounds=1)
    federation.rules = replace(federation.rules, num_clients=3, start_timeout=0.8, quorum=0.9)
    with pytest.raises(FederationError, match=r"2 of 3 nodes after the start timeout \(here: north, south"):
        federation.run()
    assert [missing.here for missing in federation.missing] == [["north", "south"]] * len(federation.missing)
    assert federation.missing[0].wanted == 3
    assert 0 < federation.missing[0].seconds <= 0.8
    assert len(federation.missing) >= 2


def test_a_site_that_fails_to_describe_itself_later_is_called_by_its_name():
    federation = three(rounds=2)
    federation.clients["b"].faults = {1: lambda _: None}
    federation.rules = replace(federation.rules, deadline=0.3)
    app, asked = federation.app, []

    def broken(message, context):
        is_query = message.metadata.message_type == "query" and context.node_config["client"] == "b"
        asked.extend([1] if is_query else [])
        if is_query and len(asked) > 1:
            return Message(Error(2, "no folder"), reply_to=message)
        return app(message, context)

    federation.grid.app = broken
    federation.run()
    assert federation.left_out(2) == {"b": "error 2: no folder"}


class FewAtOnce:
    """A grid that answers the oldest of its messages at each poll, and notes how many wait."""

    def __init__(self):
        self.open, self.most, self.pushed = [], 0, []

    def push_messages(self, messages):
        ids = [f"{message.metadata.dst_node_id}" for message in messages]
        self.open += ids
        self.pushed.append(len(ids))
        self.most = max(self.most, len(self.open))
        return ids

    def pull_messages(self, ids):
        (message_id,) = ids
        if not self.open or self.open[0] != message_id:
            return []
        self.open.pop(0)
        return [Message(RecordDict(), int(message_id), MessageType.TRAIN)]


@pytest.fixture
def _identity(monkeypatch):
    monkeypatch.setattr(TaskIdentity, "_run_id", 1)
    monkeypatch.setattr(TaskIdentity, "_task_id", 1)
    monkeypatch.setattr(TaskIdentity, "_node_id", 1)


@pytest.mark.usefixtures("_identity")
@pytest.mark.parametrize(("at_once", "most"), [(0, 40), (7, 7)])
def test_so_many_messages_wait_at_once(at_once, most):
    grid, report = FewAtOnce(), RoundReport(1)
    nodes = [Node(number, f"client-{number}", 1, {}) for number in range(1, 41)]
    outgoing = [(node, Message(RecordDict(), node.node_id, MessageType.TRAIN)) for node in nodes]
    found = [node.node_id for node, _ in exchange(grid, outgoing, report, lambda _: 60.0, at_once)]
    assert sorted(found) == list(range(1, 41))
    assert (grid.most, sum(grid.pushed)) == (most, 40)


@pytest.mark.usefixtures("_identity")
def test_a_message_that_waits_for_its_turn_has_its_whole_time():
    """Two at once: the first two are never answered, and the others are sent when their time is over."""
    grid = FewAtOnce()
    grid.pull_messages = lambda _: []
    nodes = [Node(number, f"client-{number}", 1, {}) for number in range(1, 5)]
    outgoing = [(node, Message(RecordDict(), node.node_id, MessageType.TRAIN)) for node in nodes]
    started = time.monotonic()
    found = list(exchange(grid, outgoing, RoundReport(1), lambda _: 0.3, 2))
    assert [answer for _, answer in found] == ["no reply before the deadline"] * 4
    assert time.monotonic() - started >= 0.6
    assert grid.pushed == [2, 2]
