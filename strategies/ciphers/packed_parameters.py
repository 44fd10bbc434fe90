"""Parameters of the cipher `packed_bfv`, derived and proven from the client bound and the required precision."""

from dataclasses import dataclass
from typing import Any

from strategies.ciphers.cipher import CipherError
from strategies.ciphers.limits import MAX_CLIENTS, MIN_CLIENTS
from strategies.ciphers.packing import Packing, noise_bound, plain_bits
from strategies.ciphers.seal_bfv import COEFFICIENT_BITS, DEGREE, Bfv, bfv
from strategies.ciphers.update_slots import SlotPlan

SCHEME = "packed_bfv"
_EXPAND_AT_SERVER = 8  # clients beyond which the server adds c1: expanding one client's costs a client 0.5 s (23.5 M)


@dataclass(frozen=True)
class PackedParameters:
    """Everything that follows from the number of values, the client bound and the required precision.

    Args:
        digits: of a quantised vector: one a value, and a second one a BatchNorm statistic.
        blocks: blocks of the vector.
        max_clients: bound on the clients of a round, 2 to 1,024.
        bits: required precision; 2^bits - 1 levels at least.

    Raises CipherError for a bound or a precision that no parameters exist for.
    """

    digits: int
    blocks: int
    max_clients: int
    bits: int

    def __post_init__(self) -> None:
        if not MIN_CLIENTS <= self.max_clients <= MAX_CLIENTS:
            raise CipherError(f"{self.max_clients} clients; {SCHEME} takes {MIN_CLIENTS} to {MAX_CLIENTS}")
        t, q = self.bfv.plain_modulus, self.bfv.modulus
        if not noise_bound(self.max_clients) < q / (2 * t):
            raise CipherError(f"no noise budget for {self.max_clients} clients with t = {t} and q = {q}")
        _ = self.plan  # raises for a precision that does not fit

    @property
    def bfv(self) -> Bfv:
        return bfv(plain_bits(self.max_clients, 2 ** COEFFICIENT_BITS[0] - 2**31))

    @property
    def plan(self) -> SlotPlan:
        """Places of digits and flags in the slots."""
        return SlotPlan(self.digits, self.blocks, self.max_clients, self.bits, self.bfv.plain_modulus)

    @property
    def values(self) -> Packing:
        """Packing of the digits of the update."""
        return self.plan.values

    @property
    def flags(self) -> Packing:
        """Packing of the flags of the blocks and of the count."""
        return self.plan.flags

    @property
    def num_flags(self) -> int:
        return self.plan.num_flags

    @property
    def ciphertexts(self) -> int:
        return -(-self.plan.count // DEGREE)

    @property
    def server_expands(self) -> bool:
        """Whether the server adds c1 as well."""
        return self.max_clients > _EXPAND_AT_SERVER

    def fields(self) -> dict[str, Any]:
        """As fields of an envelope."""
        names = ("digits", "blocks", "max_clients", "bits")
        return {"scheme": SCHEME, **{name: getattr(self, name) for name in names}}
