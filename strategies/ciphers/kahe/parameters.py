"""Parameters of the cipher `kahe`, derived and proven from the client bound and the required precision.

Security by the homomorphic encryption standard (2018, Table 1), n = 4096, with errors of width 3.19: 256 bits for log q
up to 58, 192 up to 75, 128 up to 109. Here log q is 54 up to 8 clients and 64 beyond, and the width, after the hint of
the opened sum, 3.25 and more (see `sampling.SIGMA`).
"""

import math
from dataclasses import dataclass
from typing import Any

from strategies.ciphers.cipher import CipherError
from strategies.ciphers.kahe.ring import DEGREE, RING_54, RING_64, Ring
from strategies.ciphers.kahe.sampling import SIGMA
from strategies.ciphers.kahe.sharing import Threshold
from strategies.ciphers.limits import MAX_CLIENTS, MIN_CLIENTS
from strategies.ciphers.update_slots import SlotPlan

SCHEME = "kahe"
_SMALL_BOUND = 8  # clients up to which q is below 2^54: 18 bits a value, 2.25 bytes at three values a coefficient
_TAIL = 8  # standard deviations; beyond them is one in 10^15


def sum_bound(clients: int) -> int:
    """Bound on each coefficient of the sum of so many secrets, or of so many errors."""
    return math.ceil(_TAIL * float(SIGMA) * math.sqrt(clients))


@dataclass(frozen=True)
class KaheParameters:
    """Everything that follows from the number of values, the client bound and the required precision.

    Args:
        digits: of a quantised vector: one a value, and a second one a BatchNorm statistic.
        blocks: blocks of the vector.
        max_clients: bound on the clients of a round, 2 to 1,024.
        bits: required precision; 2^bits - 1 levels at least.
        colluding: see `Threshold`.

    Raises CipherError for a bound or a precision that no parameters exist for.
    """

    digits: int
    blocks: int
    max_clients: int
    bits: int
    colluding: int | None = None

    def __post_init__(self) -> None:
        if not MIN_CLIENTS <= self.max_clients <= MAX_CLIENTS:
            raise CipherError(f"{self.max_clients} clients; {SCHEME} takes {MIN_CLIENTS} to {MAX_CLIENTS}")
        if self.digits < 1 or self.blocks < 1:
            raise CipherError(f"{self.digits} digits in {self.blocks} blocks; an update has some")
        _ = self.plan  # raises for a precision that does not fit

    @property
    def ring(self) -> Ring:
        return RING_54 if self.max_clients <= _SMALL_BOUND else RING_64

    @property
    def delta_bits(self) -> int:
        """Bits of Delta, a power of two above twice the noise of the sum of `max_clients` ciphertexts."""
        return (2 * sum_bound(self.max_clients)).bit_length()

    @property
    def plain_modulus(self) -> int:
        """t = floor(q / Delta). Sums of slots stay below it, so that Delta times them stays below q."""
        return self.ring.modulus >> self.delta_bits

    @property
    def plan(self) -> SlotPlan:
        """Places of digits and flags in the slots."""
        return SlotPlan(self.digits, self.blocks, self.max_clients, self.bits, self.plain_modulus)

    @property
    def rows(self) -> int:
        """Ciphertexts of an update."""
        return -(-self.plan.count // DEGREE)

    @property
    def body_bytes(self) -> int:
        """Bytes of the ciphertexts of an update, and of a sum."""
        return self.rows * self.ring.row_bytes

    def threshold(self, cohort: int) -> Threshold:
        """Numbers of clients that decide what is opened. Raises CipherError for a cohort that is too small or large."""
        if cohort > self.max_clients:
            raise CipherError(f"more clients than the bound of {self.max_clients}")
        return Threshold(cohort, self.colluding)

    def fields(self) -> dict[str, Any]:
        """As fields of an envelope."""
        names = ("digits", "blocks", "max_clients", "bits", "colluding")
        return {"scheme": SCHEME, **{name: getattr(self, name) for name in names}}
