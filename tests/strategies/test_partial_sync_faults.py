"""Bad, late and lost replies: each costs itself and nothing else."""

import struct
import time
import zlib
from dataclasses import replace

import numpy as np
import pytest
from fake_clients import (
    CLOSE,
    average,
    error,
    three,
    truncated,
)
from flwr.app import Array, ArrayRecord

from strategies import messages as m
from strategies.rounds import FederationError


def drop(_):
    return None


def nan_payload(reply):
    vector = np.array([np.nan, 0, 0], np.float32)
    reply[m.UPDATE] = m.bytes_record(m.UPDATE, with_checksum(vector))
    return reply


def with_checksum(vector):
    """A payload that is whole but for its values; the client's own half of the cipher refuses to make it."""
    data = vector.astype("<f4").tobytes()
    return struct.pack("<4sQI", b"fvp1", vector.size, zlib.crc32(data)) + data


def without(name):
    def change(reply):
        del reply[name]
        return reply

    return change


def with_private(reply):
    secret = Array(np.zeros((2, 2), np.float32))
    reply["extra"] = ArrayRecord({"vehicle.classifier.weight": secret})
    return reply


def with_private_beside_the_update(reply):
    reply[m.UPDATE]["plate.classifier.weight"] = Array(np.zeros(2, np.float32))
    return reply


def info(**changes):
    def change(reply):
        reply[m.INFO].update(changes)
        return reply

    return change


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        (drop, "no reply before the deadline"),
        (error, "error 2: RuntimeError: out of memory"),
        (nan_payload, "value 0 is not finite"),
        (truncated, "expected 3 values"),
        (without(m.UPDATE), "no array 'update' in the message"),
        (without(m.INFO), "no record 'info' in the message"),
        (with_private, "arrays that must not travel: extra/vehicle.classifier.weight"),
        (with_private_beside_the_update, "arrays that must not travel: update/plate.classifier.weight"),
        (info(layout="other"), "layout 'other' instead of '0123456789abcdef'"),
        (info(**{"key-id": "k2"}), "key-id 'k2' instead of ''"),
        (info(task="plate_text"), "task 'plate_text' instead of 'dual_reid'"),
        (info(client="a"), "answers as 'a'"),
        (info(**{"held-rounds": [1, 2, 3]}), "held models are malformed"),
    ],
)
def test_a_bad_reply_costs_itself_and_nothing_else(fault, reason):
    federation = three()
    federation.clients["b"].faults = {2: fault}
    state, _ = federation.run()
    assert state.server_round == 3
    assert list(federation.left_out(2)) == ["b"]
    assert reason in federation.left_out(2)["b"]
    np.testing.assert_allclose(federation.mean(2), average(federation, "ac"), **CLOSE)
    assert federation.states[1].coefficient_sum == pytest.approx(0.7, abs=1e-12)
    assert federation.reports[1].attempts == 1
    # In the next round it is back and none the worse for it.
    assert federation.left_out(3) == {}
    np.testing.assert_allclose(federation.mean(3), average(federation), **CLOSE)
    assert len({client.models[3].tobytes() for client in federation.clients.values()}) == 1


def shift(value):
    def change(reply):
        if value is None:
            del reply[m.MEASURES][m.FEATURE_SHIFT]
        else:
            reply[m.MEASURES][m.FEATURE_SHIFT] = value
        return reply

    return change


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (1.5, "measure feature_shift is 1.5, outside 0 to 1"),
        (-0.5, "measure feature_shift is -0.5, outside 0 to 1"),
        (float("nan"), "measure feature_shift is nan, outside 0 to 1"),
        ([0.5], "measure feature_shift is not a number"),
        (0.0, "feature_shift is missing, or 0"),
        (None, "feature_shift is missing, or 0"),
    ],
)
def test_a_client_may_lower_its_coefficient_and_never_raise_it(value, reason):
    """By its feature shift, if that is the federation's weighting."""
    federation = three(rounds=2, weighting="cosine_distance")
    shifts = {"a": 0.5, "b": 0.25, "c": 1.0}
    for name, client in federation.clients.items():
        client.measures = {m.FEATURE_SHIFT: shifts[name]}
    federation.clients["b"].faults = {2: shift(value)}
    federation.run()
    np.testing.assert_allclose(federation.mean(1), average(federation, weights=[0.5, 0.25, 1.0]), **CLOSE)
    assert federation.states[0].coefficient_sum == pytest.approx(1.75 / 3, rel=1e-15)
    assert reason in federation.left_out(2)["b"]
    np.testing.assert_allclose(federation.mean(2), average(federation, "ac", [0.5, 1.0]), **CLOSE)


def test_a_shift_scales_nothing_where_the_federation_weighs_by_examples():
    federation = three(rounds=1)
    federation.clients["b"].faults = {1: shift(0.25)}
    federation.run()
    assert federation.states[0].coefficient_sum == pytest.approx(1.0, abs=1e-12)
    np.testing.assert_allclose(federation.mean(1), average(federation), **CLOSE)


def is_train_reply_of(reply, name, server_round):
    metadata = reply.metadata
    kind, group = metadata.message_type, metadata.group_id
    return (kind, group) == ("train", str(server_round)) and reply.content[m.INFO][m.CLIENT] == name


def test_a_late_reply_is_not_waited_for_and_not_added():
    federation = three(rounds=2, deadline=0.2)
    pull, late = federation.grid.pull_messages, []

    def slow(ids):
        found = list(pull(ids))
        late.extend(reply for reply in found if is_train_reply_of(reply, "b", 1))
        return [reply for reply in found if reply not in late]

    federation.grid.pull_messages = slow
    started = time.monotonic()
    federation.run()
    assert len(late) == 1
    assert federation.left_out(1) == {"b": "no reply before the deadline"}
    assert 0.2 <= federation.reports[0].seconds < 2
    assert time.monotonic() - started < 5
    np.testing.assert_allclose(federation.mean(1), average(federation, "ac"), **CLOSE)
    np.testing.assert_allclose(federation.mean(2), average(federation), **CLOSE)


def test_a_message_that_cannot_be_sent_is_reported_without_waiting():
    federation = three(rounds=1)
    send = federation.grid.push_messages

    def push(messages):
        ids = list(send(messages))
        return [
            "" if message.metadata.message_type == "train" and message.metadata.dst_node_id in (1, 2) else message_id
            for message_id, message in zip(ids, messages, strict=True)
        ]

    federation.grid.push_messages = push
    federation.rules = replace(federation.rules, quorum=0.3, deadline=60.0)
    federation.run()
    assert federation.left_out(1) == dict.fromkeys("ab", "the message could not be sent")
    np.testing.assert_allclose(federation.mean(1), average(federation, "c"), **CLOSE)


def test_an_unusable_sum_is_rolled_back_and_its_round_run_again():
    federation = three()
    for client in federation.clients.values():
        client.cannot_use = {2}
    federation.run()
    assert [state.server_round for state in federation.taken_back] == [1]
    assert [report.server_round for report in federation.reports] == [1, 2, 3]
    reason = "no client can use the sum of round 2: a: absurdly large; b: absurdly large; c: absurdly large"
    assert federation.reports[1].left_out == [{"client": "the sum", "reason": reason}]
    for client in federation.clients.values():
        assert [number for number, _ in client.trained] == [1, 2, 2, 3]
        np.testing.assert_allclose(client.models[3], 3 * average(federation), **CLOSE)


def test_the_last_sum_is_rolled_back_as_well():
    federation = three(rounds=2)
    for client in federation.clients.values():
        client.cannot_use = {2}
    state, final = federation.run()
    assert state.server_round == 2
    assert [state.server_round for state in federation.taken_back] == [1]
    assert sorted(final.clients) == ["a", "b", "c"]
    for client in federation.clients.values():
        np.testing.assert_allclose(client.models[2], 2 * average(federation), **CLOSE)


def test_a_run_whose_sums_stay_unusable_stops_before_them_and_can_be_resumed():
    federation = three(retries=0)
    for client in federation.clients.values():
        client.cannot_use = {2}
    with pytest.raises(FederationError, match="no client can use the sum of round 2: a: absurdly large"):
        federation.run()
    state, _ = federation.run(federation.taken_back[-1])
    assert (federation.taken_back[-1].server_round, state.server_round) == (1, 3)
    for client in federation.clients.values():
        np.testing.assert_allclose(client.models[3], 3 * average(federation), **CLOSE)


def test_a_client_that_claims_to_have_used_a_sum_does_not_prevent_its_rollback():
    """Two of three cannot use it. The third one's digest of version 2 is invented."""
    federation = three()
    for name in "abc":
        federation.clients[name].cannot_use = {2}
    liar = federation.clients["c"]

    def claim(reply):
        liar.info = {m.HELD_ROUNDS: [1, 2], m.HELD_DIGESTS: [liar.describe()[m.HELD_DIGESTS][-1], "f" * 24]}
        return reply

    liar.faults = {2: claim}
    state, _ = federation.run()
    assert [state.server_round for state in federation.taken_back] == [1]
    assert "too few clients can use the sum of round 2: a: absurdly large; b" in federation.left_out(2)["the sum"]
    assert state.server_round == 3
    for name in "ab":
        assert [number for number, _ in federation.clients[name].trained] == [1, 2, 2, 3]


def test_a_sum_that_some_can_use_is_not_rolled_back():
    """The others are left out, and get the model from who has it in the next round."""
    federation = three()
    federation.clients["a"].cannot_use = {1}
    federation.run()
    assert not federation.taken_back
    assert federation.left_out(2) == {"a": "absurdly large"}
    assert [number for number, _ in federation.clients["a"].trained] == [1, 3]
    models = [client.models[3] for client in federation.clients.values()]
    assert len({model.tobytes() for model in models}) == 1
