"""Packed Shamir shares of a secret polynomial, with a proof that they belong together.

Several coefficients of the secret lie in one polynomial over F_p (Franklin and Yung, 1992), and each client has the
value at its own point: a share is a column of `width` numbers. Any `needed` shares give the secret, `hidden` of them
reveal nothing. Shares of several dealers are added number by number, and the sums are shares of the sum of the secrets.

A dealer could give shares that lie on no polynomial of the degree, so that the sum would open for some clients alone,
or for none. So it commits to each share by a hash, derives random factors from all of these hashes (Fiat and Shamir,
1986), and publishes the combination of its polynomials by the factors, plus a random polynomial of which each client
has a share as well. A client compares its own share with it. If shares of honest clients did not belong together, each
of the `_CHECKS` combinations would agree with a chance of 1 / p; the random polynomials hide everything else. The bound
is 2^-128, as a dealer may try many hashes.
"""

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from strategies.ciphers.cipher import CipherError
from strategies.ciphers.kahe.ring import DEGREE, Small
from strategies.ciphers.kahe.sampling import Uniform, fresh_seed

Numbers = NDArray[np.float64]
"""Elements of F_p: whole numbers, as floats for the sake of fast matrix products, which stay below 2^53."""

PRIME = 65_521  # 2^16 - 15: two bytes a number, and above any sum of secrets that is accepted
SALT_BYTES = 32
_CHECKS = 8
_LEAF_BYTES = 32


class BadSharesError(CipherError):
    """Shares that a dealer dealt wrongly; `dealer` is its name."""

    def __init__(self, dealer: str, fault: str) -> None:
        super().__init__(f"{dealer} dealt bad shares: {fault}")
        self.dealer = dealer


@dataclass(frozen=True)
class Threshold:
    """Numbers of clients that decide what can be opened.

    Args:
        cohort: clients that hold shares, n_c.
        colluding: clients in league with the server that are tolerated, f; None for floor((n_c - 1) / 3).

    Raises CipherError for fewer than two clients, or an f that cannot be met.
    """

    cohort: int
    colluding: int | None = None

    def __post_init__(self) -> None:
        if self.cohort < 2:
            raise CipherError(f"a cohort of {self.cohort}; the sum of one update is that update")
        if not 0 <= self.tolerated <= self.cohort - 2:
            raise CipherError(
                f"{self.tolerated} colluding clients of {self.cohort}: a sum must hold two honest clients"
            )

    @property
    def tolerated(self) -> int:
        """f."""
        return (self.cohort - 1) // 3 if self.colluding is None else self.colluding

    @property
    def needed(self) -> int:
        """T = floor((n_c + f) / 2) + 1: of two different sets at most one can get T answers, though f clients answer
        both. A sum of as many clients holds two besides those that collude, as n_c >= f + 2."""
        return (self.cohort + self.tolerated) // 2 + 1

    @property
    def packed(self) -> int:
        """Coefficients in one polynomial, a power of two. Half of what T leaves, so that more clients than f still
        learn nothing."""
        return int(2 ** math.floor(math.log2(max(1, (self.needed - self.tolerated) // 2))))

    @property
    def hidden(self) -> int:
        """Shares that reveal nothing."""
        return self.needed - self.packed

    @property
    def width(self) -> int:
        """Numbers of a share."""
        return DEGREE // self.packed

    @property
    def share_bytes(self) -> int:
        """Bytes of a share with its part of the random polynomials, and its salt."""
        return 2 * (self.width + _CHECKS) + SALT_BYTES

    @property
    def proof_bytes(self) -> int:
        return self.cohort * _LEAF_BYTES + 2 * _CHECKS * self.needed


class Dealt(NamedTuple):
    """Shares by client, as bytes, and the proof for all of them."""

    shares: list[bytes]
    proof: bytes


def deal(secret: Small, threshold: Threshold, context: bytes) -> Dealt:
    """Shares of a secret (n,) for the clients 0..n_c - 1.

    Args:
        context: names dealer and attempt; a proof is of one context.
    """
    random = Uniform(fresh_seed(), PRIME)
    packed = np.mod(secret, PRIME).astype(np.float64).reshape(threshold.packed, threshold.width)
    masks = random.draw(threshold.needed, _CHECKS).astype(np.float64)
    messages = np.concatenate([packed, random.draw(threshold.hidden, threshold.width)])  # (T, width)
    shares = _times(_generator(threshold), np.concatenate([messages, masks], axis=1))  # (n_c, width + checks)
    rows = [fresh_seed() + row.astype("<u2").tobytes() for row in shares]
    leaves = b"".join(hashlib.sha256(row).digest() for row in rows)
    combined = _reduced(messages @ _factors(leaves, threshold, context) + masks)
    return Dealt(rows, leaves + combined.astype("<u2").tobytes())


def checked_share(share: bytes, proof: bytes, index: int, threshold: Threshold, context: bytes, dealer: str) -> Numbers:
    """The numbers (width,) of client `index`'s share. Raises BadSharesError unless the proof fits."""
    if len(share) != threshold.share_bytes or len(proof) != threshold.proof_bytes:
        raise BadSharesError(dealer, f"{len(share)} bytes of a share with {len(proof)} of its proof")
    leaves, combined = np.split(np.frombuffer(proof, np.uint8), [threshold.cohort * _LEAF_BYTES])
    if leaves[index * _LEAF_BYTES :][:_LEAF_BYTES].tobytes() != hashlib.sha256(share).digest():
        raise BadSharesError(dealer, "a share is not the one that it committed to")
    numbers = np.frombuffer(share, "<u2", offset=SALT_BYTES).astype(np.float64)
    published = combined.view("<u2").astype(np.float64).reshape(threshold.needed, _CHECKS)
    if max(numbers.max(), published.max()) >= PRIME:
        raise BadSharesError(dealer, "a number is not below p")
    own, masks = numbers[: threshold.width], numbers[threshold.width :]
    expected = _times(_generator(threshold)[index : index + 1], published)[0]
    if (_reduced(own @ _factors(leaves.tobytes(), threshold, context) + masks) != expected).any():
        raise BadSharesError(dealer, "they lie on no polynomial of the degree")
    return own


def add_shares(shares: Sequence[Numbers]) -> bytes:
    """The sum (width,) of one client's shares of several dealers, two bytes a number."""
    return _reduced(np.sum(shares, axis=0)).astype("<u2").tobytes()


def opened(sums: Mapping[int, bytes], threshold: Threshold) -> Small:
    """The sum (n,) of the secrets, between -p / 2 and p / 2, from the share sums of `needed` clients by their index.

    Raises CipherError for another number of them, or for a sum of another form."""
    if len(sums) != threshold.needed:
        raise CipherError(f"{len(sums)} share sums where {threshold.needed} open the secret")
    if any(len(data) != 2 * threshold.width for data in sums.values()):
        raise CipherError("a share sum of another length")
    rows = np.array([np.frombuffer(data, "<u2") for data in sums.values()], np.float64)
    if rows.max() >= PRIME:
        raise CipherError("a number of a share sum is not below p")
    points = [_point(index) for index in sums]
    found = _times(_interpolation(points, _secret_points(threshold)), rows).ravel()
    return np.where(found > PRIME // 2, found - PRIME, found).astype(np.int64)


def lies_on(sums: Mapping[int, bytes], others: Mapping[int, bytes]) -> list[int]:
    """Clients of `others` whose share sums lie on the polynomials that the `needed` ones of `sums` make."""
    rows = np.array([np.frombuffer(data, "<u2") for data in sums.values()], np.float64)
    points = [_point(index) for index in sums]
    expected = _times(_interpolation(points, [_point(index) for index in others]), rows).astype("<u2")
    return [index for index, row in zip(others, expected, strict=True) if row.tobytes() == others[index]]


def _point(index: int) -> int:
    return index + 1


def _secret_points(threshold: Threshold) -> list[int]:
    """The secrets are the values at 0, -1, -2, ...: no client's point."""
    return [-index % PRIME for index in range(threshold.packed)]


@cache
def _generator(threshold: Threshold) -> Numbers:
    """(n_c, T): shares from the values at the secret points, and at as many further ones as make T values."""
    known = _secret_points(threshold)
    known += [PRIME - threshold.packed - index for index in range(threshold.hidden)]
    return _interpolation(known, [_point(index) for index in range(threshold.cohort)])


def _interpolation(known: Sequence[int], asked: Sequence[int]) -> Numbers:
    """(asked, known): values at the other points from those at the known ones (Lagrange); no point is both.

    With P(y) = prod_j (y - x_j), the factor of x at y is P(y) / (y - x) / prod_(j: x_j != x) (x - x_j)."""
    xs, ys = np.array(known, np.int64), np.array(asked, np.int64)
    inverse = _inverses()
    apart = (xs[:, None] - xs[None]) % PRIME
    np.fill_diagonal(apart, 1)
    gaps = (ys[:, None] - xs[None]) % PRIME
    at_own = inverse[_products(apart)]
    found = _products(gaps)[:, None] * inverse[gaps] % PRIME * at_own[None] % PRIME
    return found.astype(np.float64)


def _products(rows: NDArray[np.int64]) -> NDArray[np.int64]:
    """Products of the rows."""
    result = np.ones(len(rows), np.int64)
    for column in rows.T:
        result = result * column % PRIME
    return result


@cache
def _inverses() -> NDArray[np.int64]:
    """(p,): of every number but 0, by 1 / i = -(p // i) / (p mod i)."""
    found = [0, 1]
    for number in range(2, PRIME):
        found.append(-(PRIME // number) * found[PRIME % number] % PRIME)
    return np.array(found, np.int64)


def _factors(leaves: bytes, threshold: Threshold, context: bytes) -> Numbers:
    """(width, checks): the random factors of the combinations."""
    seed = hashlib.sha256(b"combination of shares\0" + hashlib.sha256(context).digest() + leaves).digest()
    return Uniform(seed, PRIME).draw(threshold.width, _CHECKS).astype(np.float64)


def _times(left: Numbers, right: Numbers) -> Numbers:
    """Matrix product modulo p; exact, as at most 4,096 products below 2^32 are added: below 2^44."""
    return _reduced(left @ right)


def _reduced(numbers: Numbers) -> Numbers:
    """Modulo p, by whole numbers: unlike that of floats, their remainder takes the same time for all."""
    return (numbers.astype(np.int64) % PRIME).astype(np.float64)
