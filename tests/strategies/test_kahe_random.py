"""Uniform and Gaussian numbers of `kahe`: against AES block by block, and against their distributions."""

import math
from collections import Counter

import numpy as np
import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from scipy.stats import chi2, poisson

from strategies.ciphers.kahe import sampling
from strategies.ciphers.kahe.sampling import LARGEST, SIGMA, Gaussian, Uniform, thresholds

SEED = bytes(range(32))
RARE = 1e-9  # a good generator fails a test with this chance


def key_stream(seed, start, size):
    """Counter mode by its definition, from AES blocks."""
    block = Cipher(algorithms.AES256(seed), modes.ECB()).encryptor()
    counters = ((start + index).to_bytes(16, "big") for index in range(-(-size // 16)))
    return b"".join(block.update(counter) for counter in counters)[:size]


def slow_uniform(seed, modulus, count):
    bits = (modulus - 1).bit_length()
    width = next(width for width in (1, 2, 4, 8) if 8 * width >= bits)
    mask = 2**bits - 1
    main, rest = (key_stream(seed, start, size) for start, size in ((0, width * count), (2**127, 64 * count)))
    other = (int.from_bytes(rest[i : i + width], "little") & mask for i in range(0, len(rest), width))
    found = []
    for index in range(count):
        number = int.from_bytes(main[width * index : width * (index + 1)], "little") & mask
        while number >= modulus:
            number = next(other)
        found.append(number)
    return found


@pytest.mark.parametrize("modulus", [2**54 - 33, 2**64 - 59, 65_521, 3 * 2**52, 5 * 2**61, 33_000, 2, 2**64])
def test_uniform_numbers_are_those_of_aes_without_the_ones_too_large(modulus):
    expected = slow_uniform(SEED, modulus, 400)
    assert [int(x) for x in Uniform(SEED, modulus).draw(400)] == expected
    parts = Uniform(SEED, modulus)
    split = np.concatenate([parts.draw(2, 50).ravel(), parts.draw(1), parts.draw(299)])
    assert [int(x) for x in split] == expected, "how many are drawn at a time shows"


@pytest.mark.parametrize("modulus", [3 * 2**52, 2**54 - 33, 2**64 - 59])
def test_uniform_numbers_fill_their_range_evenly(modulus):
    """Also where a quarter of the words is too large."""
    numbers = Uniform(SEED, modulus).draw(300_000).astype(object)
    counts = np.bincount([int(x) * 64 // modulus for x in numbers], minlength=64)
    expected = len(numbers) / 64
    assert RARE < chi2.sf(((counts - expected) ** 2 / expected).sum(), 63) < 1 - RARE


def mass(x):
    """P(x), by Poisson's summation for the norm: sigma sqrt(2 pi) (1 + 2 exp(-2 pi^2 sigma^2) + ...)."""
    sigma = float(SIGMA)
    norm = sigma * math.sqrt(2 * math.pi) * (1 + 2 * math.exp(-2 * math.pi**2 * sigma**2))
    return math.exp(-x * x / (2 * sigma**2)) / norm


def test_the_table_holds_the_distribution():
    table = thresholds()
    for k, entry in enumerate(table):  # entry k is 2^63 P(|x| <= k)
        expected = mass(0) + 2 * sum(mass(x) for x in range(1, k + 1))
        assert entry / 2**63 == pytest.approx(expected, rel=0, abs=1e-14)
    steps = np.diff([0, *table]) / 2**63
    for k in range(1, 30):  # the tails are good to the last of 63 bits, where differences of floats are not
        assert steps[k] == pytest.approx(2 * mass(k), rel=1e-9, abs=2.0**-62)
    assert len(table) == LARGEST
    assert 2 * mass(LARGEST + 1) < 2.0**-62 < 2 * mass(LARGEST - 2)


def test_a_number_depends_on_its_word_alone(monkeypatch):
    """At the edges of the table, by comparison in plain Python."""
    edges = [0, 1, 2**63 - 1] + [entry + step for entry in thresholds() for step in (-1, 0, 1)]
    edges = [edge for edge in edges if edge < 2**63]
    chosen = np.array([edge << 1 | sign for edge in edges for sign in (0, 1)], np.uint64)
    sampler = Gaussian()
    monkeypatch.setattr(sampler, "_stream", type("Fixed", (), {"words": lambda *_: chosen.copy()})())
    expected = []
    for word in chosen.tolist():
        size = sum(word >> 1 >= entry for entry in thresholds())
        expected.append(-size if word & 1 else size)
    assert sampler.draw(len(chosen)).tolist() == expected
    assert {abs(number) for number in expected} == set(range(LARGEST + 1))


def test_numbers_have_the_distribution_and_its_tails():
    count = 3_000_000
    found = Counter(Gaussian().draw(count).tolist())
    inner = range(-18, 19)
    observed = np.array([found[x] for x in inner])
    expected = count * np.array([mass(x) for x in inner])
    outside = count - expected.sum()
    statistic = ((observed - expected) ** 2 / expected).sum()
    statistic += (count - observed.sum() - outside) ** 2 / outside
    assert RARE < chi2.sf(statistic, len(inner)) < 1 - RARE
    for least in (19, 22, 25):  # each tail, where hardly any are expected
        for sign in (1, -1):
            seen = sum(number for x, number in found.items() if sign * x >= least)
            likely = count * sum(mass(x) for x in range(least, 60))
            assert poisson.cdf(seen, likely) > RARE
            assert poisson.sf(seen - 1, likely) > RARE


def test_no_two_samplers_agree():
    assert (Gaussian().draw(100) != Gaussian().draw(100)).any()


def test_every_entry_of_the_table_is_compared(monkeypatch):
    """The work does not depend on the numbers: one comparison of all words for each entry."""
    compared = []
    real = np.greater_equal
    monkeypatch.setattr(
        sampling.np,
        "greater_equal",
        lambda words, entry, out: compared.append(int(entry)) or real(words, entry, out=out),
    )
    Gaussian().draw(10)
    assert compared == list(thresholds())
