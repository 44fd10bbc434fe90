"""Cipher `kahe` as a whole: sums are those of the slots, whoever drops out, and the server holds no key."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from kahe_rounds import KEY, Round

from strategies.ciphers.binding import open_envelope
from strategies.ciphers.cipher import CipherError
from strategies.ciphers.kahe import client_half
from strategies.ciphers.kahe.parameters import KaheParameters, sum_bound
from strategies.ciphers.kahe.ring import DEGREE
from strategies.ciphers.payload import weighted_update


def slots_of(attempt, index):
    """The plaintext of a client, from the module that all exact ciphers share."""
    cipher = attempt[index]
    weighted = weighted_update(attempt.update(index), attempt.share, {})
    size = cipher.parameters.rows * DEGREE
    return cipher._slots.write(weighted, attempt.binding, cipher.client, attempt.state, size)


def watched(cipher):
    """What a cipher takes for the sums of the slots."""
    seen, read = [], cipher._slots.read
    cipher._slots.read = lambda slots, *rest: seen.append(slots.copy()) or read(slots, *rest)
    return seen


@pytest.mark.parametrize(("max_clients", "bits"), [(2, 11), (4, 13), (8, 12), (9, 14), (64, 12), (256, 9), (1024, 9)])
def test_the_sum_is_exact_whoever_is_in_it(max_clients, bits):
    @settings(max_examples=8, deadline=None)
    @given(st.data())
    def check(data):
        count = data.draw(st.integers(2, min(max_clients, 14)))
        size = data.draw(st.sampled_from([1, 300, 5000, 14_000]))
        statistics = np.random.default_rng(size).random(size) < data.draw(st.sampled_from([0.0, 0.1]))
        attempt = Round(count, size, max_clients, bits, statistics=statistics)
        threshold = attempt[0].parameters.threshold(count)
        present = data.draw(st.permutations(range(count)))[: data.draw(st.integers(threshold.needed, count))]
        answers = data.draw(st.permutations(present))[: data.draw(st.integers(threshold.needed, len(present)))]
        total = attempt.ask(attempt.added(*present), *answers)
        opener = data.draw(st.integers(0, count - 1))  # it may have dropped out
        seen = watched(attempt[opener])
        found = attempt.opened(total.payload(), len(present), opener)
        expected = [sum(column) for column in zip(*(slots_of(attempt, i)[0].tolist() for i in present), strict=True)]
        assert seen[0].tolist() == expected
        assert found.clients == tuple(attempt.names[i] for i in sorted(present))
        # The mean is that of the updates but for the rounding: the residue that each client carries over.
        share = math.fsum([attempt.share] * len(present))
        sent = sum(attempt.update(i).astype(float) * attempt.share - slots_of(attempt, i)[1] for i in present)
        np.testing.assert_allclose(found.mean * share, sent, rtol=2.0**-20, atol=2.0**-20)

    check()


def test_the_order_of_arrival_does_not_show():
    attempt = Round(4)
    payloads = [attempt.payload(index) for index in range(4)]
    sums = []
    for order in ((0, 1, 2, 3), (3, 1, 0, 2)):
        total = attempt.total()
        for index in order:
            total.add(payloads[index], attempt.names[index])
        answers = {index: attempt.answer(total, index) for index in order}
        for index in order:
            total.disclose(attempt.names[index], answers[index])
        sums.append(attempt.opened(total.payload()).mean.tobytes())
    assert sums[0] == sums[1]


def test_a_repeated_round_has_fresh_keys():
    """The same update of the same attempt twice: neither ciphertexts nor shares agree in more than chance gives."""
    attempt = Round(3, size=12_000)
    first, second = (np.frombuffer(open_envelope(attempt.payload(0), {})[1], np.uint8) for _ in range(2))
    assert 0.002 < (first == second).mean() < 0.006  # one in 256


@pytest.mark.parametrize(("max_clients", "bound", "q_bits"), [(4, 2.28, 54), (8, 2.28, 54), (64, 2.7, 64)])
def test_bytes_of_a_value(max_clients, bound, q_bits):
    """Of ResNet50's 23.5 million values, from the sizes of all parts; a header is a few kilobytes at most."""
    size = 23_508_032
    parameters = KaheParameters(size, -(-size // 1024), max_clients, 12)
    assert parameters.ring.bits == q_bits
    attempt = Round(max_clients, max_clients=max_clients, bits=12)
    session = client_half.Session(parameters, attempt.binding, KEY.key_id)
    up = session.payload_bytes + 2000
    down = parameters.body_bytes + max_clients * session.answer_bytes + 16_000
    assert max(up, down) / size < bound
    assert min(up, down) / size > q_bits / 8 / 3  # three values a coefficient


@pytest.mark.parametrize("clients", range(2, 1025, 73))
def test_the_noise_fits_eight_deviations_for_every_bound(clients):
    parameters = KaheParameters(5000, 5, clients, 9)
    delta, t, q = 2**parameters.delta_bits, parameters.plain_modulus, parameters.ring.modulus
    assert sum_bound(clients) >= 8 * 4.6 * math.sqrt(clients)
    assert 2 * sum_bound(clients) < delta
    assert delta * (t - 1) + delta // 2 < q, "no sum of slots leaves q"
    assert t > q // delta - 1
    values, flags = parameters.plan.values, parameters.plan.flags
    for packing in (values, flags):
        assert packing.radix**packing.per_slot <= t
    assert sum_bound(clients) <= parameters.ring.largest_small


@pytest.mark.parametrize(
    ("fields", "fault"),
    [
        ((10, 1, 1, 9), "1 clients; kahe takes 2 to 1024"),
        ((10, 1, 1025, 9), "1025 clients"),
        ((10, 1, 8, 19), "19 bits"),
        ((0, 1, 8, 9), "0 digits"),
    ],
)
def test_parameters_that_cannot_be_are_refused(fields, fault):
    with pytest.raises(CipherError, match=fault):
        KaheParameters(*fields)


def test_the_errors_of_a_sum_are_as_wide_as_they_must_be():
    """Of one payload of zeros, opened by hand: c - Delta m + a s has deviation 4.6, and so has the secret."""
    attempt, secrets = Round(2, size=12_000), []
    real = client_half.deal
    client_half.deal = lambda secret, *rest: secrets.append(secret) or real(secret, *rest)
    try:
        payload = attempt.payload(0)
    finally:
        client_half.deal = real
    cipher = attempt[0]
    parameters, ring = cipher.parameters, cipher.parameters.ring
    session = client_half.Session(parameters, attempt.binding, KEY.key_id)
    body = open_envelope(payload, {})[1][: parameters.body_bytes]
    a = client_half.Uniform(session.polynomial_seed, ring.modulus).draw(parameters.rows, DEGREE)
    found = ring.product_sum(a, ring.spectrum(secrets[0]), ring.unpack(body, parameters.rows)).astype(object).ravel()
    plain = slots_of(attempt, 0)[0].tolist()
    errors = [(int(x) - m * 2**parameters.delta_bits) % ring.modulus for x, m in zip(found, plain, strict=True)]
    errors = np.array([e - ring.modulus if e > ring.modulus // 2 else e for e in errors])
    assert errors.std() == pytest.approx(4.6, rel=0.1)
    assert secrets[0].std() == pytest.approx(4.6, rel=0.1)
    assert abs(np.corrcoef(errors[:DEGREE], secrets[0])[0, 1]) < 0.1


def test_sealed_models_come_back():
    cipher = Round(2)[0]
    assert cipher.open(cipher.seal(b"model", "x"), "x") == b"model"
    assert b"model" not in cipher.seal(b"model", "x")


def test_the_servers_half_holds_no_key():
    """None of the federation key's secrets can be reached from it, nor a way to open."""
    attempt = Round(3)
    total = attempt.ask(attempt.added())
    total.payload()
    waiting, seen, blobs = [total], set(), []
    while waiting:
        item = waiting.pop()
        if id(item) in seen:
            continue
        seen.add(id(item))
        if isinstance(item, bytes | bytearray | np.ndarray):
            blobs.append(item.tobytes() if isinstance(item, np.ndarray) else bytes(item))
        elif isinstance(item, dict):
            waiting += [*item.keys(), *item.values()]
        elif isinstance(item, list | tuple):
            waiting += item
        else:
            waiting += getattr(item, "__dict__", {}).values()
    assert len(blobs) > 5
    assert not any(secret in blob for secret in KEY.secrets.values() for blob in blobs)
    assert not hasattr(total, "decrypt")


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_value_that_is_not_finite_is_refused(value):
    attempt = Round(3)
    update = attempt.update(0)
    update[7] = value
    with pytest.raises(CipherError, match="value 7 of the update"):
        attempt.payload(0, update)
