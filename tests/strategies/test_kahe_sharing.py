"""Packed Shamir shares of `kahe`: against Lagrange over fractions, and against dealers that cheat."""

import hashlib
import itertools
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chi2

from strategies.ciphers.cipher import CipherError
from strategies.ciphers.kahe import sharing
from strategies.ciphers.kahe.ring import DEGREE
from strategies.ciphers.kahe.sharing import (
    PRIME,
    SALT_BYTES,
    BadSharesError,
    Threshold,
    add_shares,
    checked_share,
    deal,
    lies_on,
    opened,
)

CONTEXT = b"an attempt"


def secret_of(seed, largest=40):
    return np.random.default_rng(seed).integers(-largest, largest + 1, DEGREE)


def received(dealt, threshold, index, context=CONTEXT):
    return checked_share(dealt.shares[index], dealt.proof, index, threshold, context, "dealer")


def numbers_of(share, threshold):
    return np.frombuffer(share, "<u2", threshold.width, SALT_BYTES)


def lagrange(points, values, at):
    """The polynomial through (x, y) at a point: over the rationals, and then modulo p."""
    total = Fraction(0)
    for x, y in zip(points, values, strict=True):
        term = Fraction(y)
        for other in points:
            if other != x:
                term *= Fraction(at - other, x - other)
        total += term
    return total.numerator * pow(total.denominator, -1, PRIME) % PRIME


@pytest.mark.parametrize(
    ("cohort", "colluding", "expected"),
    [
        # By hand: f = floor((n - 1) / 3), T = floor((n + f) / 2) + 1.
        (2, None, (0, 2, 1)),
        (3, None, (0, 2, 1)),
        (4, None, (1, 3, 1)),
        (5, None, (1, 4, 1)),
        (8, None, (2, 6, 2)),
        (64, None, (21, 43, 8)),
        (1024, None, (341, 683, 128)),
        (3, 1, (1, 3, 1)),
        (10, 0, (0, 6, 2)),
        (10, 8, (8, 10, 1)),
    ],
)
def test_the_numbers_of_clients_that_decide(cohort, colluding, expected):
    found = Threshold(cohort, colluding)
    assert (found.tolerated, found.needed, found.packed) == expected


@given(st.integers(2, 1024), st.integers(0, 1022))
def test_no_two_sets_are_opened_and_colluding_clients_learn_nothing(cohort, colluding):
    for f in {None, min(colluding, cohort - 2)}:
        found = Threshold(cohort, f)
        assert 2 * found.needed > cohort + found.tolerated, "f clients answer twice, the others once"
        assert found.tolerated <= found.hidden
        assert found.tolerated + 2 <= found.needed <= cohort, "two honest clients in each sum"
        assert found.width * found.packed == DEGREE


@pytest.mark.parametrize(("cohort", "colluding"), [(1, None), (0, None), (3, 2), (4, -1), (2, 1)])
def test_what_cannot_be_met_is_refused(cohort, colluding):
    with pytest.raises(CipherError, match=r"that update|colluding"):
        Threshold(cohort, colluding)


@pytest.mark.parametrize(("cohort", "colluding"), [(2, None), (4, None), (8, None), (12, 0), (30, None)])
def test_any_that_are_needed_give_the_sum_of_the_secrets_and_lagrange_agrees(cohort, colluding):
    threshold = Threshold(cohort, colluding)
    secrets = [secret_of(seed) for seed in range(3)]
    dealt = [deal(secret, threshold, CONTEXT) for secret in secrets]
    sums = {i: add_shares([received(each, threshold, i) for each in dealt]) for i in range(cohort)}
    rng = np.random.default_rng(0)
    for _ in range(3):
        chosen = rng.permutation(cohort)[: threshold.needed].tolist()
        kept = {index: sums[index] for index in chosen}
        found = opened(kept, threshold)
        np.testing.assert_array_equal(found, sum(secrets))
        rows = [np.frombuffer(data, "<u2").tolist() for data in kept.values()]
        points = [index + 1 for index in chosen]  # client i has the point i + 1, and secret j the point -j
        for column in (0, threshold.width - 1):
            for place in range(threshold.packed):
                value = lagrange(points, [row[column] for row in rows], -place)
                assert value == found[place * threshold.width + column] % PRIME
        others = {index: data for index, data in sums.items() if index not in kept}
        assert not others or lies_on(kept, others) == list(others)


def test_a_wrong_share_sum_is_found_among_the_others():
    threshold = Threshold(8)
    dealt = deal(secret_of(1), threshold, CONTEXT)
    sums = {i: add_shares([received(dealt, threshold, i)]) for i in range(8)}
    kept = {i: sums[i] for i in range(6)}
    assert lies_on(kept, {6: sums[6], 7: sums[6]}) == [6]


@settings(max_examples=25, deadline=None)
@given(st.integers(2, 20), st.data())
def test_one_less_than_needed_opens_nothing(cohort, data):
    threshold = Threshold(cohort, data.draw(st.one_of(st.none(), st.integers(0, cohort - 2))))
    dealt = deal(secret_of(2), threshold, CONTEXT)
    sums = {i: add_shares([received(dealt, threshold, i)]) for i in range(threshold.needed - 1)}
    with pytest.raises(CipherError, match=f"where {threshold.needed} open"):
        opened(sums, threshold)


def test_the_shares_that_must_reveal_nothing_are_uniform_whatever_the_secret():
    """All shares of `hidden` clients, the parts of the random polynomials included, of two very different secrets."""
    threshold = Threshold(8)
    assert threshold.hidden == 4
    for secret in (np.zeros(DEGREE, np.int64), np.full(DEGREE, 40)):
        values = []
        for _ in range(10):
            dealt = deal(secret, threshold, CONTEXT)
            rows = [np.frombuffer(share, "<u2", -1, SALT_BYTES) for share in dealt.shares[: threshold.hidden]]
            proof = np.frombuffer(dealt.proof, "<u2", -1, 8 * 32)  # the published combinations are uniform as well
            values += [*rows, proof]
            # Sums and differences of shares would show a secret that is not hidden by each of them.
            values += [(a.astype(np.int64) - b) % PRIME for a, b in itertools.combinations(rows, 2)]
        numbers = np.concatenate(values).astype(np.int64)
        counts = np.bincount(numbers * 64 // PRIME, minlength=64)
        expected = np.diff([-(-PRIME * k // 64) for k in range(65)]) * (len(numbers) / PRIME)
        assert chi2.sf(((counts - expected) ** 2 / expected).sum(), 63) > 1e-9


def test_fewer_shares_fit_every_secret():
    """By interpolation: `hidden` shares and any other secret lie on polynomials of the degree."""
    threshold = Threshold(4)
    dealt = deal(secret_of(3), threshold, CONTEXT)
    known = [numbers_of(share, threshold)[0].item() for share in dealt.shares[: threshold.hidden]]
    for other in (0, 1, PRIME - 1):
        points, values = [0, 1, 2], [other, *known]
        third = lagrange(points, values, 3)
        assert lagrange([1, 2, 3], [*known, third], 0) == other


# Dealers that cheat


def dealt_by(change):
    """Shares of a dealer that changes them before it commits: `change` gets the numbers (n_c, width + checks)."""
    threshold = Threshold(5)
    real = sharing._times
    shares = []

    def times(left, right):
        result = real(left, right)
        if not shares and len(left) == threshold.cohort:  # the first product is the shares
            shares.append(True)
            change(result)
        return result

    sharing._times = times
    try:
        return deal(secret_of(4), threshold, CONTEXT), threshold
    finally:
        sharing._times = real


def accused(dealt, threshold):
    found = []
    for index in range(threshold.cohort):
        try:
            received(dealt, threshold, index)
        except BadSharesError as error:
            found.append((index, error.dealer))
    assert {dealer for _, dealer in found} <= {"dealer"}
    return [index for index, _ in found]


def test_honest_shares_are_taken_by_all():
    dealt, threshold = dealt_by(lambda _: None)
    assert accused(dealt, threshold) == []


@pytest.mark.parametrize("victim", range(5))
def test_a_share_off_the_polynomial_is_found_by_its_client(victim):
    def change(shares):
        shares[victim, 1234] = (shares[victim, 1234] + 1) % PRIME

    dealt, threshold = dealt_by(change)
    assert accused(dealt, threshold) == [victim]


def test_shares_that_are_random_are_found_by_all():
    def change(shares):
        shares[:] = np.random.default_rng(0).integers(0, PRIME, shares.shape)

    dealt, threshold = dealt_by(change)
    assert accused(dealt, threshold) == [0, 1, 2, 3, 4]


def test_a_combination_does_not_repair_shares():
    """A dealer that makes one victim's random part fit one combination misses the others: there are eight."""
    seen = []

    def change(shares):
        shares[2, 0] = (shares[2, 0] + 1) % PRIME
        shares[2, -8] = (shares[2, -8] - 1) % PRIME
        seen.append(True)

    dealt, threshold = dealt_by(change)
    assert seen
    assert accused(dealt, threshold) == [2]


def test_another_share_than_the_one_committed_to_is_found():
    threshold = Threshold(4)
    first, second = deal(secret_of(5), threshold, CONTEXT), deal(secret_of(5), threshold, CONTEXT)
    with pytest.raises(BadSharesError, match="dealer dealt bad shares: a share is not the one"):
        checked_share(second.shares[1], first.proof, 1, threshold, CONTEXT, "dealer")
    with pytest.raises(BadSharesError, match="not the one"):
        checked_share(first.shares[1], first.proof, 2, threshold, CONTEXT, "dealer")


def test_a_proof_is_of_its_context():
    threshold = Threshold(4)
    dealt = deal(secret_of(6), threshold, CONTEXT)
    with pytest.raises(BadSharesError, match="no polynomial"):
        received(dealt, threshold, 1, b"another attempt")


def test_every_number_of_a_proof_counts():
    threshold = Threshold(4)
    dealt = deal(secret_of(7), threshold, CONTEXT)
    for place in range(4 * 32, len(dealt.proof), 6):
        proof = bytearray(dealt.proof)
        proof[place] ^= 1
        with pytest.raises(BadSharesError):
            checked_share(dealt.shares[0], bytes(proof), 0, threshold, CONTEXT, "dealer")


def test_shares_of_another_form_are_refused():
    threshold = Threshold(4)
    dealt = deal(secret_of(8), threshold, CONTEXT)
    share = dealt.shares[0]
    with pytest.raises(BadSharesError, match="bytes of a share"):
        checked_share(share[:-2], dealt.proof, 0, threshold, CONTEXT, "dealer")
    large = share[:-2] + (PRIME + 1).to_bytes(2, "little")
    proof = hashlib.sha256(large).digest() + dealt.proof[32:]
    with pytest.raises(BadSharesError, match="not below p"):
        checked_share(large, proof, 0, threshold, CONTEXT, "dealer")
    sums = {i: add_shares([received(dealt, threshold, i)]) for i in range(3)}
    with pytest.raises(CipherError, match="another length"):
        opened(sums | {2: sums[2][:-2]}, threshold)
    with pytest.raises(CipherError, match="not below p"):
        opened(sums | {2: b"\xff" * len(sums[2])}, threshold)
