"""The contract of a cipher: what a client does with its update, and what the server can do with the result.

The two halves are separate classes. The server's half adds and has no way to decrypt.
"""

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Vector = NDArray[np.float32]


class CipherError(ValueError):
    """A payload that cannot be used: other parameters, other length, truncated, or a value that is not finite."""


class ClientCipher(Protocol):
    """Held by clients."""

    key_id: str
    """Names the key without giving it away; "" where there is none."""

    def encrypt(self, vector: Vector, coefficient: float) -> bytes:
        """The payload of coefficient * vector. Raises CipherError if a value is not finite or too large."""

    def decrypt(self, payload: bytes, coefficient_sum: float) -> Vector:
        """The sum in `payload`, divided by the coefficients that arrived. Raises CipherError."""

    def seal(self, data: bytes) -> bytes:
        """`data` for another client; the server that passes it on cannot read more than the cipher grants it."""

    def open(self, sealed: bytes) -> bytes:
        """What `seal` was given. Raises CipherError if it was altered."""


class ServerSum(Protocol):
    """Held by the server: a running sum of payloads. Adding is exact, so that the order does not matter."""

    def add(self, payload: bytes) -> None:
        """Add one payload. Raises CipherError and leaves the sum as it was."""

    def payload(self) -> bytes:
        """The sum, in the form that `ClientCipher.decrypt` takes. Raises CipherError if nothing was added."""
