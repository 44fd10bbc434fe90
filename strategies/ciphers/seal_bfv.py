"""BFV ciphertexts of Microsoft SEAL through `tenseal.sealapi`, in a compact form of our own.

A fresh symmetric ciphertext is (c0, c1) with c1 expanded from a random seed, so c0 and the seed are all that travels.
Coefficients are below q < 2^54 and are stored in 54 bits. Sums are taken coefficient by coefficient modulo q, which is
BFV's addition (Fan and Vercauteren, 2012, eprint 2012/144, Sec. 4), for c0 without any SEAL object.

Slots are the coefficients of the plaintext polynomial: sums need no more, so t is a power of two and the
number-theoretic transform of batching is spared.
"""

import struct
from collections.abc import Iterable, Iterator
from functools import cache
from typing import Any

import numpy as np
import tenseal.sealapi as seal
import zstandard
from numpy.typing import NDArray

from strategies.ciphers.cipher import CipherError
from strategies.ciphers.memory_file import MemoryFile

Words = NDArray[np.uint64]
Bytes = NDArray[np.uint8]

DEGREE = 4096
COEFFICIENT_BITS = (54, 55)  # 109 bits with the key-switching prime: 128-bit security (HE standard, 2018, Table 1)
WORD_BITS = COEFFICIENT_BITS[0]
SEED_BYTES = 64
POLYNOMIAL_BYTES = DEGREE * WORD_BITS // 8
_AT_A_TIME = 32  # polynomials: a megabyte

# SEAL 4's serialised form: a header of 16 bytes, and for a ciphertext its fields, the coefficients as an array with a
# header of its own, and behind them the seed of c1 as an object with a header of its own.
_HEADER = struct.Struct("<HBBBBHQ")  # magic, header size, major and minor version, compression, reserved, total size
_PLAIN_FIELDS = struct.Struct("<32xQd")  # parms id (zero: coefficients), number of coefficients, scale
_FIELDS = struct.Struct("<32sBQQQdQ")  # parms id, ntt form, size, degree, number of primes, scale, correction factor
_MAGIC, _VERSION = 0xA15E, (4, 3)
_SEED_TYPE = 1  # Blake2xb
_COEFFICIENTS_AT = _HEADER.size + _FIELDS.size + _HEADER.size + 8
_PLAIN_AT = _HEADER.size + _PLAIN_FIELDS.size + _HEADER.size + 8


class Bfv:
    """Public parameters: ring degree, q, and the plaintext modulus t = 2^plain_bits."""

    def __init__(self, plain_bits: int) -> None:
        parameters = seal.EncryptionParameters(seal.SCHEME_TYPE.BFV)
        parameters.set_poly_modulus_degree(DEGREE)
        primes = seal.CoeffModulus.Create(DEGREE, list(COEFFICIENT_BITS))
        parameters.set_coeff_modulus(primes)
        self.plain_modulus = 2**plain_bits
        parameters.set_plain_modulus(self.plain_modulus)
        self.context = seal.SEALContext(parameters, True, seal.SEC_LEVEL_TYPE.TC128)
        if not self.context.parameters_set():
            raise CipherError(f"SEAL refuses a plaintext modulus of {plain_bits} bits")
        self.modulus = int(primes[0].value())  # ciphertexts live modulo the first prime; the second is for keys only
        self.file = MemoryFile()
        # All but coefficients and seed is the same in every ciphertext: it is written once, and they in their places.
        seed = _header(1 + SEED_BYTES) + bytes([_SEED_TYPE]) + bytes(SEED_BYTES)
        self._seeded, self._seed_alone = (MemoryFile(self._serialised(DEGREE, seed)) for _ in range(2))
        self._whole = MemoryFile(self._serialised(2 * DEGREE, b""))
        self._plain = MemoryFile(_plain(np.zeros(DEGREE, np.int64)))

    def load(self, c0: Words, seed: bytes) -> Any:
        """The SEAL ciphertext of c0 (DEGREE,) and the seed of its c1. Raises CipherError for another size."""
        self._seeded.put(_polynomial(c0), _COEFFICIENTS_AT)
        return self._load_seeded(self._seeded, seed)

    def load_whole(self, c0: Words, c1: Words) -> Any:
        """The SEAL ciphertext of both polynomials, (DEGREE,) each."""
        self._whole.put(_polynomial(c0), _COEFFICIENTS_AT)
        self._whole.put(_polynomial(c1), _COEFFICIENTS_AT + 8 * DEGREE)
        return self._load(self._whole)

    def load_seed(self, seed: bytes) -> Any:
        """The SEAL ciphertext of a seed's c1, with nothing in c0."""
        return self._load_seeded(self._seed_alone, seed)

    def load_plain(self, plain: Any, slots: NDArray[np.int64]) -> None:
        """Put slots (DEGREE,) in 0..t - 1 into a SEAL plaintext."""
        self._plain.put(_polynomial(slots), _PLAIN_AT)
        plain.load(self.context, self._plain.path)

    def expand(self, seed: bytes) -> Words:
        """c1 (DEGREE,) of a seed."""
        self.load_seed(seed).save(self.file.path)
        return _coefficients(self.file.get())[0][DEGREE:]

    def _serialised(self, count: int, seed: bytes) -> bytes:
        """A ciphertext of `count` zero coefficients."""
        parms_id = struct.pack("<4Q", *self.context.first_parms_id())
        values = struct.pack("<Q", count) + bytes(8 * count)
        data = b"".join((_FIELDS.pack(parms_id, 0, 2, DEGREE, 1, 1.0, 1), _header(len(values)), values, seed))
        return _header(len(data)) + data

    def _load_seeded(self, file: MemoryFile, seed: bytes) -> Any:
        if len(seed) != SEED_BYTES:
            raise CipherError(f"a seed of {len(seed)} bytes")
        file.put(seed, _COEFFICIENTS_AT + 8 * DEGREE + _HEADER.size + 1)
        return self._load(file)

    def _load(self, file: MemoryFile) -> Any:
        ciphertext = seal.Ciphertext()
        try:
            ciphertext.load(self.context, file.path)
        except (RuntimeError, ValueError) as error:
            raise CipherError(f"not a ciphertext: {error}") from error
        return ciphertext


@cache
def bfv(plain_bits: int) -> Bfv:
    """The parameters, built once per process."""
    return Bfv(plain_bits)


class BfvKey:
    """Encrypts and decrypts; held by clients only.

    Args:
        secret: the key from `new_bfv_secret`. Raises CipherError for anything else.
    """

    def __init__(self, parameters: Bfv, secret: bytes) -> None:
        self.bfv = parameters
        key = seal.SecretKey()
        try:
            file = MemoryFile(_for_context(secret, parameters.context))
            key.load(parameters.context, file.path)
        except (RuntimeError, ValueError, zstandard.ZstdError) as error:
            raise CipherError(f"the federation key does not fit the parameters: {error}") from error
        self.encryptor = seal.Encryptor(parameters.context, key)
        self.decryptor = seal.Decryptor(parameters.context, key)
        self.evaluator = seal.Evaluator(parameters.context)

    def encrypt(self, slots: NDArray[np.int64]) -> tuple[Words, Bytes]:
        """Slots (C * DEGREE,) in 0..t - 1 to c0 (C, DEGREE) and seeds (C, SEED_BYTES)."""
        rows = slots.reshape(-1, DEGREE)
        c0, seeds = np.empty(rows.shape, np.uint64), np.empty((len(rows), SEED_BYTES), np.uint8)
        plain, file = seal.Plaintext(), self.bfv.file
        for index, row in enumerate(rows):
            self.bfv.load_plain(plain, row)
            self.encryptor.encrypt_symmetric(plain).save(file.path)
            c0[index], seeds[index] = _parts(file.get())
        return c0, seeds

    def decrypt(self, c0: Words, seeds: list[Bytes]) -> NDArray[np.int64]:
        """Slots (C * DEGREE,) in 0..t - 1 of a sum: c0 (C, DEGREE) and the seeds (C, SEED_BYTES) of each addend.

        Raises CipherError if no noise budget is left: the values would be wrong."""
        sums = (self._sum(row, [addend[i] for addend in seeds]) for i, row in enumerate(c0))
        return self._decrypt(sums, len(c0))

    def decrypt_whole(self, c0: Words, c1: Words) -> NDArray[np.int64]:
        """As `decrypt`, with both polynomials (C, DEGREE) of the sum."""
        return self._decrypt((self.bfv.load_whole(*rows) for rows in zip(c0, c1, strict=True)), len(c0))

    def _sum(self, c0: Words, seeds: list[Bytes]) -> Any:
        total = self.bfv.load(c0, seeds[0].tobytes())
        for seed in seeds[1:]:
            self.evaluator.add_inplace(total, self.bfv.load_seed(seed.tobytes()))
        return total

    def _decrypt(self, ciphertexts: Iterable[Any], count: int) -> NDArray[np.int64]:
        plain, slots = seal.Plaintext(), np.zeros((count, DEGREE), np.int64)
        room = True
        for index, ciphertext in enumerate(ciphertexts):
            if index == 0:
                room = self.decryptor.invariant_noise_budget(ciphertext) > 0
            self.decryptor.decrypt(ciphertext, plain)
            plain.save(self.bfv.file.path)
            found = _plain_coefficients(self.bfv.file.get())
            slots[index, : found.size] = found
        if not room:  # raised after the same work as for a good sum: the time must not give the answer away
            raise CipherError("no noise budget left: another key, an altered sum, or too many addends")
        return slots.ravel()


def new_bfv_secret(plain_bits: int) -> bytes:
    """A new secret key, serialised. It does not depend on t: one key serves every plaintext modulus."""
    parameters = bfv(plain_bits)
    seal.KeyGenerator(parameters.context).secret_key().save(parameters.file.path)
    return parameters.file.get()


def add_modulo(total: Words, addend: Words, modulus: int) -> None:
    """total += addend (mod q) in place; both below q < 2^63."""
    total += addend
    np.subtract(total, np.uint64(modulus), out=total, where=total >= modulus)


def pack_words(words: Words) -> bytes:
    """Words below 2^54, a multiple of four of them, in 54 bits each: 6 low bytes a word, then 6 high bits a word."""
    parts = words.astype("<u8", copy=False).view(np.uint8).reshape(-1, 8)
    high = parts[:, 6].reshape(-1, 4).astype(np.uint32)
    joined = high[:, 0] | high[:, 1] << 6 | high[:, 2] << 12 | high[:, 3] << 18
    return parts[:, :6].tobytes() + joined.astype("<u4").view(np.uint8).reshape(-1, 4)[:, :3].tobytes()


def unpack_words(data: memoryview | bytes, count: int) -> Words:
    """The `count` words that `pack_words` was given. Raises CipherError for data of another length."""
    if len(data) != count * WORD_BITS // 8:
        raise CipherError(f"{len(data)} bytes for {count} coefficients")
    return _unpack(data, count, 0, count)


def unpack_polynomials(data: memoryview | bytes, count: int) -> Iterator[tuple[slice, Words]]:
    """As `unpack_words`, for `count` polynomials and some of them at a time: which, and their words (some, DEGREE)."""
    if len(data) != count * POLYNOMIAL_BYTES:
        raise CipherError(f"{len(data)} bytes for {count} polynomials")
    for start in range(0, count, _AT_A_TIME):
        stop = min(start + _AT_A_TIME, count)
        yield slice(start, stop), _unpack(data, count * DEGREE, start * DEGREE, stop * DEGREE).reshape(-1, DEGREE)


def _unpack(data: memoryview | bytes, count: int, start: int, stop: int) -> Words:
    """Words start..stop - 1, multiples of four, of `count`."""
    parts = np.zeros((stop - start, 8), np.uint8)
    parts[:, :6] = np.frombuffer(data, np.uint8, 6 * (stop - start), 6 * start).reshape(-1, 6)
    joined = np.zeros(((stop - start) // 4, 4), np.uint8)
    joined[:, :3] = np.frombuffer(data, np.uint8, 3 * (stop - start) // 4, 6 * count + 3 * start // 4).reshape(-1, 3)
    high = joined.view("<u4").ravel()
    for index in range(4):
        parts[index::4, 6] = high >> (6 * index) & 63
    words: Words = parts.view("<u8").ravel()
    return words


def _parts(saved: bytes) -> tuple[Words, Bytes]:
    """c0 (DEGREE,) and the seed of a saved, seed-compressed ciphertext."""
    c0, rest = _coefficients(saved)
    if c0.size != DEGREE or len(rest) != _HEADER.size + 1 + SEED_BYTES or rest[_HEADER.size] != _SEED_TYPE:
        raise CipherError("SEAL wrote a ciphertext in another form than that of version 4")
    return c0, np.frombuffer(rest[-SEED_BYTES:], np.uint8)


def _coefficients(saved: bytes) -> tuple[Words, bytes]:
    """All coefficients of a saved ciphertext, and the bytes behind them."""
    data = zstandard.ZstdDecompressor().decompressobj().decompress(saved[_HEADER.size :])
    start = _FIELDS.size + _HEADER.size + 8
    (count,) = struct.unpack_from("<Q", data, start - 8)
    return np.frombuffer(data, "<u8", count, start), data[start + 8 * count :]


def _plain(slots: NDArray[np.int64]) -> bytes:
    """A plaintext polynomial with these coefficients, serialised."""
    values = struct.pack("<Q", DEGREE) + slots.astype("<u8").tobytes()
    data = _PLAIN_FIELDS.pack(DEGREE, 1.0) + _header(len(values)) + values
    return _header(len(data)) + data


def _plain_coefficients(saved: bytes) -> NDArray[np.int64]:
    """The coefficients of a saved plaintext; SEAL leaves zeros at the end out."""
    data = zstandard.ZstdDecompressor().decompressobj().decompress(saved[_HEADER.size :])
    start = _PLAIN_FIELDS.size + _HEADER.size + 8
    (count,) = struct.unpack_from("<Q", data, start - 8)
    return np.frombuffer(data, "<i8", count, start)


def _for_context(secret: bytes, context: Any) -> bytes:
    """A serialised secret key with the parameters' digest of another t: its polynomial is the same for all."""
    data = zstandard.ZstdDecompressor().decompressobj().decompress(secret[_HEADER.size :])
    own = struct.pack("<4Q", *context.key_parms_id())
    return _header(len(data)) + own + data[len(own) :]


def _polynomial(values: NDArray[np.integer]) -> memoryview:
    """Coefficients in SEAL's file form; too few would leave those of the former polynomial in place."""
    if values.shape != (DEGREE,):
        raise CipherError(f"a polynomial of shape {values.shape}")
    return np.ascontiguousarray(values, values.dtype.newbyteorder("<")).data.cast("B")


def _header(size: int) -> bytes:
    return _HEADER.pack(_MAGIC, _HEADER.size, *_VERSION, 0, 0, _HEADER.size + size)
