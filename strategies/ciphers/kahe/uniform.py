"""Uniform numbers from AES-256 in counter mode, without bias: words of just enough bits, and another one in place of
each that is too large."""

import secrets

import numpy as np
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from numpy.typing import NDArray

SEED_BYTES = 32
_OTHER_STREAM = b"\x80" + bytes(15)  # start of the counter for replacements; the main stream never comes so far


def fresh_seed() -> bytes:
    """A seed from the operating system's generator."""
    return secrets.token_bytes(SEED_BYTES)


class KeyStream:
    """Bytes of AES-256 in counter mode (NIST SP 800-38A) under a key of 32 bytes."""

    def __init__(self, seed: bytes, start: bytes = bytes(16)) -> None:
        self._encryptor = Cipher(algorithms.AES256(seed), modes.CTR(start)).encryptor()
        self._zeros = b""

    def words(self, count: int, width: int) -> NDArray[np.unsignedinteger]:
        """The next `count` little-endian words of `width` bytes."""
        size = count * width
        if len(self._zeros) < size:
            self._zeros = bytes(size)
        out = bytearray(size + 15)  # what `update_into` asks for
        self._encryptor.update_into(memoryview(self._zeros)[:size], out)
        return np.frombuffer(out, f"<u{width}", count)


class Uniform:
    """Numbers uniform in 0..modulus - 1 of a seed; how many are taken at a time does not change them.

    Args:
        modulus: 2 to 2^64.
    """

    def __init__(self, seed: bytes, modulus: int) -> None:
        self.modulus = modulus
        bits = (modulus - 1).bit_length()
        self._width = next(width for width in (1, 2, 4, 8) if 8 * width >= bits)
        self._mask = 2**bits - 1
        self._main, self._other = KeyStream(seed), KeyStream(seed, _OTHER_STREAM)

    def draw(self, *shape: int) -> NDArray[np.unsignedinteger]:
        """The next numbers, as unsigned words of the smallest width that holds them."""
        words = self._main.words(int(np.prod(shape)), self._width)
        words &= words.dtype.type(self._mask)
        if words.size and int(words.max()) >= self.modulus:
            for index in np.flatnonzero(words >= self.modulus):  # in the order of the numbers, so that blocks agree
                words[index] = self._replacement()
        return words.reshape(shape)

    def _replacement(self) -> int:
        while True:
            number = int(self._other.words(1, self._width)[0]) & self._mask
            if number < self.modulus:
                return number
