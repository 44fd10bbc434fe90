"""No encryption: float32 up, and a sum in fixed point, so that it does not depend on the order of arrival."""

import struct
import zlib
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from strategies.ciphers.binding import Binding
from strategies.ciphers.cipher import NO_SEEDS, Buffer, CipherError, Decrypted, Encrypted, State, Vector

_HEADER = struct.Struct("<4sQI")  # magic, number of values, CRC-32 of the values
_MAGIC = b"fvp1"
# Values are added as int64 multiples of 2^-36: integer addition is associative, float addition is not, and a resumed
# run must equal an uninterrupted one whatever the order of replies. The resolution, 1.5e-11, is far below float32's for
# network weights; with |value| <= 2^20 (BatchNorm variances included) the sum of 64 clients stays below 2^63.
_SCALE = 2.0**36
_LIMIT = 2.0**20
_BLOCK = 1 << 18


class PlainCipher:
    """Scales and packs; the server can read everything."""

    key_id = ""

    def __init__(self, size: int) -> None:
        self.size = size

    def initial_state(self, vector: Vector) -> State:  # noqa: ARG002 - needs none
        """Nothing."""
        return {}

    def encrypt(
        self,
        vector: Vector,
        coefficient: float,
        binding: Binding,  # noqa: ARG002 - nothing to bind: whoever can alter a payload can write one
        *,
        state: Mapping[str, Any],  # noqa: ARG002
        carried: State,  # noqa: ARG002
        seeds: Mapping[str, bytes] = NO_SEEDS,  # noqa: ARG002
    ) -> Encrypted:
        """Payload of 16 + 4 * size bytes."""
        weighted = np.multiply(vector, np.float32(coefficient), dtype=np.float32)
        _check(weighted)
        return Encrypted(_pack(weighted), {})

    def decrypt(
        self,
        payload: Buffer,
        coefficient_sum: float,
        binding: Binding,  # noqa: ARG002
        *,
        state: Mapping[str, Any],  # noqa: ARG002
    ) -> Decrypted:
        """The weighted mean (size,)."""
        if not coefficient_sum > 0:
            raise CipherError(f"sum of coefficients must be positive, got {coefficient_sum}")
        mean = np.divide(_unpack(payload, self.size), np.float32(coefficient_sum), dtype=np.float32)
        _check(mean)
        return Decrypted(mean, {})

    def seal(self, data: bytes, purpose: str) -> bytes:  # noqa: ARG002
        """`data` itself."""
        return data

    def open(self, sealed: Buffer, purpose: str) -> bytes:  # noqa: ARG002
        """`sealed` itself."""
        return bytes(sealed)


class PlainSum:
    """Running sum of plain payloads in fixed point; holds 8 bytes a value, whatever the number of clients."""

    def __init__(self, size: int) -> None:
        self.size = size
        self._sum: NDArray[np.int64] | None = None
        self._payload: bytes | None = None

    def add(self, payload: bytes, client: str) -> None:  # noqa: ARG002
        """Add one payload; nothing is added if any value is not finite or beyond 2^20."""
        if self._payload is not None:
            raise CipherError("the sum has been taken")
        vector = _unpack(payload, self.size)
        _check(vector)
        if self._sum is None:
            self._sum = np.zeros(self.size, np.int64)
        for start in range(0, self.size, _BLOCK):  # blocks keep the float64 intermediates small
            block = vector[start : start + _BLOCK].astype(np.float64)
            self._sum[start : start + _BLOCK] += np.rint(block * _SCALE).astype(np.int64)

    def payload(self) -> bytes:
        """The sum as float32. It closes the sum: nothing can be added afterwards."""
        if self._payload is None:
            if self._sum is None:
                raise CipherError("nothing was added")
            total = self._sum.view(np.float32)[: self.size]  # in place: block i is written where blocks <= i were read
            for start in range(0, self.size, _BLOCK):
                total[start : start + _BLOCK] = self._sum[start : start + _BLOCK] / _SCALE
            self._payload = _pack(total)
            self._sum = None
        return self._payload


def _pack(vector: Vector) -> bytes:
    values = np.ascontiguousarray(vector, "<f4").data.cast("B")
    return b"".join((_HEADER.pack(_MAGIC, vector.size, zlib.crc32(values)), values))


def _unpack(payload: Buffer, size: int) -> Vector:
    if len(payload) < _HEADER.size:
        raise CipherError(f"payload of {len(payload)} bytes is shorter than its header")
    magic, count, checksum = _HEADER.unpack_from(payload)
    if magic != _MAGIC:
        raise CipherError("not a plain payload")
    if count != size or len(payload) != _HEADER.size + 4 * size:
        raise CipherError(f"payload of {count} values in {len(payload)} bytes, expected {size} values")
    if zlib.crc32(memoryview(payload)[_HEADER.size :]) != checksum:
        raise CipherError("payload was altered on the way: checksum differs")
    return np.frombuffer(payload, "<f4", offset=_HEADER.size)


def _check(vector: Vector) -> None:
    for start in range(0, vector.size, _BLOCK):
        block = vector[start : start + _BLOCK]
        if not np.isfinite(block).all():
            raise CipherError(f"value {start + int(np.argmin(np.isfinite(block)))} is not finite")
        if np.abs(block).max() > _LIMIT:
            raise CipherError(f"value {start + int(np.argmax(np.abs(block)))} is beyond {_LIMIT:g}")
