"""Refusal of transparent CKKS ciphertexts, which open to the same under any key: their author chose the content without
one.

A ciphertext (c0, c1) opens to c0 + c1 s for a secret s. In an honest one c1 is uniform; with c1 = 0, or with c1 so
small that c1 s is noise, c0 alone decides. A term added to an honest c1 is not detected; that would take an
authentication tag (docs/threat-model.md).
"""

import math
from typing import Any

import numpy as np
import tenseal as ts
from numpy.typing import NDArray

from strategies.ciphers.cipher import CipherError

_CHANCE_DIGITS = 12.0  # an honest sum is refused with a chance below 1e-12


class OtherKey:
    """An unrelated key for CKKS ciphertexts: an honest one opens to noise under it.

    Args:
        degree: of the ring.
        primes: bits of the moduli, the key-switching prime included.
        scale: of the ciphertexts.
    """

    def __init__(self, degree: int, primes: tuple[int, ...], scale: float) -> None:
        context = ts.context(
            ts.SCHEME_TYPE.CKKS, degree, coeff_mod_bit_sizes=list(primes), encryption_type=ts.ENCRYPTION_TYPE.SYMMETRIC
        )
        self._key = context.secret_key()
        # Slots are sums of `degree` coefficients, uniform below q / 2, times cosines.
        self._deviation = 2.0 ** sum(primes[:-1]) / scale * math.sqrt(degree / 24)

    def require_noise(self, vector: Any, found: NDArray[np.float64], index: int) -> None:
        """Raise CipherError if the vector opens to nearly the values `found` (n,), which its own key gave."""
        difference = np.asarray(vector.decrypt(self._key)) - found
        # Chernoff's bound: the mean of n squared normals is below x with a chance below (x exp(1 - x))^(n / 2).
        least = 10.0 ** (-2 * _CHANCE_DIGITS / found.size) / math.e
        if np.mean((difference / self._deviation) ** 2) < least:
            raise CipherError(f"ciphertext {index} opens under any key")
