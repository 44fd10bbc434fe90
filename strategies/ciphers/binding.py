"""Purpose of a payload, and the envelope that states it.

A payload of another run, round, attempt, cohort, client, key or network is refused before it is added. The checksum
detects damage; it is no signature, since the server holds no key to verify one.
"""

import hashlib
import json
import re
import secrets
import struct
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from models.errors import FedVehicleReidError

_MAGIC = b"fvr2"
_LENGTH = struct.Struct("<4sI")
_CHECKSUM_BYTES = 32
_NONCE = re.compile(r"([0-9]{1,11})-[0-9a-f]{16}")


class EnvelopeError(FedVehicleReidError, ValueError):
    """No envelope, a damaged one, or one for another purpose; the message names the field."""


@dataclass(frozen=True)
class Binding:
    """One attempt at one round of one run, for one network.

    Args:
        layout: digest of the shared layout.
        cohort: names of the clients of the round, in any order.
        nonce: chosen by the server for each attempt (`new_nonce`): attempts count from 1 again after a resume.
        members: digest of the cohort's share keys (`strategies.share_keys`); "" for a cipher without shares.
    """

    run_key: str
    layout: str
    server_round: int
    attempt: int = 1
    cohort: tuple[str, ...] = ()
    nonce: str = ""
    members: str = ""

    def fields(self) -> dict[str, Any]:
        """As it stands in an envelope."""
        names = json.dumps(sorted(self.cohort)).encode()
        fields = {
            "run-key": self.run_key,
            "layout": self.layout,
            "round": self.server_round,
            "attempt": self.attempt,
            "nonce": self.nonce,
            "cohort": hashlib.sha256(names).hexdigest()[:16],
        }
        return fields | {"members": self.members} if self.members else fields


def new_nonce() -> str:
    """Nonce of an attempt that begins now: the second since 1970, and 64 random bits."""
    return f"{int(time.time())}-{secrets.token_hex(8)}"


def begun_at(nonce: str) -> int | None:
    """Second at which an attempt began, as its nonce says; None for a nonce without it, of an earlier version."""
    found = _NONCE.fullmatch(nonce)
    return int(found[1]) if found else None


def close_envelope(fields: Mapping[str, Any], *parts: bytes | memoryview) -> bytes:
    """Fields and body in one piece."""
    header = json.dumps(dict(fields)).encode()
    pieces = (_LENGTH.pack(_MAGIC, len(header)), header, *parts)
    checksum = hashlib.sha256()
    for piece in pieces:
        checksum.update(piece)
    return b"".join((*pieces, checksum.digest()))


def open_envelope(data: bytes | memoryview, expected: Mapping[str, Any]) -> tuple[dict[str, Any], memoryview]:
    """All fields and the body. Raises EnvelopeError if it is damaged or a field differs from `expected`."""
    view = memoryview(data)
    if len(view) < _LENGTH.size + _CHECKSUM_BYTES or _LENGTH.unpack_from(view)[0] != _MAGIC:
        raise EnvelopeError(f"{len(view)} bytes that are not an encrypted payload")
    end = len(view) - _CHECKSUM_BYTES
    if hashlib.sha256(view[:end]).digest() != view[end:]:
        raise EnvelopeError("the payload is truncated or altered: its checksum differs")
    start = _LENGTH.size + _LENGTH.unpack_from(view)[1]
    try:
        fields = json.loads(bytes(view[_LENGTH.size : start]))
    except (ValueError, RecursionError) as error:  # a header of nothing but brackets
        raise EnvelopeError(f"the payload's header cannot be read: {error}") from error
    if not isinstance(fields, dict):
        raise EnvelopeError("the payload's header is not an object")
    for name, value in expected.items():
        if fields.get(name) != value:
            raise EnvelopeError(f"{name} of the payload is {fields.get(name)!r} instead of {value!r}")
    return fields, view[start:end]
