"""Contract of a cipher: the client's half encrypts updates and opens sums, the server's half adds.

The halves are separate classes, and the server's has no way to decrypt.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from models.errors import FedVehicleReidError
from strategies.ciphers.binding import Binding

Vector = NDArray[np.float32]
Buffer = bytes | memoryview
State = dict[str, NDArray[Any]]
"""Arrays by name that a cipher needs again in the next round."""
NO_SEEDS: Mapping[str, bytes] = MappingProxyType({})


class CipherError(FedVehicleReidError, ValueError):
    """A payload that cannot be used: other key or parameters, other length, truncated, of another round, or a value
    that is not finite."""


class Encrypted(NamedTuple):
    """A payload, and the carry-over that the client keeps for its next one."""

    payload: bytes
    carried: State


class Decrypted(NamedTuple):
    """The weighted mean (size,), the state that all clients now share, and whose payloads are in the sum."""

    mean: Vector
    state: State
    clients: tuple[str, ...] = ()


class ClientCipher(Protocol):
    """Held by clients."""

    key_id: str
    """Identifies the key without revealing it; "" without a key."""

    def initial_state(self, vector: Vector) -> State:
        """State that all clients share before the first round, from the global model that all of them hold."""

    def encrypt(
        self,
        vector: Vector,
        coefficient: float,
        binding: Binding,
        *,
        state: Mapping[str, Any],
        carried: State,
        seeds: Mapping[str, bytes] = NO_SEEDS,
    ) -> Encrypted:
        """The payload of coefficient * vector. Raises CipherError if a value is not finite or too large.

        Args:
            binding: purpose of the payload; it is refused for any other.
            state: shared by all clients that hold the same global model.
            carried: the client's carry-over from its last payload, empty at first. It may be emptied: it is as large as
                the vector.
            seeds: shared with each client of the cohort, itself among them, by name; for ciphers with shares."""

    def decrypt(
        self, payload: Buffer, coefficient_sum: float, binding: Binding, *, state: Mapping[str, Any]
    ) -> Decrypted:
        """The sum in `payload`, divided by the coefficients that arrived. Raises CipherError.

        Args:
            binding: required purpose of the payload; its cohort is not compared, as any client may decrypt.
            state: shared by all clients when they encrypted."""

    def seal(self, data: bytes, purpose: str) -> bytes:
        """`data` for another client; the server that forwards it cannot read more than the cipher grants it."""

    def open(self, sealed: Buffer, purpose: str) -> bytes:
        """The data that `seal` was given for this purpose. Raises CipherError for altered data or another purpose."""


class ServerSum(Protocol):
    """Held by the server: a running sum of payloads. Adding is exact, so that the order does not matter."""

    def add(self, payload: bytes, client: str) -> None:
        """Add the payload of one client. Raises CipherError and leaves the sum as it was."""

    def payload(self) -> bytes:
        """The sum, in the form that `ClientCipher.decrypt` takes. Raises CipherError if nothing was added."""


@runtime_checkable
class SharedSum(ServerSum, Protocol):
    """A sum that opens only with the share sums that its clients send after it is complete."""

    @property
    def needed(self) -> int:
        """Clients that must send one."""

    def expect(self, client: str, coefficient: float) -> None:
        """Refuse a payload of this client with another coefficient: the tag of the sum covers it."""

    def question(self, client: str) -> bytes:
        """What a client of the sum needs for its share sum."""

    def disclose(self, client: str, sealed: bytes) -> None:
        """Take in the sealed share sum of a client. Raises CipherError and leaves the sum as it was."""
