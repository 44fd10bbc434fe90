"""Cipher `packed_bfv`: exact sums whatever the number of clients, the coefficients, the drop-outs and the order."""

import math
from types import ModuleType

import numpy as np
import pytest
import tenseal.sealapi as seal
from encrypted_payloads import federation_key, fields_of
from hypothesis import given, settings
from hypothesis import strategies as st

from strategies.ciphers import seal_bfv
from strategies.ciphers.binding import Binding
from strategies.ciphers.cipher import CipherError
from strategies.ciphers.keys import FederationKey
from strategies.ciphers.packed_bfv import PackedBfvCipher, PackedBfvSum, PackedParameters
from strategies.quantise import Blocks

RUN, LAYOUT = "0" * 16, "layout"
BITS = {2: 13, 4: 13, 8: 12, 9: 12, 64: 9, 256: 8}


def ciphers_of(statistics, count, max_clients=0):
    """One cipher a client, all with the same key."""
    bound = max_clients or count
    return [
        PackedBfvCipher(federation_key(), statistics, client=f"client-{i}", max_clients=bound, bits=BITS[bound])
        for i in range(count)
    ]


def binding_of(ciphers, server_round=1):
    return Binding(RUN, LAYOUT, server_round, 1, tuple(cipher.client for cipher in ciphers))


def payloads_of(ciphers, updates, coefficients, state, binding):
    rows = zip(ciphers, updates, coefficients, strict=True)
    return {c.client: c.encrypt(u, w, binding, state=state, carried={}).payload for c, u, w in rows}


def summed(ciphers, payloads, binding):
    total = PackedBfvSum(ciphers[0].parameters, binding, federation_key().key_id)
    for client, payload in payloads.items():
        total.add(payload, client)
    return total.payload()


def digits_of(cipher, weighted, binding, state):
    """What this client's slots hold, digit by digit: its slots taken apart alone, by Python's integers."""
    slots, _ = cipher.slots(weighted, binding, state)
    packing = cipher.parameters.values
    count = cipher.parameters.digits
    rows, rest = [], [int(slot) for slot in slots[: packing.slots(count)]]
    for _ in range(packing.per_slot):
        rows += [slot % packing.radix for slot in rest]
        rest = [slot // packing.radix for slot in rest]
    return np.array(rows[:count])


def watch_sums(cipher):
    """What this cipher takes for the sums of digits, each time it decrypts."""
    seen, restore = [], cipher.blocks.restore
    cipher.blocks.restore = lambda total, *rest: seen.append(total.copy()) or restore(total, *rest)
    return seen


@st.composite
def rounds(draw, max_clients, size):
    """Statistics, updates of clients of which some drop out, coefficients that sum to 1, and an order of arrival."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    cohort = draw(st.integers(2, max_clients)) if max_clients <= 8 else max_clients
    statistics = rng.random(size) < draw(st.sampled_from([0.0, 0.1]))
    images = rng.integers(1, 1000, cohort)
    updates = (rng.standard_normal((cohort, size)) * 2.0 ** rng.integers(-6, 2, size)).astype(np.float32)
    arrived = rng.permutation(cohort)[: draw(st.integers(1, cohort))]
    return statistics, updates, images / images.sum(), arrived


@pytest.mark.parametrize("max_clients", [2, 4, 8, 64, 256])
def test_the_sum_is_exact_and_its_mean_that_of_fedavg(max_clients):
    @settings(max_examples={64: 3, 256: 2}.get(max_clients, 15), deadline=None)
    @given(rounds(max_clients, 300 if max_clients > 8 else 1500))
    def check(drawn):
        statistics, updates, coefficients, arrived = drawn
        ciphers = ciphers_of(statistics, len(updates), max_clients)
        binding = binding_of(ciphers)
        model = np.random.default_rng(0).standard_normal(statistics.size).astype(np.float32)
        state = ciphers[0].initial_state(model)
        sent = [ciphers[i] for i in arrived]
        payloads = payloads_of(sent, updates[arrived], coefficients[arrived], state, binding)
        total = summed(ciphers, payloads, binding)
        assert total == summed(ciphers, dict(reversed(payloads.items())), binding), "the order shows"
        sums = watch_sums(ciphers[-1])
        found = ciphers[-1].decrypt(total, coefficients[arrived].sum(), binding, state=state)

        # Integer equality: the digits of each client, taken from its own slots, and added by Python.
        weighted = [updates[i] * np.float32(coefficients[i]) for i in arrived]
        digits = [digits_of(cipher, row, binding, state) for cipher, row in zip(sent, weighted, strict=True)]
        parameters, blocks = ciphers[0].parameters, Blocks(statistics)
        order = np.argsort(statistics, kind="stable")
        half = parameters.values.top // 2
        np.testing.assert_array_equal(sums, [sum(digits)])

        # Its mean: statistics have a second digit, of which a power of two make one step of the first.
        first, second = np.split(sum(digits) - len(digits) * half, [statistics.size])
        expected, step = np.empty(statistics.size), np.empty(statistics.size)
        step[order] = np.repeat(2.0 ** state["exponents"].astype(float), blocks.lengths) / half
        expected[order] = first
        expected[statistics] += second * 2.0 ** -(half.bit_length() - 1)
        units = found.mean.astype(float) * coefficients[arrived].sum() / step
        # A mean is three float32 roundings away from the sum of its digits.
        np.testing.assert_allclose(units, expected, rtol=2.0**-21, atol=0)

        # Values beyond a block's scale are cut off in this round; the others are rounded by a step each at most.
        scale = step * half * np.where(statistics, 1 + 2.0 ** -(half.bit_length() - 1), 1)
        clipped = sum(np.clip(row.astype(float), -scale, scale) for row in weighted)
        last = step * np.where(statistics, 2.0 ** -(half.bit_length() - 1), 1)  # step of the last digit
        slack = 2.0**-20 * np.abs(clipped)  # float32 in weighing, digits and mean
        # What is left for a second digit is known to the rounding of a float32 step.
        bound = (len(digits) * (last + step * statistics * 2.0**-22) + slack) / coefficients[arrived].sum()
        assert (np.abs(found.mean - clipped / coefficients[arrived].sum()) <= bound).all()

    check()


@pytest.mark.parametrize("max_clients", [4, 256])
def test_the_mean_of_a_typical_round_is_close_to_float64s(max_clients):
    """Three clients. A step is scale / half, rounding errors of it are below one step and even out to 0.3 of one.

    The scale is at most four times the largest value: steps are below 4 * largest / half in size, and the root mean
    square of three errors, of variance 1 / 6 of a step each at most on average, below sqrt(3 / 6) of a step."""
    statistics = np.zeros(2000, bool)
    ciphers = ciphers_of(statistics, 3, max_clients)
    rng = np.random.default_rng(1)
    updates = rng.standard_normal((3, 2000)).astype(np.float32)
    coefficients = np.array([0.5, 0.3, 0.2])
    state = {"exponents": np.zeros(2, np.int16)}
    for server_round in (1, 2):  # the first round teaches the scales
        binding = binding_of(ciphers, server_round)
        total = summed(ciphers, payloads_of(ciphers, updates, coefficients, state, binding), binding)
        mean, state, _ = ciphers[0].decrypt(total, 1.0, binding, state=state)
    expected = np.average(updates.astype(float), axis=0, weights=coefficients)
    half = ciphers[0].parameters.values.top // 2
    largest = np.abs(updates * coefficients[:, None]).max()
    error = np.sqrt(np.mean((mean - expected) ** 2))
    assert error < np.sqrt(3 / 6) * 4 * largest / half
    assert error > 0, "an exact mean would not have been quantised"


@pytest.mark.parametrize("max_clients", [4, 64])
def test_all_clients_share_the_state_and_the_mean_bit_for_bit(max_clients):
    """A client that was not in the round decrypts too."""
    statistics = np.arange(1300) % 10 == 0
    ciphers = ciphers_of(statistics, 4, max_clients)
    binding = binding_of(ciphers[:3])
    updates = np.random.default_rng(2).standard_normal((3, 1300)).astype(np.float32)
    state = ciphers[0].initial_state(updates[0])
    total = summed(ciphers, payloads_of(ciphers[:3], updates, [0.4, 0.4, 0.2], state, binding), binding)
    found = [cipher.decrypt(total, 1.0, binding, state=state) for cipher in ciphers]
    for mean, after, _ in found[1:]:
        assert mean.tobytes() == found[0].mean.tobytes()
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


def test_a_client_that_carries_over_sends_what_it_kept():
    """Two rounds of one client: what arrives is what it trained, up to the residual that it still keeps."""
    statistics = np.zeros(100, bool)
    cipher = ciphers_of(statistics, 1, 2)[0]
    update = np.linspace(-3, 3, 100, dtype=np.float32)
    state, carried, arrived = {"exponents": np.zeros(1, np.int16)}, {}, np.zeros(100)
    for server_round in (1, 2, 3):
        binding = binding_of([cipher], server_round)
        payload, carried = cipher.encrypt(update, 1.0, binding, state=state, carried=carried)
        mean, state, _ = cipher.decrypt(summed([cipher], {cipher.client: payload}, binding), 1.0, binding, state=state)
        arrived += mean
    assert np.abs(carried["residual"]).max() > 0
    np.testing.assert_allclose(arrived + carried["residual"], 3.0 * update, rtol=0, atol=9 * 2.0**-22)


@pytest.mark.parametrize(("max_clients", "expands"), [(8, False), (9, True), (64, True)])
def test_the_server_adds_c1_for_many_clients_so_that_the_sum_does_not_grow_with_them(max_clients, expands):
    statistics = np.zeros(500, bool)
    ciphers = ciphers_of(statistics, 3, max_clients)
    assert ciphers[0].parameters.server_expands == expands
    binding = binding_of(ciphers)
    state = ciphers[0].initial_state(np.ones(500, np.float32))
    payloads = payloads_of(ciphers, np.ones((3, 500), np.float32), [0.1, 0.1, 0.1], state, binding)
    sizes = [
        len(summed(ciphers, dict(list(payloads.items())[:count]), binding))
        - len(str(sorted(payloads)[:count]))  # their names stand in the header
        for count in (1, 2, 3)
    ]
    growth = 0 if expands else seal_bfv.SEED_BYTES * ciphers[0].parameters.ciphertexts
    assert np.diff(sizes).tolist() == [growth, growth]
    mean = ciphers[1].decrypt(summed(ciphers, payloads, binding), 0.3, binding, state=state).mean
    step = 2.0 ** int(state["exponents"][0]) / (ciphers[0].parameters.values.top // 2)
    np.testing.assert_allclose(mean, 1.0, rtol=0, atol=3 * step / 0.3)


def test_an_upload_takes_little_more_than_a_slots_share_of_54_bits():
    """54 bits of each 3 values are 2.25 bytes a value; flags, seeds and header come on top."""
    size = 120_000
    cipher = ciphers_of(np.zeros(size, bool), 1, 4)[0]
    vector = np.zeros(size, np.float32)
    payload = cipher.encrypt(vector, 1.0, binding_of([cipher]), state=cipher.initial_state(vector), carried={}).payload
    assert 2.25 <= len(payload) / size < 2.35
    assert fields_of(payload)["client"] == "client-0"


def test_a_repeated_round_rounds_alike_and_another_round_or_client_does_not():
    """A client that is asked again must not send a second rounding of the same update."""
    statistics = np.zeros(300, bool)
    first, second = ciphers_of(statistics, 2)
    vector = np.random.default_rng(0).standard_normal(300).astype(np.float32)
    state = first.initial_state(vector)
    slots, _ = first.slots(vector, Binding(RUN, LAYOUT, 3, 1), state)
    again, _ = first.slots(vector, Binding(RUN, LAYOUT, 3, 2), state)
    np.testing.assert_array_equal(slots, again)
    assert (slots != first.slots(vector, Binding(RUN, LAYOUT, 4, 1), state)[0]).any()
    assert (slots != second.slots(vector, Binding(RUN, LAYOUT, 3, 1), state)[0]).any()


def reachable(root):
    """Every object that attributes and containers lead to from `root`; modules and classes are left out."""
    found, waiting = {}, [root]
    while waiting:
        item = waiting.pop()
        if id(item) in found or isinstance(item, type | ModuleType):
            continue
        found[id(item)] = item
        if isinstance(item, dict):
            waiting += [*item.keys(), *item.values()]
        elif isinstance(item, list | tuple | set | frozenset):
            waiting += item
        else:
            waiting += getattr(item, "__dict__", {}).values()
            properties = [name for name, kind in vars(type(item)).items() if isinstance(kind, property)]
            waiting += [getattr(item, name) for name in properties if type(item) is PackedParameters]
    return list(found.values())


@pytest.mark.parametrize("max_clients", [4, 64])
def test_the_servers_half_holds_no_key(max_clients):
    """Neither a key object nor any of the key's bytes, raw or as SEAL unpacks them, can be reached from the sum."""
    statistics = np.zeros(300, bool)
    cipher = ciphers_of(statistics, 1, max_clients)[0]
    binding = binding_of([cipher])
    total = PackedBfvSum(cipher.parameters, binding, federation_key().key_id)
    state = {"exponents": np.zeros(1, np.int16)}
    total.add(cipher.encrypt(np.zeros(300, np.float32), 1.0, binding, state=state, carried={}).payload, "client-0")
    secrets = list(federation_key().secrets.values())
    kinds = FederationKey | seal_bfv.BfvKey | seal.SecretKey | seal.Decryptor | seal.Encryptor | seal.KeyGenerator
    objects = reachable(total)
    assert any(isinstance(item, seal_bfv.Bfv) for item in objects), "the walk goes as deep as the parameters"
    assert not any(isinstance(item, kinds) for item in objects)
    blobs = [item for item in objects if isinstance(item, bytes | bytearray)]
    blobs += [item.tobytes() for item in objects if isinstance(item, np.ndarray)]
    assert blobs
    assert not any(secret in blob or (blob and blob in secret) for secret in secrets for blob in blobs if len(blob) > 8)
    assert any(isinstance(item, FederationKey) for item in reachable(cipher)), "the client's half is found to hold one"
    assert not hasattr(total, "decrypt")


def test_an_empty_sum_has_no_payload():
    cipher = ciphers_of(np.zeros(300, bool), 1, 4)[0]
    with pytest.raises(CipherError, match="nothing was added"):
        PackedBfvSum(cipher.parameters, binding_of([cipher]), "id").payload()


def test_sealed_models_come_back():
    cipher = ciphers_of(np.zeros(3, bool), 1, 4)[0]
    assert cipher.open(cipher.seal(b"model", "x"), "x") == b"model"
    assert b"model" not in cipher.seal(b"model", "x")
