"""Sites that accept a message and never answer, and those that wake up again, by a simulated clock."""

import pytest
from fake_clients import Client, Federation, three
from flwr.app import Error, Message

import strategies.directory
import strategies.exchange
import strategies.partial_sync
from strategies.exchange import Patience
from strategies.nodes import Node
from strategies.rounds import FederationError

HOUR = 3600.0
LOOK = 1.0  # seconds: two looks for replies are at most 0.2 s apart, and a look for nodes takes half a second


class Clock:
    """Stands in for the module `time`: nobody sleeps."""

    def __init__(self):
        self.now = 1000.0

    def monotonic(self):
        return self.now

    def sleep(self, seconds):
        self.now += seconds


@pytest.fixture
def clock(monkeypatch):
    made = Clock()
    for module in (strategies.directory, strategies.exchange, strategies.partial_sync):
        monkeypatch.setattr(module, "time", made)
    return made


def hold(federation, clock, held):
    """Replies that `held(client, kind, server_round of the loop)` names come at the time it gives, and no earlier."""
    pull, asked = federation.grid.pull_messages, {}

    def later(ids):
        ids = list(ids)
        for message in federation.grid.sent:
            asked.setdefault(message.metadata.message_id, (message, len(federation.reports) + 1))
        [message_id] = ids
        message, server_round = asked[message_id]
        name = list(federation.clients)[message.metadata.dst_node_id - 1]
        until = held(name, message.metadata.message_type, server_round)
        return pull(ids) if until is None or clock.now >= until else []

    federation.grid.pull_messages = later


NEVER = float("inf")


def seconds(federation):
    return [report.seconds for report in federation.reports]


def test_a_site_that_was_killed_and_is_still_listed_costs_half_a_minute_in_each_later_round(clock):
    federation = three(rounds=5, deadline=HOUR)
    hold(federation, clock, lambda name, _, server_round: NEVER if name == "b" and server_round > 1 else None)
    _, final = federation.run()
    first, second, *later = seconds(federation)
    assert first < LOOK
    assert 120 <= second < 120 + LOOK  # a multiple of its slowest answer, and two minutes at least
    assert all(30 <= each < 30 + LOOK for each in [*later, final.seconds])
    assert federation.left_out(2) == {"b": "no reply before the deadline"}
    assert federation.left_out(3) == {"b": "silent still: no reply within 30 s"}
    assert sorted(federation.reports[-1].clients) == ["a", "c"]


def test_a_site_that_never_answers_at_all_is_waited_for_once(clock):
    federation = three(rounds=3, deadline=HOUR)
    hold(federation, clock, lambda name, *_: NEVER if name == "b" else None)
    federation.run()
    first, *later = seconds(federation)
    assert 600 <= first < 600 + LOOK  # ten minutes for a first query
    assert all(30 <= each < 30 + LOOK for each in later)
    assert federation.left_out(1) == {"node 2": "no reply before the deadline"}


def test_a_site_that_describes_itself_and_never_trains_is_given_the_whole_deadline_once(clock):
    federation = three(rounds=4, deadline=HOUR)
    hold(federation, clock, lambda name, kind, _: NEVER if name == "b" and kind == "train" else None)
    federation.run()
    first, *later = seconds(federation)
    assert HOUR <= first < HOUR + LOOK
    assert all(120 <= each < 120 + LOOK for each in later)  # by the slowest of the others


def test_the_final_model_is_waited_for_by_the_rounds_before(clock):
    federation = three(rounds=2, deadline=HOUR)
    hold(federation, clock, lambda name, kind, _: NEVER if name == "b" and kind == "evaluate" else None)
    _, final = federation.run()
    assert 120 <= final.seconds < 120 + LOOK
    assert sorted(final.clients) == ["a", "c"]


def test_the_final_model_has_the_whole_deadline_where_no_round_measured(clock):
    federation = three(rounds=2, deadline=HOUR, measure_every=0)
    hold(federation, clock, lambda name, kind, _: NEVER if name == "b" and kind == "evaluate" else None)
    _, final = federation.run()
    assert HOUR <= final.seconds < HOUR + LOOK


def test_a_site_that_answers_late_is_whole_again(clock):
    """Its answer to the query of round 3 comes 40 s later, while nobody waits for it: round 4 asks it in full."""
    federation = three(rounds=5, deadline=HOUR)
    begun = {}

    def held(name, kind, server_round):
        begun.setdefault(server_round, clock.now)
        if name != "b" or server_round not in (2, 3, 4):
            return None
        if kind == "train":
            return NEVER if server_round == 2 else None
        return begun[server_round] + (40 if server_round == 3 else 100)

    hold(federation, clock, held)
    a = federation.clients["a"]  # takes a minute for each training, so that the answer of b can come meanwhile
    answer = a.answer

    def slow(message):
        clock.now += 60 if message.metadata.message_type == "train" else 0
        return answer(message)

    a.answer = slow
    federation.run()
    assert federation.left_out(3) == {"b": "silent still: no reply within 30 s"}
    assert federation.left_out(4) == {}  # 100 s are within the patience for a site that is not silent
    assert "b" in federation.reports[3].clients
    assert seconds(federation)[3] >= 100


def test_an_answer_that_comes_in_the_half_minute_ends_the_silence(clock):
    federation = three(rounds=4, deadline=HOUR)
    hold(federation, clock, lambda name, kind, number: NEVER if (name, kind, number) == ("b", "train", 2) else None)
    federation.run()
    assert federation.left_out(3) == federation.left_out(4) == {}
    assert all(each < LOOK for each in seconds(federation)[2:])


def test_silent_sites_are_waited_for_where_a_round_has_too_few_without_them(clock):
    """Two of three are cut off in round 2 and for 400 s more: both attempts together wait that long."""
    federation = three(rounds=3, deadline=HOUR, start_timeout=300.0, quorum=0.9)
    back = {}

    def held(name, _, server_round):
        if name == "a" or server_round != 2:
            return None
        return back.setdefault("at", clock.now + 400)

    hold(federation, clock, held)
    federation.run()
    assert sorted(federation.reports[1].clients) == ["a", "b", "c"]
    assert 400 <= federation.reports[1].seconds < 400 + LOOK
    assert federation.missing[0].wanted == 3
    assert [missing.here for missing in federation.missing[:1]] == [["a"]]


def test_a_run_in_which_all_are_silent_for_good_ends(clock):
    federation = three(rounds=2, deadline=HOUR, start_timeout=300.0)
    hold(federation, clock, lambda *asked: NEVER if asked[2] == 2 else None)
    begun = clock.now
    with pytest.raises(FederationError, match=r"0 of 1 nodes after the start timeout \(here: none; a: silent still"):
        federation.run()
    assert clock.now - begun < 120 + 30 + 300 + 5 * LOOK  # trainings, queries, and the start timeout


@pytest.mark.parametrize("code", [3, 4])
@pytest.mark.usefixtures("clock")
def test_a_message_that_expired_unanswered_is_a_silence(code):
    """Flower says so itself where it looks a moment before the server does."""
    federation = three(rounds=3, deadline=HOUR)
    app = federation.app

    def expired(message, context):
        if context.node_config["client"] == "b" and federation.reports:
            return Message(Error(code, "Message Unavailable"), reply_to=message)
        return app(message, context)

    federation.grid.app = expired
    federation.run()
    assert federation.left_out(2) == {"b": "no reply before the deadline"}
    assert federation.left_out(3) == {"b": "silent still: no reply within 30 s"}


def test_without_a_factor_each_question_has_the_whole_patience(clock):
    federation = three(rounds=3, deadline=HOUR, straggler_factor=0.0)
    hold(federation, clock, lambda name, _, server_round: NEVER if name == "b" and server_round > 1 else None)
    federation.run()
    assert [round(each) for each in seconds(federation)] == [0, 3600, 600]


def test_the_round_in_which_clients_equalise_has_the_whole_deadline(clock):
    federation = three(rounds=4, deadline=HOUR, long_round=3)
    begun = {}

    def held(name, kind, server_round):
        begun.setdefault(server_round, clock.now)
        return begun[3] + 2000 if (name, kind, server_round) == ("b", "train", 3) else None

    hold(federation, clock, held)
    federation.run()
    assert 2000 <= seconds(federation)[2] < 2000 + LOOK
    assert federation.left_out(3) == {}
    ttls = {number: {each.metadata.ttl for each in federation.sent("train", number)} for number in (1, 2, 3, 4)}
    assert ttls[1] == {HOUR}
    assert ttls[2] == {120.0}
    assert ttls[3] == {HOUR}
    assert ttls[4] == {120.0, HOUR}  # five times 2000 s are beyond the deadline


def test_a_client_that_was_away_in_the_long_round_has_the_whole_deadline_in_its_next_one():
    rules = Federation([Client("a", 1, [1, 0, 0])], deadline=HOUR, long_round=3).rules
    patience, node = Patience(rules), Node(1, "a", 1, {})
    assert patience.seconds(node, "train", 1) == HOUR
    patience.answered(node, "train", 2.0, 1)
    assert patience.seconds(node, "train", 2) == 120
    assert patience.seconds(node, "train", 5) == HOUR
    patience.answered(node, "train", 100.0, 5)
    assert patience.seconds(node, "train", 6) == 5 * 100


@pytest.mark.parametrize(("final", "seconds"), [(7 * HOUR, 7 * HOUR), (0.0, 120)])
def test_the_final_model_of_which_clients_make_their_own_has_a_wait_of_its_own(final, seconds):
    rules = Federation([Client("a", 1, [1, 0, 0])], deadline=HOUR, final_seconds=final).rules
    patience, node = Patience(rules), Node(1, "a", 1, {})
    assert patience.seconds(node, "evaluate", 1) == max(final, HOUR)  # nothing is known yet
    patience.answered(node, "train", 2.0, 1)
    patience.answered(node, "evaluate", 2.0, 1)
    assert patience.seconds(node, "train", 2) == 120
    assert patience.seconds(node, "evaluate", 2) == seconds


def test_a_final_model_that_takes_longer_than_a_round_ends_the_run_well(clock):
    federation = three(rounds=2, deadline=HOUR, final_seconds=3 * HOUR)
    begun = clock.now
    hold(federation, clock, lambda _, kind, __: begun + 2 * HOUR if kind == "evaluate" else None)
    federation.run()
    assert 2 * HOUR <= clock.now - begun < 2 * HOUR + 2 * LOOK
    assert federation.looks > 2 * HOUR / LOOK
    finals = [each for each in federation.grid.sent if each.metadata.message_type == "evaluate"]
    assert [each.metadata.ttl for each in finals] == [3 * HOUR] * 3


def test_a_time_limit_of_the_caller_bounds_the_final_model_too(clock):
    federation = three(rounds=1, deadline=HOUR, final_seconds=3 * HOUR)
    begun = clock.now
    hold(federation, clock, lambda _, kind, __: NEVER if kind == "evaluate" else None)
    with pytest.raises(FederationError, match="the final model reached no node"):
        federation.run(timeout=60.0)
    assert 60 <= clock.now - begun < 60 + 2 * LOOK
    assert {client for client, _ in federation.failures} == set("abc")


def test_a_node_that_went_away_and_came_back_is_not_silent_any_more():
    patience = Patience(Federation([Client("a", 1, [1, 0, 0])], deadline=HOUR).rules)
    node = Node(1, "a", 1, {})
    patience.missed(node, "query")
    assert patience.seconds(node, "query", 2) == 30
    patience.present([])
    assert patience.seconds(node, "query", 3) == 600
