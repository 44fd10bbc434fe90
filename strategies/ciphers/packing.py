"""Several small numbers in one plaintext slot, so that slot-wise addition adds each of them.

Mixed radix: a slot holds v_0 + v_1 R + v_2 R^2 + ..., 0 <= v_j < R / n. Up to n such slots can be added without a carry
from one digit into the next, and the sum stays below the plaintext modulus t as long as R^k <= t.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Digits = NDArray[np.integer]

_CHUNK = 2**16  # slots that stay in the processor's cache while they are taken apart


@dataclass(frozen=True)
class Packing:
    """`per_slot` digits of radix `radix` in a slot below `plain_modulus`; each addend's digits lie in 0..`top`."""

    max_clients: int
    per_slot: int
    top: int
    plain_modulus: int

    @classmethod
    def for_values(cls, max_clients: int, bits: int, plain_modulus: int) -> "Packing":
        """As many digits a slot as leave at least 2^bits - 1 levels, and then as many levels as fit.

        The number of levels is odd, so that zero is one of them. Raises ValueError if not even one digit fits."""
        for per_slot in range(8, 0, -1):
            half = (_root(plain_modulus, per_slot) - 1) // (2 * max_clients)
            if 2 * half + 1 >= 2**bits - 1:
                return cls(max_clients, per_slot, 2 * half, plain_modulus)
        raise ValueError(f"{bits} bits for {max_clients} clients do not fit into a slot below {plain_modulus}")

    @classmethod
    def for_flags(cls, max_clients: int, plain_modulus: int) -> "Packing":
        """For digits 0 and 1."""
        radix, per_slot = max_clients + 1, 1
        while radix ** (per_slot + 1) <= plain_modulus:
            per_slot += 1
        return cls(max_clients, per_slot, 1, plain_modulus)

    @property
    def radix(self) -> int:
        """One more than the largest sum of a digit."""
        return self.max_clients * self.top + 1

    def slots(self, size: int) -> int:
        """Slots that `size` numbers need."""
        return -(-size // self.per_slot)

    def pack(self, digits: Digits, slots: Ints | None = None) -> Ints:
        """Digits (size,) in 0..top to slots; digit i is number i // S of slot i % S, S the number of slots.

        Args:
            slots: (S,), memory for them, with zeros. None for new memory."""
        count = self.slots(digits.size)
        packed = np.zeros(count, np.int64) if slots is None else slots
        for start in reversed(range(0, self.per_slot * count, max(count, 1))):
            row = digits[start : start + count]
            packed *= self.radix
            packed[: row.size] += row
        return packed

    def unpack(self, slots: Ints, size: int) -> Digits:
        """Sums (size,) of the digits whose packed slots were added; slots in 0..plain_modulus - 1.

        They are of a small type that holds the largest sum. Raises ValueError for slots that hold more than that."""
        kind = np.uint16 if self.radix <= 2**16 else np.int32 if self.radix <= 2**31 else np.int64
        rows = np.empty((self.per_slot, slots.size), kind)
        for start in range(0, slots.size, _CHUNK):
            chunk = slice(start, start + _CHUNK)
            rest = slots[chunk]
            for row in rows[:-1]:
                left = rest // self.radix  # twice as fast as np.divmod
                row[chunk] = rest - left * self.radix
                rest = left
            if rest.max() >= self.radix:
                raise ValueError(f"digits beyond {self.radix - 1}")
            rows[-1, chunk] = rest
        return rows.ravel()[:size]


def _root(number: int, degree: int) -> int:
    """Largest integer whose `degree`-th power is at most `number`."""
    root = round(number ** (1 / degree))
    while root**degree > number:
        root -= 1
    while (root + 1) ** degree <= number:
        root += 1
    return root
