"""Several numbers in a slot: sums never carry."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from strategies.ciphers.kahe.parameters import KaheParameters
from strategies.ciphers.limits import MAX_CLIENTS, MIN_CLIENTS
from strategies.ciphers.update_slots import Packing

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
    modulus = KaheParameters(10, 1, clients, 9).plain_modulus
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
        plan = KaheParameters(5000, 5, clients, 11).plan
        for packing in (plan.values, plan.flags):
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

    modulus = KaheParameters(10, 1, clients, 9).plain_modulus
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
        (2, 13, 47, 3),  # Delta of 7 bits: 2 * 53 is 8 deviations of 4.6 sqrt(2); 3 (1 + 13) bits of 54 - 7
        (4, 13, 46, 3),  # 2 * 74, 8 bits; 3 (2 + 13)
        (8, 12, 46, 3),  # 2 * 105; 3 (3 + 12)
        (8, 13, 46, 2),  # 3 (3 + 13) = 48 are too many
        (9, 14, 56, 3),  # q below 2^64, 2 * 111; 3 (3.2 + 14)
        (64, 12, 54, 3),  # 2 * 295, 10 bits; 3 (6 + 12) = 54, and R = 64 * 4094 + 1 < 2^18
        (64, 13, 54, 2),  # 3 (6 + 13) are too many
        (256, 9, 53, 3),  # 2 * 589, 11 bits; 3 (8 + 9)
        (1024, 8, 52, 2),  # 2 * 1178, 12 bits; 3 (10 + 8) = 54 are too many
    ],
)
def test_bits_of_a_slot_are_shared_out_as_worked_out_by_hand(clients, bits, plain, per_slot):
    parameters = KaheParameters(1, 1, clients, bits)
    assert parameters.plain_modulus == 2**plain - 1
    assert parameters.plan.values.per_slot == per_slot


def test_a_precision_that_does_not_fit_into_a_slot_is_refused():
    with pytest.raises(ValueError, match=r"40 bits for 1024 clients do not fit into a slot below 4398046511104"):
        Packing.for_values(1024, 40, 2**42)
    with pytest.raises(ValueError, match="rounded to 18 bits at most"):
        KaheParameters(10, 1, 1024, 40)
