"""Steps common to encrypting ciphers: scaling of an update, and opening of a payload with its binding checked."""

from collections.abc import Collection, Mapping
from typing import Any

import numpy as np

from strategies.ciphers.binding import Binding, EnvelopeError, open_envelope
from strategies.ciphers.cipher import Buffer, CipherError, State, Vector

_OF_AN_ATTEMPT = ("cohort", "attempt", "nonce", "members")


def weighted_update(vector: Vector, coefficient: float, carried: State) -> Vector:
    """coefficient * vector plus the carry-over, (size,). Raises CipherError for a value that is not finite."""
    with np.errstate(over="ignore"):  # an infinite value is named below
        weighted: Vector = vector * np.float32(coefficient)
    if "residual" in carried:
        weighted += carried["residual"]
    if not np.isfinite(weighted).all():
        raise CipherError(f"value {int(np.argmin(np.isfinite(weighted)))} of the update is not finite")
    return weighted


def open_payload(payload: Buffer, expected: Mapping[str, Any]) -> tuple[dict[str, Any], memoryview]:
    """`open_envelope`, with a CipherError."""
    try:
        return open_envelope(payload, expected)
    except EnvelopeError as error:
        raise CipherError(str(error)) from error


def open_sum(
    payload: Buffer, coefficient_sum: float, binding: Binding, expected: Mapping[str, Any], max_clients: int
) -> tuple[dict[str, Any], tuple[str, ...], memoryview]:
    """All fields of a sum, the clients in it, and its body. Any client may open it, of whatever cohort.

    Raises CipherError for another sum than `binding` and `expected` name, or for an impossible number of clients or sum
    of coefficients."""
    if not 0 < coefficient_sum < np.inf:
        raise CipherError(f"sum of coefficients must be positive, got {coefficient_sum}")
    bound = {name: value for name, value in binding.fields().items() if name not in _OF_AN_ATTEMPT}
    fields, body = open_payload(payload, {**expected, **bound})
    clients = fields.get("clients")
    if not isinstance(clients, list) or not 0 < len(clients) <= max_clients:
        raise CipherError(f"a sum of the clients {clients!r}")
    if not all(isinstance(name, str) for name in clients) or len(set(clients)) != len(clients):
        raise CipherError(f"a sum of the clients {clients!r}, which are not names or not all different")
    return fields, tuple(clients), body


def require_new(client: str, present: Collection[str], max_clients: int) -> None:
    """Raise CipherError if `client` is in the sum already, or the sum is full."""
    if client in present:
        raise CipherError(f"{client} is in the sum already")
    if len(present) >= max_clients:
        raise CipherError(f"more clients than the bound of {max_clients}")
