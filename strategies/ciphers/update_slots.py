"""Plaintext slots of an encrypted update.

In the slots: the digits of the update in block order, second digits of its BatchNorm statistics
(`strategies.quantise`), then for each block the level of its largest value, then a one for each client, so that a sum
cannot claim a wrong number of addends.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from strategies.ciphers.binding import Binding
from strategies.ciphers.cipher import CipherError, State, Vector
from strategies.quantise import LEVELS, Blocks

Slots = NDArray[np.int64]
Digits = NDArray[np.integer]
_MOST_BITS = 18  # finer digits, and the random fraction added to them, would not be exact in float32
DOES_NOT_OPEN = "the sum does not open: it is of another key, altered, or not of the clients it names"

_CHUNK = 2**16  # slots that stay in the processor's cache while they are taken apart


@dataclass(frozen=True)
class Packing:
    """Several small numbers in one slot, so that slot-wise addition adds each of them: `per_slot` digits of radix
    `radix` in a slot below `plain_modulus`; each addend's digits lie in 0..`top`.

    A slot holds v_0 + v_1 R + v_2 R^2 + ..., 0 <= v_j < R / n. Up to n such slots can be added without a carry from one
    digit into the next, and the sum stays below the plaintext modulus t as long as R^k <= t.
    """

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

    def pack(self, digits: Digits, slots: Slots | None = None) -> Slots:
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

    def unpack(self, slots: Slots, size: int) -> Digits:
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


@dataclass(frozen=True)
class SlotPlan:
    """Places of digits and flags in the slots of one update.

    Args:
        digits: of a quantised vector: one a value, and a second one a BatchNorm statistic.
        blocks: blocks of the vector.
        max_clients: bound on the clients of a round.
        bits: required precision; 2^bits - 1 levels at least.
        plain_modulus: t; the sum of a slot stays below it.

    Raises CipherError for a precision that does not fit.
    """

    digits: int
    blocks: int
    max_clients: int
    bits: int
    plain_modulus: int

    def __post_init__(self) -> None:
        if self.bits > _MOST_BITS:
            raise CipherError(f"{self.bits} bits; float32 updates are rounded to {_MOST_BITS} bits at most")
        try:
            packing = self.values
        except ValueError as error:
            raise CipherError(str(error)) from error
        if packing.radix**packing.per_slot > self.plain_modulus:
            raise CipherError(f"{packing} overflows a slot below {self.plain_modulus}")

    @property
    def values(self) -> Packing:
        """Packing of the digits of the update."""
        found = Packing.for_values(self.max_clients, self.bits, self.plain_modulus)
        return replace(found, top=min(found.top, 2 ** (_MOST_BITS + 1) - 2))

    @property
    def flags(self) -> Packing:
        """Packing of the flags of the blocks and of the count."""
        return Packing.for_flags(self.max_clients, self.plain_modulus)

    @property
    def num_flags(self) -> int:
        return self.blocks * LEVELS + 1

    @property
    def used(self) -> int:
        """Slots with digits."""
        return self.values.slots(self.digits)

    @property
    def count(self) -> int:
        """Slots with digits or flags."""
        return self.used + self.flags.slots(self.num_flags)


class Restored(NamedTuple):
    """The sum of weighted updates (size,), and the state of the next round."""

    total: Vector
    state: State


class UpdateSlots:
    """Writes an update into slots, and reads the sum of updates from the sums of slots."""

    def __init__(self, blocks: Blocks, plan: SlotPlan) -> None:
        self.blocks = blocks
        self.plan = plan

    def write(
        self,
        weighted: Vector,
        binding: Binding,
        client: str,
        state: Mapping[str, Any],
        size: int,
        residual: Vector | None = None,
    ) -> tuple[Slots, Vector]:
        """Slots (size,) in 0..t - 1, and the rounding residue (size of the vector,). A repeated round rounds alike.

        Args:
            residual: memory for the residue; it may be `weighted` itself. None for new memory."""
        seed = hashlib.sha256(f"{binding.layout}/{binding.server_round}/{client}".encode()).digest()
        rng = np.random.default_rng(np.frombuffer(seed, np.uint32))
        found = self.blocks.quantise(weighted, state["exponents"], self.plan.values.top, rng, residual)
        flags = np.append(found.flags.ravel(), True).astype(np.int64)
        slots = np.zeros(size, np.int64)
        self.plan.values.pack(found.digits, slots[: self.plan.used])
        self.plan.flags.pack(flags, slots[self.plan.used : self.plan.count])
        return slots, found.residual

    def read(self, slots: Slots, clients: int, state: Mapping[str, Any]) -> Restored:
        """The sum of the updates of so many clients. Raises CipherError for slots that are no such sum."""
        plan, exponents = self.plan, state["exponents"]
        try:
            flags = plan.flags.unpack(slots[plan.used : plan.count], plan.num_flags)
            total = plan.values.unpack(slots[: plan.used], plan.digits)
        except ValueError as error:
            raise CipherError(DOES_NOT_OPEN) from error
        fits = flags.max() <= clients and total.max() <= clients * plan.values.top
        if flags[-1] != clients or not fits or slots[plan.count :].any():
            raise CipherError(DOES_NOT_OPEN)
        reached = flags[:-1].reshape(-1, LEVELS)
        restored = self.blocks.restore(total, clients, exponents, plan.values.top)
        return Restored(restored, {"exponents": self.blocks.next_exponents(reached, exponents)})


def _root(number: int, degree: int) -> int:
    """Largest integer whose `degree`-th power is at most `number`."""
    root = round(number ** (1 / degree))
    while root**degree > number:
        root -= 1
    while (root + 1) ** degree <= number:
        root += 1
    return root
