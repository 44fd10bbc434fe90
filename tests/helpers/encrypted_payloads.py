"""Payloads for tests of the ciphers: a federation key, and payloads that were tampered with."""

import hashlib
import struct
from functools import cache

from strategies.ciphers import ckks
from strategies.ciphers.binding import close_envelope, open_envelope
from strategies.ciphers.kahe import client_half as kahe
from strategies.ciphers.kahe.parameters import SCHEME as KAHE
from strategies.ciphers.keys import FederationKey, new_key


@cache
def federation_key(number: int = 0) -> FederationKey:  # noqa: ARG001 - the cache tells them apart
    """A key with a secret of each cipher, generated once; another `number`, another key."""
    return new_key({KAHE: kahe.new_secret, ckks.SCHEME: ckks.new_secret})


def flipped(data: bytes, place: int, bit: int = 0) -> bytes:
    """One bit of one byte changed."""
    changed = bytearray(data)
    changed[place] ^= 1 << bit
    return bytes(changed)


def fields_of(payload: bytes) -> dict:
    """What stands in a payload's header."""
    return open_envelope(payload, {})[0]


def relabelled(payload: bytes, **fields) -> bytes:
    """The same body under other fields, with a checksum that fits: what a liar sends, not what a bad line delivers."""
    found, body = open_envelope(payload, {})
    assert set(fields) <= set(found), "a field that payloads do not have would prove nothing"
    return close_envelope({**found, **fields}, body)


def with_body(payload: bytes, change) -> bytes:
    """The same fields over `change(body)`, with a checksum that fits."""
    found, body = open_envelope(payload, {})
    return close_envelope(found, change(bytes(body)))


def enveloped(header: bytes, body: bytes = b"", length: int | None = None) -> bytes:
    """An envelope around any bytes as a header, with a checksum that fits; `length` is what it claims of the header."""
    data = struct.pack("<4sI", b"fvr2", len(header) if length is None else length) + header + body
    return data + hashlib.sha256(data).digest()
