"""Gaussian noise from a cryptographic generator, for differential privacy.

Words come from AES-256 in counter mode under a key of the operating system for each call, so that no noise can be
derived from earlier or later noise. Uniform words become normal ones by Box and Muller (1958, Ann. Math. Stat. 29).
"""

import os
from collections.abc import Iterator

import numpy as np
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from numpy.typing import NDArray

Floats = NDArray[np.float64]

CHUNK = 1 << 17
"""Values at once: the float64 intermediates stay in the processor's cache."""
_WORDS_PER_PAIR = 3
_KEY_BYTES = 32


def normal_chunks(count: int) -> Iterator[tuple[slice, Floats]]:
    """`count` independent standard normal values, `CHUNK` at a time, each with its place in the whole.

    The radius is sampled from 128 bits: with the usual 53, values beyond 7.8 standard deviations would lie further
    apart than the grid of the rounded update, and reveal the value under the noise (Mironov, 2012, CCS, Sec. 4)."""
    stream = Cipher(algorithms.AES(os.urandom(_KEY_BYTES)), modes.CTR(bytes(16))).encryptor()
    for start in range(0, count, CHUNK):
        size = min(CHUNK, count - start)
        pairs = (size + 1) // 2
        raw = stream.update(bytes(8 * _WORDS_PER_PAIR * pairs))
        high, low, turn = np.frombuffer(raw, "<u8").reshape(_WORDS_PER_PAIR, pairs)
        uniform = np.ldexp(high.astype(np.float64), -64) + np.ldexp(low.astype(np.float64) + 0.5, -128)  # in (0, 1]
        radius = np.sqrt(-2.0 * np.log(uniform))
        angle = np.ldexp((turn >> np.uint64(11)).astype(np.float64), -53) * (2.0 * np.pi)
        yield slice(start, start + size), np.concatenate([radius * np.cos(angle), radius * np.sin(angle)])[:size]
