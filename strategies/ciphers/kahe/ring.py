"""Arithmetic in Z_q[x] / (x^n + 1), n = 4096, q = 2^b - c prime with a small c.

The numbers are pseudo-Mersenne, so that 2^b = c (mod q) makes a reduction of a shift and a small product. They are
primes because the tags need a field. Products are of a uniform polynomial and a small one, by a complex transform of
half the length: x^(n/2) = i turns the ring into C[x] / (x^(n/2) - i), and the twist by exp(pi i k / n) that into a
cyclic convolution. The uniform factor is split into limbs, so small that every coefficient of a product is below 2^53
and its float64 error far below 1/2: rounding gives the exact integer.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from strategies.ciphers.cipher import CipherError

Words = NDArray[np.uint64]
Small = NDArray[np.int64]
Spectrum = NDArray[np.complex128]

DEGREE = 4096
_HALF = DEGREE // 2
_TWIST = np.exp(1j * np.pi * np.arange(_HALF) / DEGREE)
_UNTWIST = _TWIST.conj()


@dataclass(frozen=True)
class Ring:
    """Z_q[x] / (x^4096 + 1) for q = 2^bits - excess; polynomials are rows (R, 4096) of uint64 below q.

    Args:
        limb_bits: bits of a limb of the uniform factor.
        largest_small: bound on the coefficients of the other factor; whatever they are, the float64 error of a product
            then stays below 0.1 (`tests/strategies/test_kahe_ring.py`).
    """

    bits: int
    excess: int
    limb_bits: int
    largest_small: int

    @property
    def modulus(self) -> int:
        return 2**self.bits - self.excess

    @property
    def row_bytes(self) -> int:
        """Bytes of a packed polynomial."""
        return DEGREE * self.bits // 8

    def add(self, total: Words, addend: Words) -> None:
        """total += addend (mod q) in place; both below q."""
        total += addend
        if self.bits == 64:
            _carry(total, addend, self.excess)
        self._canonical(total)

    def spectrum(self, small: Small) -> Spectrum:
        """Transform (n / 2,) of a small polynomial (n,). Raises CipherError for another shape or too large values."""
        if small.shape != (DEGREE,) or np.abs(small).max() > self.largest_small:
            raise CipherError(f"not a polynomial of {DEGREE} coefficients up to {self.largest_small}")
        found: Spectrum = np.fft.fft(_fold(small[None]))[0]
        return found

    def product_sum(self, uniform: Words, small: Spectrum, addend: Words) -> Words:
        """uniform * small + addend (R, n), with `small` from `spectrum`."""
        limbs = self.limb_products(uniform, small)
        if self.bits == 64:
            return self._join_64(limbs, addend)
        return self._join_54(limbs, addend)

    def limb_products(self, uniform: Words, small: Spectrum) -> list[NDArray[np.float64]]:
        """Products (R, n) of each limb of `uniform` and the small factor, before they are rounded to integers."""
        mask, result = np.uint64(2**self.limb_bits - 1), []
        for shift in range(0, self.bits, self.limb_bits):
            limb = uniform >> np.uint64(shift)
            limb &= mask
            product = _fold(limb.view(np.int64))
            np.fft.fft(product, out=product)
            product *= small
            np.fft.ifft(product, out=product)
            product *= _UNTWIST
            found = np.empty(uniform.shape)
            found[:, :_HALF], found[:, _HALF:] = product.real, product.imag
            result.append(found)
        return result

    def _join_54(self, limbs: list[NDArray[np.float64]], addend: Words) -> Words:
        low, high = (_rounded(limb) for limb in limbs)  # both below 2^51 in size
        total = high & (2**27 - 1)
        total <<= 27
        high >>= 27
        high *= self.excess
        total += high
        total += low
        total += addend.view(np.int64)  # above -2^52 and below 2^56
        total += self.modulus
        top = total >> self.bits
        top *= self.excess
        total &= 2**self.bits - 1
        total += top
        words = total.view(np.uint64)
        self._canonical(words)
        return words

    def _join_64(self, limbs: list[NDArray[np.float64]], addend: Words) -> Words:
        low, middle, high = (_rounded(limb) for limb in limbs)  # of 22, 22 and 20 bits; below 2^47 in size
        total = (middle & (2**42 - 1)).view(np.uint64) << np.uint64(22)
        part = (high & (2**20 - 1)).view(np.uint64) << np.uint64(44)
        total += part
        _carry(total, part, self.excess)
        middle >>= 42
        high >>= 20
        middle += high
        middle *= self.excess
        middle += low
        part = middle.view(np.uint64)  # a negative number x as 2^64 + x, which is x + c (mod q)
        part -= (middle < 0) * np.uint64(self.excess)
        for term in (part, addend):
            total += term
            _carry(total, term, self.excess)
        self._canonical(total)
        return total

    def _canonical(self, words: Words) -> None:
        """Reduce words below 2 q to below q, in place: of w and w - q (mod 2^64) the smaller one."""
        np.minimum(words, words - np.uint64(self.modulus), out=words)

    def pack(self, words: Words, out: memoryview) -> None:
        """Write polynomials (R, n) into `out`, R * row_bytes long.

        Of 54 bits: the low 32 of each word, then the next 16, then the last 6, those of four quarters of the polynomial
        together in two bytes and one byte."""
        if self.bits == 64:
            np.frombuffer(out, "<u8")[:] = words.ravel()
            return
        low, middle, two, one = _planes(np.frombuffer(out, np.uint8).reshape(len(words), self.row_bytes))
        low[...] = words  # the rest of each word is cut off
        middle[...] = words >> np.uint64(32)
        tops = (words >> np.uint64(48)).astype(np.uint32).reshape(-1, 4, DEGREE // 4)
        joined = tops[:, 0] | tops[:, 1] << np.uint32(6) | tops[:, 2] << np.uint32(12) | tops[:, 3] << np.uint32(18)
        two[...] = joined
        one[...] = joined >> np.uint32(16)

    def unpack(self, data: memoryview, count: int) -> Words:
        """The `count` polynomials that `pack` wrote. Raises CipherError for another length or a word not below q."""
        if len(data) != count * self.row_bytes:
            raise CipherError(f"{len(data)} bytes for {count} polynomials")
        if self.bits == 64:
            words: Words = np.frombuffer(data, "<u8").astype(np.uint64).reshape(count, DEGREE)
        else:
            low, middle, two, one = _planes(np.frombuffer(data, np.uint8).reshape(count, self.row_bytes))
            joined = one.astype(np.uint32)
            joined <<= np.uint32(16)
            joined |= two
            high = np.empty((count, DEGREE), np.uint32)
            quarters = high.reshape(count, 4, DEGREE // 4)
            for index in range(4):
                np.right_shift(joined, np.uint32(6 * index), out=quarters[:, index])
            high &= np.uint32(63)
            high <<= np.uint32(16)
            high |= middle
            words = high.astype(np.uint64)
            words <<= np.uint64(32)
            words |= low
        if count and int(words.max()) >= self.modulus:
            raise CipherError("a coefficient is not below q")
        return words

    def require_canonical(self, data: memoryview, count: int) -> None:
        """Raise CipherError if a word of `count` packed polynomials is not below q, with hardly any unpacking."""
        rows = np.frombuffer(data, "<u8" if self.bits == 64 else np.uint8).reshape(count, -1)
        lowest = rows if self.bits == 64 else _planes(rows)[0]
        limit = (2 ** min(self.bits, 8 * lowest.itemsize)) - self.excess  # its low bits are above in any such word
        for row in np.flatnonzero(lowest.max(axis=1) >= limit):
            self.unpack(data[row * self.row_bytes : (row + 1) * self.row_bytes], 1)


RING_54 = Ring(54, 33, 27, 128)
RING_64 = Ring(64, 59, 22, 2048)


def blocks_of(count: int, rows: int) -> list[slice]:
    """Rows 0..count - 1 in pieces of at most `rows`."""
    return [slice(start, min(start + rows, count)) for start in range(0, count, rows)]


def _fold(rows: NDArray[np.int64]) -> Spectrum:
    folded = np.empty((len(rows), _HALF), np.complex128)
    folded.real, folded.imag = rows[:, :_HALF], rows[:, _HALF:]
    folded *= _TWIST
    return folded


def _rounded(values: NDArray[np.float64]) -> NDArray[np.int64]:
    return np.rint(values, out=values).astype(np.int64)


def _carry(total: Words, addend: Words, excess: int) -> None:
    """Add c where `total += addend` left the 64 bits: 2^64 = c (mod q). One of both was below q, so that this addition
    stays within them."""
    total += (total < addend) * np.uint64(excess)


def _planes(rows: NDArray[np.uint8]) -> tuple[NDArray[Any], ...]:
    """Views of packed polynomials: 32 bits and 16 bits a word, and 16 and 8 bits for the tops of four."""
    ends = (4 * DEGREE, 6 * DEGREE, 6 * DEGREE + DEGREE // 2)
    low, middle, two, one = np.split(rows, ends, axis=1)
    return low.view("<u4"), middle.view("<u2"), two.view("<u2"), one
