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
from strategies.ciphers.packing import Packing
from strategies.quantise import LEVELS, Blocks

Slots = NDArray[np.int64]
_MOST_BITS = 18  # finer digits, and the random fraction added to them, would not be exact in float32
DOES_NOT_OPEN = "the sum does not open: it is of another key, altered, or not of the clients it names"


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
