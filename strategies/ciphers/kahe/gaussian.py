"""Discrete Gaussian numbers for secrets and errors.

D(x) = exp(-x^2 / (2 sigma^2)) / sum over all integers, by comparison with a table of cumulative probabilities of 63
bits: each number takes one random word and is compared with every entry, so that neither the time nor the memory that
is touched depends on it. The table ends where a number is larger with a probability below 2^-63.

Its probabilities differ from D's by 2^-63 at most. For N numbers the Renyi divergence of order 2 from exact ones is
below 1 + N * 2^-60 (the tail's entries, of probability 2^-62, weigh most): below 1 + 2^-35 for 24 million numbers.
"""

from decimal import Decimal, localcontext
from functools import cache

import numpy as np
from numpy.typing import NDArray

from strategies.ciphers.kahe.uniform import KeyStream, fresh_seed

SIGMA = Decimal("4.6")
"""Standard deviation of secrets and errors. Above the 3.19 of the homomorphic encryption standard (2018), because the
sum of the secrets and of the errors is known in the end: of two honest clients each keeps sigma / sqrt(2) = 3.25
(Hint-LWE: Kim, Lee, Seo and Song, Crypto 2023)."""
_BITS = 63  # of a probability; the last bit of a word is the sign
_AT_A_TIME = 2**16  # numbers: more at once are cheaper, up to what the processor's cache holds


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
