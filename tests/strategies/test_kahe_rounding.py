"""Rounding of updates under `kahe` over rounds: scales, residues, and what all clients share."""

import math

import numpy as np
import pytest
from encrypted_payloads import relabelled
from kahe_rounds import Round, seeds_of

from strategies.ciphers.binding import Binding
from strategies.ciphers.cipher import CipherError
from strategies.ciphers.kahe.ring import DEGREE
from strategies.quantise import Blocks


def mean_of(attempt, updates, coefficients, index=0):
    """What a client makes of the sum of these updates."""
    total, names = attempt.total(), attempt.names
    for place, (update, coefficient) in enumerate(zip(updates, coefficients, strict=True)):
        total.add(attempt.payload(place, update, coefficient), names[place])
    payload = attempt.ask(total).payload()
    return attempt[index].decrypt(payload, math.fsum(coefficients), attempt.binding, state=attempt.state)


@pytest.mark.parametrize(("max_clients", "bits"), [(4, 13), (64, 12), (256, 9)])
def test_the_mean_of_a_typical_round_is_close_to_float64s(max_clients, bits):
    """Three clients. A step is scale / half, rounding errors of it are below one step and even out to 0.3 of one.

    The scale is at most four times the largest value: steps are below 4 * largest / half in size, and the root mean
    square of three errors, of variance 1 / 6 of a step each at most on average, below sqrt(3 / 6) of a step."""
    updates = np.random.default_rng(1).standard_normal((3, 2000)).astype(np.float32)
    coefficients = np.array([0.5, 0.3, 0.2])
    state = {"exponents": np.zeros(2, np.int16)}
    for server_round in (1, 2):  # the first round teaches the scales
        attempt = Round(3, 2000, max_clients, bits, server_round)
        attempt.state = state
        mean, state, _ = mean_of(attempt, updates, coefficients)
    expected = np.average(updates.astype(float), axis=0, weights=coefficients)
    half = attempt[0].parameters.plan.values.top // 2
    largest = np.abs(updates * coefficients[:, None]).max()
    error = np.sqrt(np.mean((mean - expected) ** 2))
    assert error < np.sqrt(3 / 6) * 4 * largest / half
    assert error > 0, "an exact mean would not have been quantised"


@pytest.mark.parametrize("max_clients", [4, 64])
def test_all_clients_share_the_state_and_the_mean_bit_for_bit(max_clients):
    """A client that is not in the sum opens it too."""
    statistics = np.arange(1300) % 10 == 0
    attempt = Round(4, 1300, max_clients, 12, statistics=statistics)
    updates = np.random.default_rng(2).standard_normal((3, 1300)).astype(np.float32)
    attempt.state = state = attempt[0].initial_state(updates[0])
    coefficients = [0.4, 0.4, 0.2]
    total = attempt.total()
    for place, (update, coefficient) in enumerate(zip(updates, coefficients, strict=True)):
        total.add(attempt.payload(place, update, coefficient), attempt.names[place])
    payload = attempt.ask(total).payload()
    found = [
        attempt[index].decrypt(payload, math.fsum(coefficients), attempt.binding, state=state) for index in range(4)
    ]
    for mean, after, clients in found[1:]:
        assert mean.tobytes() == found[0].mean.tobytes()
        assert clients == tuple(attempt.names[:3])
        assert list(after) == ["exponents"]
        np.testing.assert_array_equal(after["exponents"], found[0].state["exponents"])
    # By definition: a power of two, more than twice and at most four times the largest weighted value of the block; for
    # statistics four times that, and at least half of what it was.
    blocks, order = Blocks(statistics), np.argsort(statistics, kind="stable")
    weighted = updates * np.array([[0.4], [0.4], [0.2]], np.float32)
    ends = [*blocks.starts[1:], blocks.size]
    for exponent, old, start, end in zip(
        found[0].state["exponents"], state["exponents"], blocks.starts, ends, strict=True
    ):
        largest = float(np.abs(weighted[:, order[start:end]]).max())
        if statistics[order[start]]:
            assert exponent == max(math.floor(math.log2(largest)) + 4, old - 1)
        else:
            assert 2 * largest < 2.0 ** int(exponent) <= 4 * largest


def test_clients_that_carry_over_send_what_they_kept():
    """Three rounds of two clients: what arrives is what they trained, up to the residues that they still keep."""
    updates = np.linspace(-3, 3, 200, dtype=np.float32).reshape(2, 100)
    state, arrived = {"exponents": np.zeros(1, np.int16)}, np.zeros(100)
    carried: list[dict] = [{}, {}]
    for server_round in (1, 2, 3):
        attempt = Round(2, 100, server_round=server_round)
        total = attempt.total()
        for index, name in enumerate(attempt.names):
            seeds = attempt.seeds(name)
            payload, carried[index] = attempt[index].encrypt(
                updates[index], 0.5, attempt.binding, state=state, carried=carried[index], seeds=seeds
            )
            total.add(payload, name)
        payload = attempt.ask(total).payload()
        mean, state, _ = attempt[0].decrypt(payload, 1.0, attempt.binding, state=state)
        arrived += mean
    kept = carried[0]["residual"] + carried[1]["residual"]
    assert np.abs(kept).max() > 0
    np.testing.assert_allclose(arrived + kept, 3.0 * updates.mean(axis=0), rtol=0, atol=18 * 2.0**-22)


def test_a_repeated_round_rounds_alike_and_another_round_or_client_does_not():
    """A client that is asked again must not send a second rounding of the same update."""
    attempt = Round(2)
    vector = np.random.default_rng(0).standard_normal(300).astype(np.float32)
    state = attempt[0].initial_state(vector)

    def slots(index, server_round, number):
        cipher, binding = attempt[index], Binding("0" * 16, "layout", server_round, number)
        return cipher._slots.write(vector, binding, cipher.client, state, DEGREE)[0]

    first = slots(0, 3, 1)
    np.testing.assert_array_equal(first, slots(0, 3, 2))
    assert (first != slots(0, 4, 1)).any()
    assert (first != slots(1, 3, 1)).any()


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_carry_over_that_is_not_finite_is_refused(value):
    attempt, kept = Round(3), np.zeros(300, np.float32)
    kept[17] = value
    seeds = seeds_of("client-00", attempt.names, attempt.binding)
    with pytest.raises(CipherError, match="value 17 of the update is not finite"):
        attempt[0].encrypt(
            attempt.update(0), 0.25, attempt.binding, state=attempt.state, carried={"residual": kept}, seeds=seeds
        )


@pytest.mark.parametrize("clients", [[], None, 2, "anna", ["anna"] * 9])
def test_a_sum_of_no_clients_or_too_many_is_refused(clients):
    attempt = Round(3)
    with pytest.raises(CipherError, match="a sum of the clients"):
        attempt.opened(relabelled(attempt.ask(attempt.added()).payload(), clients=clients))


def test_a_clients_payload_is_not_taken_for_a_sum():
    attempt = Round(3)
    with pytest.raises(CipherError, match="a sum of the clients None"):
        attempt.opened(attempt.payload(0))
