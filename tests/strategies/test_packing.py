"""Several numbers in a slot: sums never carry, and the noise of as many ciphertexts as may come leaves room."""

import math
from fractions import Fraction

import numpy as np
import pytest
from encrypted_payloads import federation_key
from hypothesis import given, settings
from hypothesis import strategies as st

from strategies.ciphers.limits import MAX_CLIENTS, MIN_CLIENTS
from strategies.ciphers.packed_bfv import SCHEME, PackedParameters
from strategies.ciphers.packing import Packing, noise_bound, plain_bits
from strategies.ciphers.seal_bfv import DEGREE, BfvKey, add_modulo, bfv

Q = bfv(40).modulus
CLIENTS = range(MIN_CLIENTS, MAX_CLIENTS + 1)


def slots_by_definition(digits, packing):
    """v_0 + v_1 R + v_2 R^2 + ... of each slot, in Python's integers, which do not overflow."""
    count = math.ceil(len(digits) / packing.per_slot)
    padded = [*digits, *[0] * (count * packing.per_slot - len(digits))]
    return [sum(padded[j * count + i] * packing.radix**j for j in range(packing.per_slot)) for i in range(count)]


@st.composite
def packings(draw):
    """A packing as the cipher would choose it, for values or for flags."""
    clients = draw(st.one_of(st.sampled_from([2, 3, 4, 8, 64, 256, 1023, 1024]), st.integers(2, 1024)))
    modulus = 2 ** plain_bits(clients, Q)
    if draw(st.booleans()):
        return Packing.for_flags(clients, modulus)
    return Packing.for_values(clients, draw(st.integers(2, 11)), modulus)


@given(packings(), st.data())
def test_slots_equal_the_definition_and_come_back(packing, data):
    digits = data.draw(st.lists(st.integers(0, packing.top), min_size=1, max_size=40))
    packed = packing.pack(np.array(digits, np.int64))
    assert packed.tolist() == slots_by_definition(digits, packing)
    assert packed.size == packing.slots(len(digits))
    assert packing.unpack(packed, len(digits)).tolist() == digits


@given(packings(), st.data())
def test_sums_of_up_to_all_clients_never_carry(packing, data):
    """Three distinct vectors, each sent by a share of the clients; together they are as many as the bound allows."""
    size = data.draw(st.integers(1, 20))
    vectors = data.draw(
        st.lists(
            st.lists(st.one_of(st.just(packing.top), st.integers(0, packing.top)), min_size=size, max_size=size),
            min_size=3,
            max_size=3,
        )
    )
    first = data.draw(st.integers(0, packing.max_clients))
    second = data.draw(st.integers(0, packing.max_clients - first))
    shares = [first, second, packing.max_clients - first - second]
    total = sum(share * packing.pack(np.array(row, np.int64)) for share, row in zip(shares, vectors, strict=True))
    assert (total < packing.plain_modulus).all()
    expected = [sum(share * row[i] for share, row in zip(shares, vectors, strict=True)) for i in range(size)]
    assert packing.unpack(total, size).tolist() == expected


def test_every_client_at_the_top_fills_the_slot_and_does_not_exceed_it():
    for clients in CLIENTS:
        for packing in (PackedParameters(5000, 5, clients, 11).values, PackedParameters(5000, 5, clients, 11).flags):
            assert packing.radix == clients * packing.top + 1
            assert packing.radix**packing.per_slot <= packing.plain_modulus
            digits = np.full(packing.per_slot, packing.top)
            total = clients * packing.pack(digits)
            assert int(total[0]) == packing.radix**packing.per_slot - 1 < packing.plain_modulus
            np.testing.assert_array_equal(packing.unpack(total, packing.per_slot), clients * digits)


@pytest.mark.parametrize("bits", [4, 7, 9, 11])
@pytest.mark.parametrize("clients", [2, 3, 4, 8, 64, 256, 1024])
def test_no_packing_has_more_digits_a_slot_or_more_levels(clients, bits):
    """By search: the largest number of digits that leaves 2^bits - 1 levels, and then the largest even top."""

    def fits(per_slot, top):
        return (clients * top + 1) ** per_slot <= modulus

    modulus = 2 ** plain_bits(clients, Q)
    packing = Packing.for_values(clients, bits, modulus)
    least = 2**bits - 2
    assert packing.per_slot == max(k for k in range(1, 9) if fits(k, least))
    assert packing.top >= least
    assert packing.top % 2 == 0, "zero has to be a level"
    assert fits(packing.per_slot, packing.top)
    assert not fits(packing.per_slot, packing.top + 2)
    flags = Packing.for_flags(clients, modulus)
    assert flags.top == 1
    assert flags.radix == clients + 1
    assert (clients + 1) ** flags.per_slot <= modulus < (clients + 1) ** (flags.per_slot + 1)


@pytest.mark.parametrize(
    ("clients", "bits", "plain", "per_slot"),
    [
        (2, 13, 47, 3),  # 3 (1 + 13) bits of 47; R = 2 * 8190 + 1
        (4, 13, 46, 3),  # 3 (2 + 13) bits of 46
        (8, 12, 46, 3),  # 3 (3 + 12)
        (8, 13, 46, 2),  # 3 (3 + 13) = 48 are too many
        (64, 8, 44, 3),  # 3 (6 + 8)
        (64, 16, 44, 2),  # 2 (6 + 16) = 44, and R = 64 * 65534 + 1 < 2^22
        (256, 13, 43, 2),  # 2 (8 + 13)
        (1024, 11, 42, 2),  # 2 (10 + 11) = 42, and R = 1024 * 2046 + 1 < 2^21
    ],
)
def test_bits_of_a_slot_are_shared_out_as_worked_out_by_hand(clients, bits, plain, per_slot):
    parameters = PackedParameters(1, 1, clients, bits)
    assert parameters.bfv.plain_modulus == 2**plain
    assert parameters.values.per_slot == per_slot


def test_a_precision_that_does_not_fit_into_a_slot_is_refused():
    with pytest.raises(ValueError, match=r"40 bits for 1024 clients do not fit into a slot below 4398046511104"):
        Packing.for_values(1024, 40, 2**42)
    with pytest.raises(ValueError, match="rounded to 18 bits at most"):
        PackedParameters(10, 1, 1024, 40)


@pytest.mark.parametrize("clients", [-1, 0, 1, 1025])
def test_a_bound_outside_2_to_1024_clients_is_refused(clients):
    with pytest.raises(ValueError, match=f"{clients} clients; packed_bfv takes 2 to 1024"):
        PackedParameters(10, 1, clients, 11)


def test_the_plaintext_modulus_is_the_largest_power_of_two_that_the_noise_leaves():
    """noise < q / (2 t), in rationals; with twice the t it no longer holds."""
    for clients in CLIENTS:
        noise, bits = Fraction(noise_bound(clients)), plain_bits(clients, Q)
        assert noise < Fraction(Q, 2 * 2**bits)
        assert noise >= Fraction(Q, 2 * 2 ** (bits + 1))
        assert PackedParameters(10, 1, clients, 9).bfv.plain_modulus == 2**bits


@pytest.mark.parametrize("clients", [2, 3, 4, 5, 8, 16, 64, 256])
def test_noise_exceeds_its_bound_with_a_probability_below_2_to_the_minus_128(clients):
    """The exact tail of 42 n fair coins, in Python's integers, instead of Hoeffding's inequality.

    SEAL's error is the number of heads among 21 coins less that among 21 others, so a sum of n errors has the
    distribution of the heads among 42 n coins less 21 n. Rounding adds at most half a unit a ciphertext."""
    coins = 42 * clients
    bound = noise_bound(clients) - clients / 2
    assert bound <= coins / 2
    heads = math.floor(coins / 2 + bound) + 1  # the fewest that are too many
    term = math.comb(coins, heads) if heads <= coins else 0
    tail = 0
    while term:
        tail += term
        term = term * (coins - heads) // (heads + 1)
        heads += 1
    assert 2 * tail * 2**128 < 2**coins


def encrypted_sum(key, rows):
    """c0 (1, DEGREE) of the sum, and the seeds of its addends."""
    total, seeds = None, []
    for row in rows:
        c0, seed = key.encrypt(row)
        seeds.append(seed)
        if total is None:
            total = c0
        else:
            add_modulo(total, c0, key.bfv.modulus)
    return total, seeds


@pytest.mark.parametrize("clients", [2, 8, 64])
def test_real_sums_are_exact_and_leave_noise_budget(clients):
    parameters = PackedParameters(3 * DEGREE, 12, clients, 9)
    key = BfvKey(parameters.bfv, federation_key().secret(SCHEME))
    rng = np.random.default_rng(clients)
    rows = rng.integers(0, parameters.bfv.plain_modulus // clients, (clients, DEGREE))
    c0, seeds = encrypted_sum(key, rows)
    c1 = sum(parameters.bfv.expand(seed.tobytes()) % Q for seed in seeds[:1])
    for seed in seeds[1:]:
        add_modulo(c1, parameters.bfv.expand(seed.tobytes()), Q)
    assert key.decryptor.invariant_noise_budget(parameters.bfv.load_whole(c0[0], c1)) > 0
    np.testing.assert_array_equal(key.decrypt(c0, seeds), rows.sum(axis=0))


@pytest.mark.parametrize("clients", [2, 8, 64])
@settings(max_examples=3, deadline=None)
@given(st.integers(0, 2**32))
def test_measured_noise_stays_below_its_bound(clients, seed):
    """With a t of 16 bits SEAL's budget says how large the noise is, to a factor of two.

    The budget is the bits of q, less those of the largest |t noise|, less one; so t noise >= 2^(54 - budget - 2)."""
    small = bfv(16)
    key = BfvKey(small, federation_key().secret(SCHEME))
    rows = np.random.default_rng(seed).integers(0, 2**16 // clients, (clients, DEGREE))
    c0, seeds = encrypted_sum(key, rows)
    total = small.load(c0[0], seeds[0].tobytes())
    for addend in seeds[1:]:
        key.evaluator.add_inplace(total, small.load(np.zeros(DEGREE, np.uint64), addend.tobytes()))
    budget = key.decryptor.invariant_noise_budget(total)
    at_least, at_most = 2.0 ** (54 - budget - 2 - 16), 2.0 ** (54 - budget - 1 - 16)
    assert at_least < noise_bound(clients)
    # Errors have a standard deviation of sqrt(10.5); the largest of 4,096 sums is beyond three of them.
    assert at_most > 3 * math.sqrt(10.5 * clients), "noise that is too small would mean no encryption"
