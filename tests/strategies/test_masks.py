"""Pairwise masks: they cancel in the sum to the last bit, and without the whole sum slots look like noise."""

import itertools
import math
from dataclasses import replace

import numpy as np
import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from encrypted_payloads import federation_key
from hypothesis import given, settings
from hypothesis import strategies as st

from strategies.ciphers.binding import Binding
from strategies.ciphers.cipher import CipherError
from strategies.ciphers.masks import add_masks, expand, key_tag, new_mask_key, pair_seed, public_mask_key, take_off
from strategies.ciphers.packed_bfv import PackedBfvCipher

NAMES = ("anna", "bert", "cleo", "dora", "emil", "fay", "gus", "hal")
T = 2**44
BINS = 64


def binding_of(names, **changes):
    return replace(Binding("0" * 16, "layout", 3, 1, tuple(names)), **changes)


def mask_keys(names, seed=0):
    """Private keys from a seeded generator, so that the statistics below are the same in every run."""
    rng = np.random.default_rng(seed)
    return {name: rng.bytes(32) for name in names}


def seeds_of(keys, own, binding):
    return {peer: pair_seed(keys[own], own, peer, public_mask_key(keys[peer]), binding) for peer in keys if peer != own}


def masked(slots, keys, binding, modulus=T):
    """A copy of each client's slots with its masks on."""
    found = {name: row.copy() for name, row in slots.items()}
    for name, row in found.items():
        add_masks(row, name, seeds_of(keys, name, binding), modulus)
    return found


def random_slots(names, size=50, modulus=T, seed=0):
    rng = np.random.default_rng(seed)
    return {name: rng.integers(0, modulus, size) for name in names}


def plain_sum(slots, names, modulus=T):
    """In Python's integers."""
    return [sum(int(slots[name][i]) for name in names) % modulus for i in range(len(slots[names[0]]))]


def chi_square(numbers, modulus, bins=BINS):
    """Pearson's statistic of equal shares of 0..modulus - 1; `bins` - 1 degrees of freedom if they are uniform."""
    edges = [-(-modulus * i // bins) for i in range(bins + 1)]
    counts = np.histogram(numbers, edges)[0]
    assert counts.sum() == len(numbers), "numbers out of range"
    expected = np.diff(np.array(edges, float)) / modulus * len(numbers)
    return float(((counts - expected) ** 2 / expected).sum())


def bound(bins=BINS):
    """Mean and six standard deviations of chi-square: passed by about one of a million uniform samples."""
    return bins - 1 + 6 * math.sqrt(2 * (bins - 1))


@pytest.mark.parametrize("count", [3, 8])
@settings(max_examples=8, deadline=None)
@given(st.sampled_from([T, 2**20, 2**20 + 7, 2**44 - 2**13 + 1, 5]), st.integers(0, 2**32))
def test_masks_cancel_exactly(count, modulus, seed):
    names = NAMES[:count]
    slots = random_slots(names, modulus=modulus, seed=seed)
    sent = masked(slots, mask_keys(names, seed), binding_of(names), modulus)
    assert plain_sum(sent, names, modulus) == plain_sum(slots, names, modulus)
    for name in names:
        assert sent[name].min() >= 0
        assert sent[name].max() < modulus


@pytest.mark.parametrize("count", [3, 4, 8])
def test_disclosed_seeds_take_off_what_drop_outs_left(count):
    """Every set of drop-outs that leaves two clients; with one seed too few the sum stays noise."""
    names = NAMES[:count]
    keys, binding = mask_keys(names), binding_of(names)
    slots = random_slots(names)
    sent = masked(slots, keys, binding)
    for missing_count in (1, min(2, count - 2), count - 2):
        for missing in itertools.combinations(names, missing_count):
            present = [name for name in names if name not in missing]
            total = np.array(plain_sum(sent, present))
            disclosed = [(name, gone, seeds_of(keys, name, binding)[gone]) for name in present for gone in missing]
            partly = total.copy()
            take_off(partly, disclosed[:-1], T)
            assert (partly != plain_sum(slots, present)).all()
            take_off(total, disclosed, T)
            assert total.tolist() == plain_sum(slots, present)


def stream_by_blocks(seed):
    """64-bit words of AES in counter mode, from single blocks: AES(0), AES(1), ... with a big-endian counter."""
    block = Cipher(algorithms.AES(seed), modes.ECB()).encryptor()
    for counter in itertools.count():
        data = block.update(counter.to_bytes(16, "big"))
        yield int.from_bytes(data[:8], "little")
        yield int.from_bytes(data[8:], "little")


@given(st.binary(min_size=32, max_size=32), st.integers(2, 2**48), st.integers(0, 50))
def test_expansion_equals_plain_loops(seed, modulus, count):
    """The top bits of each word; after all of them, words that replace those that are too large, as often as needed."""
    bits = (modulus - 1).bit_length()
    words = (word >> (64 - bits) for word in stream_by_blocks(seed))
    numbers = list(itertools.islice(words, count))
    # A number of words that fills no block of 16 bytes does not lose the other half of it: the stream goes on.
    while wrong := [place for place, number in enumerate(numbers) if number >= modulus]:
        for place in wrong:
            numbers[place] = next(words)
    assert expand(seed, count, modulus).tolist() == numbers


@pytest.mark.parametrize("modulus", [2**44, 2**20, 2**20 + 7, 2**44 + 9, 2**45 - 3, 3 * 2**19, 67])
def test_expansion_is_uniform_and_in_range(modulus):
    """Just above a power of two, nearly half of the words are too large."""
    numbers = np.concatenate([expand(bytes([number]) * 32, 1 << 14, modulus) for number in range(4)])
    assert numbers.min() >= 0
    assert numbers.max() < modulus
    assert chi_square(numbers, modulus) < bound()
    if modulus > 2**16:  # the low bits too; a smaller modulus that 64 does not divide has more of some of them
        assert chi_square(numbers % 64, 64) < bound()


def test_a_remainder_in_place_of_rejection_would_be_found_out():
    """The bound of the test above: words modulo a t just above a power of two hit its lower part twice as often."""
    modulus = 3 * 2**19
    words = expand(bytes(32), 1 << 16, 2**21)
    assert chi_square(words % modulus, modulus) > 10 * bound()


def test_both_clients_of_a_pair_derive_the_same_seed_and_nobody_else():
    keys = {name: new_mask_key() for name in NAMES[:3]}
    binding = binding_of(NAMES[:3])
    seeds = {name: seeds_of(keys, name, binding) for name in keys}
    for first, second in itertools.combinations(keys, 2):
        assert seeds[first][second] == seeds[second][first]
    assert len({seed for row in seeds.values() for seed in row.values()}) == 3
    assert all(len(seed) == 32 for row in seeds.values() for seed in row.values())


@pytest.mark.parametrize(
    "change",
    [
        {"run_key": "1" * 16},
        {"layout": "other"},
        {"server_round": 4},
        {"attempt": 2},
        {"cohort": NAMES[:4]},
    ],
)
def test_a_seed_says_nothing_about_another_attempt(change):
    keys, binding = mask_keys(NAMES[:3]), binding_of(NAMES[:3])
    assert seeds_of(keys, "anna", binding)["bert"] != seeds_of(keys, "anna", replace(binding, **change))["bert"]
    shuffled = replace(binding, cohort=binding.cohort[::-1])
    assert seeds_of(keys, "anna", binding) == seeds_of(keys, "anna", shuffled)


@pytest.mark.parametrize(
    "public", [bytes(32), (1).to_bytes(32, "little"), b"short", b""], ids=["zero", "one", "short", "empty"]
)
def test_a_public_key_that_gives_no_secret_is_refused_by_name(public):
    """Points of small order: everybody would know the secret that comes of them (RFC 7748, Sec. 6.1)."""
    with pytest.raises(CipherError, match="the mask key of bert is not usable"):
        pair_seed(new_mask_key(), "anna", "bert", public, binding_of(NAMES[:3]))


def test_a_tag_authenticates_one_key_of_one_client():
    tags = [
        key_tag(secret, name, public)
        for secret, name, public in [
            (b"s", "anna", b"public"),
            (b"t", "anna", b"public"),
            (b"s", "bert", b"public"),
            (b"s", "anna", b"publis"),
            (b"s", "ann", b"apublic"),
        ]
    ]
    assert len(set(tags)) == len(tags)
    assert key_tag(b"s", "anna", b"public") == tags[0]


def real_slots(names, size=24_000):
    """What clients encrypt: two ciphertexts' slots of an update each."""
    state = {"exponents": np.full(-(-size // 1024), -1, np.int16)}
    found = {}
    for number, name in enumerate(names):
        cipher = PackedBfvCipher(federation_key(), np.zeros(size, bool), client=name, max_clients=8, bits=12)
        update = np.random.default_rng(number).standard_normal(size).astype(np.float32) / 16
        found[name], _ = cipher.slots(update, binding_of(names), state)
    return found, cipher.parameters.bfv.plain_modulus


def test_every_partial_sum_looks_uniform_with_masks_and_does_not_without():
    """What the server and a client that lends it the federation key would see of any clients but all of them."""
    names = NAMES[:3]
    slots, modulus = real_slots(names)
    sent = masked(slots, mask_keys(names), binding_of(names), modulus)
    for count in (1, 2):
        for some in itertools.combinations(names, count):
            assert chi_square(plain_sum(sent, some, modulus), modulus) < bound()
            assert chi_square(plain_sum(slots, some, modulus), modulus) > 100 * bound()
    assert plain_sum(sent, names, modulus) == plain_sum(slots, names, modulus)
    assert chi_square(plain_sum(sent, names, modulus), modulus) > 100 * bound(), "all of them: the masks are gone"


@pytest.mark.parametrize("count", [1, 2, 5, 7])
def test_partial_sums_of_eight_clients_look_uniform(count):
    slots, modulus = real_slots(NAMES)
    sent = masked(slots, mask_keys(NAMES), binding_of(NAMES), modulus)
    assert chi_square(plain_sum(sent, NAMES[:count], modulus), modulus) < bound()
    # Nor do two partial sums have anything to do with each other: their difference is uniform as well.
    differences = np.array(plain_sum(sent, NAMES[:count], modulus)) - plain_sum(sent, NAMES[-1:], modulus)
    assert chi_square(differences % modulus, modulus) < bound()
