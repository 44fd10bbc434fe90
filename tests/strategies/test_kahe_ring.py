"""Arithmetic of `kahe` against Python's integers."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from strategies.ciphers.cipher import CipherError
from strategies.ciphers.kahe.ring import DEGREE, RING_54, RING_64

RINGS = pytest.mark.parametrize("ring", [RING_54, RING_64], ids=["54", "64"])


def words(ring, rows, seed=0):
    """Uniform polynomials with the extremes among their coefficients."""
    found = np.random.default_rng(seed).integers(0, ring.modulus, (rows, DEGREE), dtype=np.uint64)
    found[0, :6] = [0, 1, ring.modulus - 1, ring.modulus - 2, 2 ** (ring.bits - 1), 2**27]
    return found


def is_prime(number):
    """Miller and Rabin with the bases that decide every number below 3.3 * 10^24 (Sorenson and Webster, 2015)."""
    odd, twos = number - 1, 0
    while odd % 2 == 0:
        odd, twos = odd // 2, twos + 1
    for base in (2, 3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37, 41):
        x = pow(base, odd, number)
        if x in (1, number - 1):
            continue
        for _ in range(twos - 1):
            x = x * x % number
            if x == number - 1:
                break
        else:
            return False
    return True


@RINGS
def test_the_modulus_is_the_largest_prime_below_its_power_of_two(ring):
    assert is_prime(ring.modulus)
    assert ring.modulus == 2**ring.bits - ring.excess
    assert not any(is_prime(number) for number in range(ring.modulus + 1, 2**ring.bits))


def coefficient(uniform, small, addend, place, modulus):
    """By the definition: x^n = -1."""
    total = addend[place]
    for i in range(DEGREE):
        j = place - i
        total += uniform[i] * small[j] if j >= 0 else -uniform[i] * small[j + DEGREE]
    return total % modulus


@RINGS
@pytest.mark.parametrize("largest", [1, 42, None], ids=["one", "fresh", "most"])
def test_products_are_those_of_the_schoolbook(ring, largest):
    rng = np.random.default_rng(1)
    largest = largest or ring.largest_small
    small = rng.integers(-largest, largest + 1, DEGREE)
    small[:2] = largest, -largest
    uniform, addend = words(ring, 2), words(ring, 2, seed=2)
    found = ring.product_sum(uniform, ring.spectrum(small), addend)
    assert found.dtype == np.uint64
    assert found.max() < ring.modulus
    for row in range(2):
        numbers = [[int(x) for x in values] for values in (uniform[row], small, addend[row])]
        for place in [0, 1, DEGREE // 2 - 1, DEGREE // 2, DEGREE - 1, *rng.integers(0, DEGREE, 10)]:
            assert found[row, place] == coefficient(*numbers, place, ring.modulus), (row, place)


@RINGS
def test_a_product_is_linear_in_every_coefficient(ring):
    """All coefficients at once: (a + b) s = a s + b s, and x^k s turns s around with the sign."""
    small = np.random.default_rng(3).integers(-42, 43, DEGREE)
    a, b, nothing = words(ring, 3), words(ring, 3, seed=4), np.zeros((3, DEGREE), np.uint64)
    spectrum = ring.spectrum(small)
    both = a.copy()
    ring.add(both, b)
    np.testing.assert_array_equal(
        ring.product_sum(both, spectrum, nothing), ring.product_sum(a, spectrum, ring.product_sum(b, spectrum, nothing))
    )
    for power in (0, 1, DEGREE - 1):
        monomial = np.zeros((1, DEGREE), np.uint64)
        monomial[0, power] = 1
        turned = [int(small[i - power]) if i >= power else -int(small[i - power + DEGREE]) for i in range(DEGREE)]
        found = ring.product_sum(monomial, spectrum, nothing[:1])[0]
        assert [int(x) for x in found] == [x % ring.modulus for x in turned]


@RINGS
def test_the_float_error_of_a_product_stays_far_below_one_half(ring):
    """With secrets as they are, with their sum over the most clients, and with the worst factors that are accepted."""
    rng, worst = np.random.default_rng(5), 0.0
    most = ring.largest_small
    cases = [rng.normal(0, 4.6, DEGREE), rng.normal(0, most / 8, DEGREE), np.full(DEGREE, most), -np.full(DEGREE, most)]
    cases.append(most * rng.choice([-1, 1], DEGREE))
    uniforms = [words(ring, 8), np.full((1, DEGREE), ring.modulus - 1, np.uint64)]
    for small in cases:
        spectrum = ring.spectrum(np.clip(np.rint(small), -most, most).astype(np.int64))
        for uniform in uniforms:
            for limb in ring.limb_products(uniform, spectrum):
                worst = max(worst, float(np.abs(limb - np.rint(limb)).max()))
    assert 0 < worst < 0.1


@RINGS
def test_a_factor_beyond_the_bound_is_refused(ring):
    small = np.zeros(DEGREE, np.int64)
    small[7] = -ring.largest_small - 1
    with pytest.raises(CipherError, match=f"up to {ring.largest_small}"):
        ring.spectrum(small)
    with pytest.raises(CipherError, match="4096"):
        ring.spectrum(np.zeros(5, np.int64))


@RINGS
@settings(max_examples=30, deadline=None)
@given(data=st.data())
def test_sums_are_those_of_integers(ring, data):
    numbers = st.one_of(st.integers(0, 70), st.integers(ring.modulus - 70, ring.modulus - 1), st.integers(0, 2**53))
    pairs = data.draw(st.lists(st.tuples(numbers, numbers), min_size=1, max_size=50))
    total = np.array([[a for a, _ in pairs]], np.uint64)
    ring.add(total, np.array([[b for _, b in pairs]], np.uint64))
    assert [int(x) for x in total[0]] == [(a + b) % ring.modulus for a, b in pairs]


@RINGS
def test_packed_polynomials_come_back_in_as_many_bits(ring):
    found = words(ring, 5)
    data = bytearray(5 * ring.row_bytes)
    ring.pack(found, memoryview(data))
    assert len(data) * 8 == 5 * DEGREE * ring.bits
    np.testing.assert_array_equal(ring.unpack(memoryview(data), 5), found)
    ring.require_canonical(memoryview(data), 5)
    with pytest.raises(CipherError, match="5 polynomials"):
        ring.unpack(memoryview(data)[:-1], 5)


@RINGS
@pytest.mark.parametrize("place", [0, 1023, 1024, 4095])
def test_a_word_not_below_q_is_found(ring, place):
    found = words(ring, 3)
    for number in (ring.modulus, 2**ring.bits - 1):
        found[2, place] = number
        data = bytearray(3 * ring.row_bytes)
        ring.pack(found, memoryview(data))
        for read in (ring.unpack, ring.require_canonical):
            with pytest.raises(CipherError, match="not below q"):
                read(memoryview(data), 3)
