"""Approximate sums that open to the same under any key: a server without one forged them, and chose their content."""

import struct
import tempfile
from pathlib import Path

import numpy as np
import pytest
import tenseal as ts
import tenseal.sealapi as seal
import zstandard
from ckks_federation import BINDING, STATE, cipher_of, encrypted, sum_for, updates_of
from encrypted_payloads import with_body

from strategies.ciphers import ckks
from strategies.ciphers.cipher import CipherError
from strategies.ciphers.ckks import PRESETS
from strategies.ciphers.transparent import OtherKey

HEADER = struct.Struct("<HBBBBHQ")
"""Of what SEAL writes: magic, its own size, version, compression, two bytes of nothing, size of all."""


def header(size):
    """Of `size` bytes that are not compressed."""
    return HEADER.pack(0xA15E, HEADER.size, 4, 3, 0, 0, HEADER.size + size)


def content(saved):
    """What SEAL compressed."""
    return zstandard.ZstdDecompressor().decompressobj().decompress(saved[HEADER.size :])


def saved(item):
    """SEAL writes to a path alone."""
    with tempfile.NamedTemporaryFile() as file:
        item.save(file.name)
        return Path(file.name).read_bytes()


def loaded(item, context, data):
    with tempfile.NamedTemporaryFile() as file:
        Path(file.name).write_bytes(data)
        item.load(context, file.name)
    return item


class Forger:
    """Makes CKKS ciphertexts from public parameters alone, in SEAL's form."""

    def __init__(self, preset):
        context = ckks._load_context(ckks.public_context(preset), preset)
        data = context.seal_context().data
        primes = [prime.value() for prime in data.key_context_data().parms().coeff_modulus()]
        parameters = seal.EncryptionParameters(seal.SCHEME_TYPE.CKKS)
        parameters.set_poly_modulus_degree(PRESETS[preset].degree)
        parameters.set_coeff_modulus([seal.Modulus(prime) for prime in primes])
        self.context = seal.SEALContext(parameters, True, seal.SEC_LEVEL_TYPE.TC128)
        self.degree, self.primes, self.scale = PRESETS[preset].degree, primes[:-1], PRESETS[preset].scale

    def plain(self, values):
        """The encoded values, in the transformed domain, (primes * degree,)."""
        plain = seal.Plaintext()
        seal.CKKSEncoder(self.context).encode([float(value) for value in values], self.scale, plain)
        count, data = len(self.primes) * self.degree, content(saved(plain))
        return np.frombuffer(data, "<u8", count, len(data) - 8 * count)

    def transformed(self, polynomial, fresh):
        """A polynomial with small whole coefficients, in the transformed domain; `fresh` is any ciphertext."""
        if not any(polynomial):  # SEAL refuses to transform it
            return np.zeros(len(self.primes) * self.degree, np.uint64)
        rows = np.concatenate([np.array([int(x) % prime for x in polynomial], np.uint64) for prime in self.primes])
        data = bytearray(content(fresh))
        data[32] = 0  # not transformed
        data[-8 * 2 * rows.size :] = rows.tobytes() * 2
        ciphertext = loaded(seal.Ciphertext(), self.context, header(len(data)) + bytes(data))
        seal.Evaluator(self.context).transform_to_ntt_inplace(ciphertext)
        data = content(saved(ciphertext))
        return np.frombuffer(data, "<u8", rows.size, len(data) - 8 * rows.size)

    def forged(self, vector, values, polynomial):
        """TenSEAL's form of (encoded values, polynomial), with the size of `vector`, which is serialised."""
        place = 0
        while vector[place : place + 4] not in (b"\x5e\xa1\x10\x04",):  # SEAL's magic, header size and version
            place += 1
        (total,) = struct.unpack_from("<Q", vector, place + 8)
        fresh = vector[place : place + total]
        data = bytearray(content(fresh))
        words = np.concatenate([self.plain(values), self.transformed(polynomial, fresh)])
        data[-8 * words.size :] = words.astype("<u8").tobytes()
        changed = header(len(data)) + bytes(data)
        before = vector[:place]
        assert before.endswith(b"\x12" + varint(total)), "TenSEAL writes ciphertexts as field 2"
        return before[: -len(varint(total))] + varint(len(changed)) + changed + vector[place + total :]


def varint(number):
    """As protocol buffers write it."""
    found = b""
    while number > 127:
        found += bytes([number & 127 | 128])
        number >>= 7
    return found + bytes([number])


def forged_sum(preset, polynomial, wanted):
    """A sum of two clients with these values in every slot, built without a key."""
    forger = Forger(preset)
    cipher = cipher_of("anna", preset=preset)
    total = sum_for(cipher)
    for name in ("anna", "bert"):
        total.add(encrypted(cipher_of(name, preset=preset), updates_of(1)[0][0], 0.5), name)
    parameters = cipher.parameters
    values, flags, _ = cipher.blocks.clip(wanted, STATE["exponents"])
    joined = np.concatenate([values, 2 * flags.ravel(), [2.0]]) / parameters.max_clients

    def change(body):
        pieces, start = [], 0
        for index in range(parameters.ciphertexts):
            (size,) = struct.unpack_from("<I", body, start)
            part = joined[index * parameters.slots : (index + 1) * parameters.slots]
            pieces.append(forger.forged(body[start + 4 : start + 4 + size], part, polynomial))
            start += 4 + size
        return b"".join(struct.pack("<I", len(piece)) + piece for piece in pieces)

    return with_body(total.payload(), change)


def ckks_polynomials(degree):
    ternary = np.random.default_rng(1).integers(-1, 2, degree)
    return {"zero": np.zeros(degree, int), "one": np.eye(1, degree, 0, int)[0], "ternary": ternary}


@pytest.mark.parametrize("preset", ["compact", "flare"])
@pytest.mark.parametrize("name", ["zero", "one", "ternary"])
def test_an_approximate_sum_without_a_secret_part_is_refused(preset, name, monkeypatch):
    wanted = updates_of(1, seed=5)[0][0]
    payload = forged_sum(preset, ckks_polynomials(PRESETS[preset].degree)[name], wanted)
    cipher = cipher_of("cleo", preset=preset)
    with pytest.raises(CipherError, match="ciphertext 0 opens under any key"):
        cipher.decrypt(payload, 1.0, BINDING, state=STATE)
    # Without the check it opens, to what the server wrote.
    monkeypatch.setattr(OtherKey, "require_noise", lambda *_: None)
    found = cipher.decrypt(payload, 1.0, BINDING, state=STATE).mean
    np.testing.assert_allclose(found[:2000], wanted[:2000], rtol=0, atol=1e-3)


@pytest.mark.parametrize("preset", PRESETS)
def test_honest_sums_open_to_noise_under_another_key(preset):
    """The deviation of a slot against the formula, over many; and few slots are as good as many."""
    chosen = PRESETS[preset]
    context = ts.context_from(ckks.new_secret(preset))
    other = OtherKey(chosen.degree, chosen.primes, chosen.scale)
    for slots in (1, 2, 17, chosen.degree // 2):
        found = []
        for number in range(5):
            values = np.random.default_rng(number).uniform(-1, 1, slots)
            vector = ts.ckks_vector(context, values, scale=chosen.scale)
            own = np.asarray(vector.decrypt())
            other.require_noise(vector, own, 0)
            found.append(np.asarray(vector.decrypt(other._key)) - own)
    assert np.std(found) / other._deviation == pytest.approx(1, abs=0.05)


def test_a_ciphertext_of_three_parts_is_refused():
    """c0 + c1 s + c2 s^2: the product of two ciphertexts, which no sum is."""
    context = ts.context(
        ts.SCHEME_TYPE.CKKS, 8192, coeff_mod_bit_sizes=[60, 40, 40], encryption_type=ts.ENCRYPTION_TYPE.SYMMETRIC
    )
    context.auto_relin = context.auto_rescale = False
    vector = ts.ckks_vector(context, [0.5] * 100, scale=2.0**20)
    product = vector * vector
    assert product.ciphertext()[0].size() == 3
    parameters = ckks.Parameters(83, 1, 4, "flare")
    assert parameters.size + parameters.num_flags == 100
    body = struct.pack("<I", len(product.serialize())) + product.serialize()
    with pytest.raises(CipherError, match="ciphertext 0 is not of 100 values"):
        list(ckks._vectors(context, memoryview(body), parameters))
