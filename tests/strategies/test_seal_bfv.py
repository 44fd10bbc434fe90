"""The compact form of SEAL's ciphertexts: 54-bit words, c0 with a seed, and sums that are SEAL's own."""

import subprocess
import sys

import numpy as np
import pytest
from encrypted_payloads import federation_key
from hypothesis import example, given, settings
from hypothesis import strategies as st

from strategies.ciphers.cipher import CipherError
from strategies.ciphers.memory_file import MemoryFile
from strategies.ciphers.packed_bfv import SCHEME
from strategies.ciphers.seal_bfv import (
    DEGREE,
    POLYNOMIAL_BYTES,
    SEED_BYTES,
    WORD_BITS,
    Bfv,
    BfvKey,
    add_modulo,
    bfv,
    new_bfv_secret,
    pack_words,
    unpack_polynomials,
    unpack_words,
)

BITS = 44
T = 2**BITS
Q = bfv(BITS).modulus


@pytest.fixture(scope="module")
def key():
    return BfvKey(bfv(BITS), federation_key().secret(SCHEME))


def random_slots(seed, rows=1):
    """Slots of all sizes, with the ends of their range among them."""
    slots = np.random.default_rng(seed).integers(0, T, rows * DEGREE)
    slots[:6] = [0, 1, T // 2 - 1, T // 2, T // 2 + 1, T - 1]
    return slots


words = st.lists(st.one_of(st.integers(0, 2**54 - 1), st.sampled_from([0, 2**48, 2**54 - 1])), min_size=1, max_size=8)


@given(words.map(lambda few: few * 4))
def test_words_are_packed_as_plain_loops_pack_them(values):
    """Six low bytes of each word, then the six high bits of four words in three bytes, all little-endian."""
    low = b"".join((value % 2**48).to_bytes(6, "little") for value in values)
    high = b"".join(
        sum((value >> 48) << 6 * place for place, value in enumerate(values[start : start + 4])).to_bytes(3, "little")
        for start in range(0, len(values), 4)
    )
    packed = pack_words(np.array(values, np.uint64))
    assert packed == low + high
    assert 8 * len(packed) == WORD_BITS * len(values)
    assert unpack_words(memoryview(packed), len(values)).tolist() == values


@pytest.mark.parametrize("size", [0, 26, 28, 54])
def test_words_of_another_length_are_refused(size):
    with pytest.raises(CipherError, match=f"{size} bytes for 4 coefficients"):
        unpack_words(bytes(size), 4)


@given(st.lists(st.tuples(st.integers(0, Q - 1), st.integers(0, Q - 1)), min_size=1))
@example([(1, Q - 1), (Q - 1, Q - 1), (0, 0)])
def test_addition_modulo_q_equals_that_of_whole_numbers(pairs):
    total, addend = (np.array(column, np.uint64) for column in zip(*pairs, strict=True))
    add_modulo(total, addend, Q)
    assert total.tolist() == [(first + second) % Q for first, second in pairs]


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 2**32))
def test_decryption_inverts_encryption(seed):
    key = BfvKey(bfv(BITS), federation_key().secret(SCHEME))
    slots = random_slots(seed, rows=2)
    c0, seeds = key.encrypt(slots)
    assert c0.shape == (2, DEGREE)
    assert seeds.shape == (2, SEED_BYTES)
    assert int(c0.max()) < Q
    np.testing.assert_array_equal(key.decrypt(c0, [seeds]), slots)
    c1 = np.stack([key.bfv.expand(seed.tobytes()) for seed in seeds])
    np.testing.assert_array_equal(key.decrypt_whole(c0, c1), slots)


@pytest.mark.parametrize("slots", [np.zeros(DEGREE, np.int64), np.eye(1, DEGREE, dtype=np.int64)[0]])
def test_slots_that_end_in_zeros_come_back(key, slots):
    c0, seeds = key.encrypt(slots)
    np.testing.assert_array_equal(key.decrypt(c0, [seeds]), slots)


def test_the_same_slots_are_never_encrypted_alike(key):
    slots = random_slots(0)
    (first, first_seed), (second, second_seed) = key.encrypt(slots), key.encrypt(slots)
    assert first_seed.tobytes() != second_seed.tobytes()
    # Two uniform words below 2^54 agree with a probability of 2^-54 each.
    assert (first != second).all()
    # Words are uniform below q: their mean strays by q / sqrt(12 * 4096) = q / 222; six of those are allowed.
    assert abs(float(first.mean()) / Q - 0.5) < 6 / 222


def test_the_sum_modulo_q_is_seals_own_coefficient_by_coefficient(key):
    rows = [random_slots(seed) for seed in range(3)]
    parts = [key.encrypt(slots) for slots in rows]
    ciphertexts = [key.bfv.load(c0[0], seeds[0].tobytes()) for c0, seeds in parts]
    for addend in ciphertexts[1:]:
        key.evaluator.add_inplace(ciphertexts[0], addend)
    array = ciphertexts[0].dyn_array()
    expected = np.array([array[place] for place in range(2 * DEGREE)], np.uint64)
    c0, c1 = parts[0][0][0].copy(), key.bfv.expand(parts[0][1][0].tobytes()).copy()
    for addend, seeds in parts[1:]:
        add_modulo(c0, addend[0], Q)
        add_modulo(c1, key.bfv.expand(seeds[0].tobytes()), Q)
    np.testing.assert_array_equal(np.concatenate([c0, c1]), expected)
    total = [sum(column) % T for column in zip(*(row.tolist() for row in rows), strict=True)]
    assert key.decrypt(c0[None], [seeds for _, seeds in parts]).tolist() == total
    assert key.decrypt_whole(c0[None], c1[None]).tolist() == total


def test_seals_decryptor_finds_the_same_slots(key):
    import tenseal.sealapi as seal

    slots = random_slots(5)
    c0, seeds = key.encrypt(slots)
    plain = seal.Plaintext()
    key.decryptor.decrypt(key.bfv.load(c0[0], seeds[0].tobytes()), plain)
    assert [plain[place] for place in range(DEGREE)] == slots.tolist()


def test_a_seed_always_expands_alike_and_another_one_does_not():
    first, second = bytes(range(64)), bytes(range(1, 65))
    np.testing.assert_array_equal(bfv(BITS).expand(first), Bfv(BITS).expand(first))
    np.testing.assert_array_equal(bfv(BITS).expand(first), bfv(40).expand(first))
    assert (bfv(BITS).expand(first) != bfv(BITS).expand(second)).all()
    assert int(bfv(BITS).expand(first).max()) < Q


def test_one_secret_serves_every_plaintext_modulus():
    secret = new_bfv_secret(47)
    for bits in (47, 44, 42):
        key = BfvKey(bfv(bits), secret)
        slots = random_slots(bits) % 2**bits
        c0, seeds = key.encrypt(slots)
        np.testing.assert_array_equal(key.decrypt(c0, [seeds]), slots)
        # The same key: what one modulus encrypts, another instance opens.
        np.testing.assert_array_equal(BfvKey(bfv(bits), secret).decrypt(c0, [seeds]), slots)


def test_another_key_finds_no_noise_budget(key):
    c0, seeds = key.encrypt(random_slots(1))
    other = BfvKey(bfv(BITS), federation_key(1).secret(SCHEME))
    with pytest.raises(CipherError, match="no noise budget left: another key"):
        other.decrypt(c0, [seeds])
    with pytest.raises(CipherError, match="no noise budget left"):
        other.decrypt_whole(c0, key.bfv.expand(seeds[0].tobytes())[None])


def test_altered_parts_of_a_ciphertext_find_no_noise_budget(key):
    c0, seeds = key.encrypt(random_slots(1))
    altered, other = c0.copy(), seeds.copy()
    altered[0, 17] = (int(altered[0, 17]) + Q // 3) % Q
    other[0, 0] ^= 1
    for parts in [(altered, [seeds]), (c0, [other]), (c0, [seeds, seeds])]:
        with pytest.raises(CipherError, match="no noise budget left"):
            key.decrypt(*parts)


def test_encryption_is_no_signature(key):
    """q / t times m on top of c0 adds m to the slot and no noise: why payloads must not pass through hostile hands."""
    c0, seeds = key.encrypt(random_slots(1))
    c0[0, 17] = (int(c0[0, 17]) + round(Q * 5 / T)) % Q
    expected = random_slots(1)
    expected[17] += 5
    np.testing.assert_array_equal(key.decrypt(c0, [seeds]), expected)


def test_coefficients_beyond_q_are_no_ciphertext(key):
    c0, seeds = key.encrypt(random_slots(1))
    c0[0, 4] = Q
    with pytest.raises(CipherError, match="not a ciphertext"):
        key.decrypt(c0, [seeds])
    with pytest.raises(CipherError, match="not a ciphertext"):
        key.decrypt_whole(np.zeros_like(c0), c0)


@pytest.mark.parametrize(
    "damage",
    [
        lambda _: b"",
        lambda _: b"x",
        lambda _: bytes(16),
        lambda _: b"garbage" * 100,
        lambda secret: secret[:16],
        lambda secret: secret[:100],
        lambda secret: secret[:-1],
        lambda secret: secret[:16] + bytes(99),
    ],
)
def test_what_is_not_a_secret_of_these_parameters_is_refused(damage):
    with pytest.raises(CipherError, match="does not fit the parameters"):
        BfvKey(bfv(BITS), damage(federation_key().secret(SCHEME)))


@pytest.mark.parametrize("length", [0, SEED_BYTES - 1, SEED_BYTES + 1])
def test_a_seed_of_another_length_is_refused(length):
    """The rest of it would be that of the ciphertext before."""
    with pytest.raises(CipherError, match=f"a seed of {length} bytes"):
        bfv(BITS).load_seed(bytes(length))


def test_a_polynomial_of_another_shape_is_refused():
    with pytest.raises(CipherError, match=r"a polynomial of shape \(100,\)"):
        bfv(BITS).load(np.zeros(100, np.uint64), bytes(SEED_BYTES))


@pytest.mark.parametrize("count", [1, 31, 32, 33, 65])
def test_polynomials_unpacked_some_at_a_time_are_those_unpacked_at_once(count):
    words = np.random.default_rng(count).integers(0, 2**54, count * DEGREE, np.uint64)
    packed = pack_words(words)
    found = [(rows, part) for rows, part in unpack_polynomials(packed, count)]
    assert [row for rows, _ in found for row in range(rows.start, rows.stop)] == list(range(count))
    np.testing.assert_array_equal(np.concatenate([part for _, part in found]).ravel(), words)
    with pytest.raises(CipherError, match="bytes for"):
        next(unpack_polynomials(packed[:-1], count))


def test_a_plaintext_modulus_beyond_q_is_refused():
    with pytest.raises(CipherError, match="refuses a plaintext modulus of 60 bits"):
        Bfv(60)


def test_a_polynomial_takes_54_bits_a_coefficient(key):
    c0, _ = key.encrypt(random_slots(1))
    assert len(pack_words(c0.ravel())) == POLYNOMIAL_BYTES == 27648


def test_what_is_put_replaces_only_what_it_covers():
    file = MemoryFile(b"some bytes")
    file.put(b"any", 0)
    file.put(b"more", 5)
    assert file.get() == b"anye mores"
    with open(file.path, "rb") as opened:  # noqa: PTH123 - as SEAL opens it
        assert opened.read() == b"anye mores"


def test_files_stand_in_for_memory_where_the_system_has_none(monkeypatch):
    import os
    from pathlib import Path

    monkeypatch.delattr(os, "memfd_create", raising=False)
    file = MemoryFile()
    path = Path(file.path)
    assert path.is_file()
    file.put(b"content", 0)
    assert file.get() == path.read_bytes() == b"content"
    del file
    assert not path.exists(), "a temporary file is removed"


def test_a_process_that_used_the_cipher_ends_without_a_word():
    """The interpreter, as pytest does, keeps hold of the module until its names are gone."""
    code = (
        "import codecs; from strategies.ciphers import seal_bfv; seal_bfv.bfv(40); "
        "codecs.register(lambda name, kept=seal_bfv: None)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr == ""
