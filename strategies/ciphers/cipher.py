"""The contract of a cipher: what a client does with its update, and what the server can do with the result.

The two halves are separate classes. The server's half adds and has no way to decrypt.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from models.errors import FedVehicleReidError
from strategies.ciphers.binding import Binding

Vector = NDArray[np.float32]
Buffer = bytes | memoryview
State = dict[str, NDArray[Any]]
"""Arrays by name that a cipher wants to find again in the next round."""
NO_MASKS: Mapping[str, bytes] = MappingProxyType({})


class CipherError(FedVehicleReidError, ValueError):
    """A payload that cannot be used: other key or parameters, other length, truncated, of another round, or a value
    that is not finite."""


class Encrypted(NamedTuple):
    """A payload, and what the client keeps to itself until its next one."""

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
    """Names the key without giving it away; "" where there is none."""

    def initial_state(self, vector: Vector) -> State:
        """What all clients share before the first round, from the global model that all of them hold."""

    def encrypt(
        self,
        vector: Vector,
        coefficient: float,
        binding: Binding,
        *,
        state: Mapping[str, Any],
        carried: State,
        masks: Mapping[str, bytes] = NO_MASKS,
    ) -> Encrypted:
        """The payload of coefficient * vector. Raises CipherError if a value is not finite or too large.

        Args:
            binding: what the payload is for; it is refused elsewhere.
            state: shared by all clients that hold the same global model.
            carried: what this client kept at its last payload, empty at first. It may be emptied: it is as large as
                the vector.
            masks: seeds shared with the other clients of the cohort, by name; see `strategies.ciphers.masks`."""

    def decrypt(
        self, payload: Buffer, coefficient_sum: float, binding: Binding, *, state: Mapping[str, Any]
    ) -> Decrypted:
        """The sum in `payload`, divided by the coefficients that arrived. Raises CipherError.

        Args:
            binding: what the payload must be for; its cohort is not compared, as any client may decrypt.
            state: shared by all clients when they encrypted."""

    def seal(self, data: bytes, purpose: str) -> bytes:
        """`data` for another client; the server that passes it on cannot read more than the cipher grants it."""

    def open(self, sealed: Buffer, purpose: str) -> bytes:
        """What `seal` was given for this purpose. Raises CipherError if it was altered, or meant for another one."""


class ServerSum(Protocol):
    """Held by the server: a running sum of payloads. Adding is exact, so that the order does not matter."""

    def add(self, payload: bytes, client: str) -> None:
        """Add the payload of one client. Raises CipherError and leaves the sum as it was."""

    def disclose(self, client: str, sealed: bytes) -> None:
        """Pass the seeds on that a client of the sum shares with clients that are not in it."""

    def payload(self) -> bytes:
        """The sum, in the form that `ClientCipher.decrypt` takes. Raises CipherError if nothing was added."""
