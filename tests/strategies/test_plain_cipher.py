"""The plain cipher: sums that do not depend on the order, and payloads that are refused."""

import struct
import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from strategies.ciphers.binding import Binding
from strategies.ciphers.cipher import CipherError
from strategies.ciphers.plain import PlainCipher, PlainSum

SIZE = 7
BINDING = Binding("0" * 16, "layout", 1)


def encrypt(cipher, vector, coefficient):
    return cipher.encrypt(vector, coefficient, BINDING, state={}, carried={}).payload


def decrypt(cipher, payload, coefficient_sum):
    return cipher.decrypt(payload, coefficient_sum, BINDING, state={}).mean


def payload_of(values, size=SIZE):
    """A payload with a valid checksum, whatever the values."""
    data = np.resize(np.asarray(values, "<f4"), size).tobytes()
    return struct.pack("<4sQI", b"fvp1", size, zlib.crc32(data)) + data


def total_of(payloads, size=SIZE):
    total = PlainSum(size)
    for payload in payloads:
        total.add(payload, "client-0")
    return total.payload()


floats = st.floats(-1000, 1000, width=32)
vectors = st.lists(st.lists(floats, min_size=SIZE, max_size=SIZE), min_size=2, max_size=8)


@given(vectors, st.randoms(use_true_random=False))
def test_the_order_of_adding_does_not_matter_bit_for_bit(rows, random):
    payloads = [payload_of(row) for row in rows]
    shuffled = random.sample(payloads, len(payloads))
    assert total_of(payloads) == total_of(shuffled)


@given(vectors, st.data())
def test_the_mean_equals_the_weighted_average_in_float64(rows, data):
    counts = data.draw(st.lists(st.integers(1, 500), min_size=len(rows), max_size=len(rows)))
    coefficients = [count / sum(counts) for count in counts]
    cipher = PlainCipher(SIZE)
    total = total_of(
        encrypt(cipher, np.array(row, np.float32), coefficient)
        for row, coefficient in zip(rows, coefficients, strict=True)
    )
    mean = decrypt(cipher, total, sum(coefficients))
    expected = np.average(np.array(rows, np.float64), axis=0, weights=counts)
    # Four float32 roundings: the coefficient and its product (each row), the sum, the division; each is off by at most
    # 2^-24 of the largest weighted row, of which there are len(rows). Fixed point adds 2^-37 a row.
    largest = np.abs(np.array(rows) * np.array(coefficients)[:, None]).max(axis=0)
    bound = len(rows) * (4 * 2.0**-24 * largest + 2.0**-36)
    assert (np.abs(mean - expected) <= bound).all()


def test_a_part_of_the_clients_is_divided_by_its_own_coefficients():
    cipher = PlainCipher(2)
    payloads = [encrypt(cipher, np.array(row, np.float32), 0.25) for row in ([1, 2], [3, 4], [8, 16])]
    np.testing.assert_array_equal(decrypt(cipher, total_of(payloads[:2], 2), 0.5), np.array([2, 3], np.float32))


def test_values_beyond_a_block_are_added_too():
    size = 3 * (1 << 18) + 3
    vector = np.random.default_rng(0).standard_normal(size).astype(np.float32)
    cipher = PlainCipher(size)
    payload = encrypt(cipher, vector, 0.5)
    assert len(payload) == 16 + 4 * size
    np.testing.assert_allclose(decrypt(cipher, total_of([payload, payload], size), 1.0), vector, rtol=0, atol=2**-35)


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (np.nan, "value 3 is not finite"),
        (np.inf, "value 3 is not finite"),
        (-np.inf, "value 3 is not finite"),
        (2.0**20 * 1.001, "value 3 is beyond"),
        (-3e38, "value 3 is beyond"),
    ],
)
def test_values_that_cannot_be_added_are_refused_on_both_sides(value, reason):
    vector = np.zeros(SIZE, np.float32)
    vector[3] = value
    with pytest.raises(CipherError, match=reason):
        encrypt(PlainCipher(SIZE), vector, 1.0)
    with pytest.raises(CipherError, match=reason):
        PlainSum(SIZE).add(payload_of(vector), "client-0")
    with pytest.raises(CipherError, match=reason):
        decrypt(PlainCipher(SIZE), payload_of(vector), 1.0)


def test_the_sum_of_the_largest_values_of_64_clients_does_not_wrap_round():
    payloads = [payload_of(np.full(SIZE, 2.0**20))] * 64
    total = np.frombuffer(total_of(payloads), "<f4", offset=16)
    np.testing.assert_array_equal(total, np.full(SIZE, 2.0**26, np.float32))


def altered(payload, place):
    changed = bytearray(payload)
    changed[place] ^= 1
    return bytes(changed)


GOOD = payload_of(np.arange(SIZE))


@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        (b"", "shorter than its header"),
        (GOOD[:15], "shorter than its header"),
        (GOOD[:-1], "expected 7 values"),
        (GOOD + b"\0", "expected 7 values"),
        (payload_of([1.0], 6), "payload of 6 values"),
        (b"ckks" + GOOD[4:], "not a plain payload"),
        (altered(GOOD, -1), "checksum differs"),
        (altered(GOOD, 13), "checksum differs"),
        (payload_of([1.0] * 6 + [np.nan]), "value 6 is not finite"),
    ],
)
def test_a_refused_payload_leaves_the_sum_as_it_was(payload, reason):
    total = PlainSum(SIZE)
    with pytest.raises(CipherError, match=reason):
        total.add(payload, "client-0")
    with pytest.raises(CipherError, match="nothing was added"):
        total.payload()
    total.add(GOOD, "client-0")
    with pytest.raises(CipherError, match=reason):
        total.add(payload, "client-0")
    assert total.payload() == total_of([GOOD])


def test_a_sum_that_was_taken_stays_as_it_is():
    total = PlainSum(SIZE)
    total.add(GOOD, "client-0")
    before = total.payload()
    with pytest.raises(CipherError, match="has been taken"):
        total.add(GOOD, "client-0")
    assert total.payload() == before


@pytest.mark.parametrize("coefficient_sum", [0.0, -1.0, float("nan")])
def test_a_sum_of_coefficients_that_is_not_positive_is_refused(coefficient_sum):
    with pytest.raises(CipherError, match="must be positive"):
        decrypt(PlainCipher(SIZE), GOOD, coefficient_sum)


def test_sealed_data_comes_back():
    cipher = PlainCipher(SIZE)
    assert cipher.open(cipher.seal(b"model", "a"), "a") == b"model"
