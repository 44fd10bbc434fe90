"""Random numbers: uniform ones of a seed, and discrete Gaussian ones for secrets and errors.

Uniform numbers come from AES-256 in counter mode, without bias: words of just enough bits, and another one in place of
each that is too large.

Gaussian ones have D(x) = exp(-x^2 / (2 sigma^2)) / sum over all integers, by comparison with a table of cumulative
probabilities of 63 bits: each number takes one random word and is compared with every entry, so that neither the time
nor the memory that is touched depends on it. The table ends where a number is larger with a probability below 2^-63.

Its probabilities differ from D's by 2^-63 at most. For N numbers the Renyi divergence of order 2 from exact ones is
below 1 + N * 2^-60 (the tail's entries, of probability 2^-62, weigh most): below 1 + 2^-35 for 24 million numbers.
"""

import secrets
from decimal import Decimal, localcontext
from functools import cache

import numpy as np
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from numpy.typing import NDArray

SEED_BYTES = 32
_OTHER_STREAM = b"\x80" + bytes(15)  # start of the counter for replacements; the main stream never comes so far
SIGMA = Decimal("4.6")
"""Standard deviation of secrets and errors. Above the 3.19 of the homomorphic encryption standard (2018), because the
sum of the secrets and of the errors is known in the end: of two honest clients each keeps sigma / sqrt(2) = 3.25
(Hint-LWE: Kim, Lee, Seo and Song, Crypto 2023)."""
_BITS = 63  # of a probability; the last bit of a word is the sign
_AT_A_TIME = 2**16  # numbers: more at once are cheaper, up to what the processor's cache holds


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


@cache
def thresholds(sigma: Decimal = SIGMA) -> tuple[int, ...]:
    """2^63 P(|x| < k) for k = 1, 2, ..., rounded down, as long as it is below 2^63 - 1."""
    with localcontext() as context:
        context.prec = 60
        scale = -1 / (2 * sigma * sigma)
        last = int(40 * sigma)  # the rest is below 10^-340
        masses = [(scale * k * k).exp() * (1 if k == 0 else 2) for k in range(last)]
        total, below, found = sum(masses), Decimal(0), []
        for mass in masses:
            below += mass
            found.append(int(below / total * 2**_BITS))
    return tuple(entry for entry in found if entry < 2**_BITS - 1)


LARGEST = len(thresholds())
"""No number is larger in size."""


class Gaussian:
    """Numbers with standard deviation SIGMA from a key stream of the operating system's seed."""

    def __init__(self) -> None:
        self._stream = KeyStream(fresh_seed())
        self._ready = np.empty(0, np.int8)

    def draw(self, *shape: int) -> NDArray[np.int8]:
        """The next numbers."""
        count = int(np.prod(shape))
        if self._ready.size < count:
            self._ready = np.concatenate([self._ready, self._make(max(count - self._ready.size, _AT_A_TIME))])
        found, self._ready = self._ready[:count], self._ready[count:]
        return found.reshape(shape)

    def _make(self, count: int) -> NDArray[np.int8]:
        words = self._stream.words(count, 8)
        signs = (words & np.uint64(1)).astype(np.int8)
        words >>= np.uint64(1)
        found = np.zeros(words.size, np.int8)
        reached = np.empty(words.size, np.bool_)
        for entry in thresholds():
            np.greater_equal(words, np.uint64(entry), out=reached)
            found += reached.view(np.int8)
        found ^= -signs  # of a sign of 1 the two's complement, together with the next line
        found += signs
        return found
