"""Authentication of a sum of ciphertexts: a homomorphic tag over Z_q, checked before anything is opened.

tag_i = h(C_i) + pad_i (mod q), twice, with independent keys. h(C) = sum_j u_j sum_k v_k C_jk, of secret uniform vectors
u and v, is linear, so that the server adds tags as it adds ciphertexts; pad_i, a pseudo-random function of the client,
its coefficient and the shares that it dealt, hides h (Carter and Wegman, 1981; for sums Agrawal and Boneh, 2009).
Whoever lacks the key finds a tag for another sum, set or coefficient with a chance of (2 / q)^2 a try: of a difference
D of two sums that is not zero, v D = 0 has a chance of 1 / q, and otherwise u does the same. With q below 2^54 that is
2^-106. A modulus with small factors would be weak: q / 2 added to a coefficient would pass half the time.
"""

import hmac
import json
from typing import Any

import numpy as np
from numpy.typing import NDArray

from strategies.ciphers.cipher import CipherError
from strategies.ciphers.kahe.ring import DEGREE, Ring, Words
from strategies.ciphers.kahe.sampling import Uniform

Tag = tuple[int, int]
SECRET_BYTES = 32
_KEYS = 2
_KEY_LIMBS = {54: 14, 64: 19}  # bits; with a ring's own limb and 4,096 terms, sums stay below 2^53


class AlteredSumError(CipherError):
    """A sum that was altered: its tag does not fit, so that nothing of it was opened."""


class TagKey:
    """Key of the tags of one attempt.

    Args:
        secret: of the federation, 32 bytes.
        context: digest of everything that identifies the attempt.
    """

    def __init__(self, secret: bytes, context: bytes, ring: Ring) -> None:
        if len(secret) != SECRET_BYTES:
            raise CipherError(f"a tag secret of {len(secret)} bytes")
        self.ring = ring
        self._attempt = hmac.digest(secret, b"tags of an attempt\0" + context, "sha256")

    def hash(self, rows: int) -> "TagHash":
        """An empty hash for so many ciphertexts."""
        inner, outer = (hmac.digest(self._attempt, name, "sha256") for name in (b"inner", b"outer"))
        ring = self.ring
        return TagHash(
            ring,
            Uniform(inner, ring.modulus).draw(DEGREE, _KEYS).astype(np.uint64),
            Uniform(outer, ring.modulus).draw(rows, _KEYS).astype(np.uint64),
        )

    def pad(self, client: str, coefficient: float, dealt: str) -> Tag:
        """The pad of a client's tag. `dealt` identifies the shares that it dealt, fresh ones for each ciphertext."""
        about = json.dumps([client, float(coefficient).hex(), dealt]).encode()
        wide = hmac.digest(self._attempt, b"pad\0" + about, "sha512")  # 256 bits a number: no bias to speak of
        first, second = (int.from_bytes(half, "big") % self.ring.modulus for half in (wide[:32], wide[32:]))
        return first, second


class TagHash:
    """h of ciphertexts that come in blocks.

    Args:
        inner: v, (4096, 2), below q.
        outer: u, (ciphertexts, 2), below q.
    """

    def __init__(self, ring: Ring, inner: Words, outer: Words) -> None:
        self.ring = ring
        self._limbs = [(shift, _KEY_LIMBS[ring.bits]) for shift in range(0, ring.bits, _KEY_LIMBS[ring.bits])]
        self._inner = np.concatenate([_limb(inner, *limb) for limb in self._limbs], axis=1)  # (n, limbs * 2)
        self._outer = outer.astype(object)
        self._total = [0] * _KEYS

    def update(self, rows: slice, words: Words) -> None:
        """Take in the ciphertexts `rows`, in any order."""
        found: NDArray[Any] = np.zeros((len(words), _KEYS), object)
        for shift in range(0, self.ring.bits, self.ring.limb_bits):
            sums = _limb(words, shift, self.ring.limb_bits) @ self._inner
            products = sums.astype(np.int64).astype(object).reshape(len(words), -1, _KEYS)
            for index, (place, _) in enumerate(self._limbs):
                found += products[:, index] << (shift + place)
        for key in range(_KEYS):
            self._total[key] += int((found[:, key] % self.ring.modulus * self._outer[rows, key]).sum())

    @property
    def value(self) -> Tag:
        """h of everything so far."""
        first, second = (total % self.ring.modulus for total in self._total)
        return first, second


def add_tags(ring: Ring, *tags: Tag) -> Tag:
    """Their sum modulo q."""
    first, second = (sum(column) % ring.modulus for column in zip(*tags, strict=True))
    return first, second


def same_tag(one: Tag, other: Tag) -> bool:
    """Whether both are equal, in a time that does not depend on where they differ."""
    return hmac.compare_digest(*(b"".join(number.to_bytes(8, "big") for number in tag) for tag in (one, other)))


def written(tag: Tag) -> list[str]:
    """As it stands in a header."""
    return [f"{number:x}" for number in tag]


def read(found: object, ring: Ring) -> Tag:
    """The tag of a header. Raises CipherError for anything but two numbers below q."""
    try:
        if not isinstance(found, list):
            raise TypeError
        first, second = (int(text, 16) for text in found)
    except (TypeError, ValueError) as error:
        raise CipherError("the tag is not of two numbers") from error
    if not 0 <= min(first, second) <= max(first, second) < ring.modulus:
        raise CipherError("a number of the tag is not below q")
    return first, second


def _limb(words: Words, shift: int, bits: int) -> NDArray[np.float64]:
    limb = words >> np.uint64(shift)
    limb &= np.uint64(2**bits - 1)
    return limb.view(np.int64).astype(np.float64)
