"""Cipher `packed_bfv`: the whole update, quantised, packed three values a slot, and encrypted with exact BFV sums.

A client's payload holds c0 of each ciphertext in 54 bits a coefficient, and 64 bytes of seed in place of c1: about
2.25 bytes a value. The server adds the c0 modulo q and collects the seeds; the clients expand them and add the c1. With
many clients the server adds the c1 too, so that the clients' work does not grow. The sum is exact: it equals the sum of
the quantised updates, whatever the order. The slots are those of `strategies.ciphers.update_slots`.
"""

import base64
import json
from collections.abc import Collection, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from strategies.ciphers.binding import Binding, close_envelope
from strategies.ciphers.cipher import NO_MASKS, Buffer, CipherError, Decrypted, Encrypted, State, Vector
from strategies.ciphers.keys import FederationKey
from strategies.ciphers.limits import MIN_CLIENTS
from strategies.ciphers.masks import MASK_SEED_BYTES, add_masks, disclosure_purpose, take_off
from strategies.ciphers.packed_parameters import SCHEME, PackedParameters
from strategies.ciphers.packing import plain_bits
from strategies.ciphers.payload import open_payload, open_sum, require_new, weighted_update
from strategies.ciphers.seal_bfv import (
    COEFFICIENT_BITS,
    DEGREE,
    POLYNOMIAL_BYTES,
    SEED_BYTES,
    BfvKey,
    add_modulo,
    new_bfv_secret,
    pack_words,
    unpack_polynomials,
    unpack_words,
)
from strategies.ciphers.transparent import require_secret_part
from strategies.ciphers.update_slots import UpdateSlots
from strategies.quantise import Blocks


def new_secret() -> bytes:
    """A secret for `FederationKey`; it fits every client bound."""
    return new_bfv_secret(plain_bits(MIN_CLIENTS, 2 ** COEFFICIENT_BITS[0] - 2**31))


class PackedBfvCipher:
    """Implements `ClientCipher`.

    Args:
        statistics: (size,) bool, the BatchNorm statistics of the vector.
        client: name of the client that encrypts.
    """

    def __init__(
        self, key: FederationKey, statistics: NDArray[np.bool_], *, client: str, max_clients: int, bits: int
    ) -> None:
        self.blocks = Blocks(statistics)
        self.parameters = PackedParameters(self.blocks.digits, self.blocks.count, max_clients, bits)
        self.key = key
        self.key_id = key.key_id
        self.client = client
        self._slots = UpdateSlots(self.blocks, self.parameters.plan)
        self._bfv = BfvKey(self.parameters.bfv, key.secret(SCHEME))

    def initial_state(self, vector: Vector) -> State:
        """The scale of each block."""
        return {"exponents": self.blocks.initial_exponents(vector)}

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
        """About 2.25 bytes a value."""
        weighted = weighted_update(vector, coefficient, carried)
        carried.clear()  # its memory is needed
        slots, residual = self.slots(weighted, binding, state)
        add_masks(slots, self.client, masks, self.parameters.bfv.plain_modulus)
        c0, seeds = self._bfv.encrypt(slots)
        fields = {
            **self.parameters.fields(),
            **binding.fields(),
            "key-id": self.key_id,
            "client": self.client,
            "masked": bool(masks),
        }
        return Encrypted(close_envelope(fields, pack_words(c0.ravel()), seeds.tobytes()), {"residual": residual})

    def slots(self, weighted: Vector, binding: Binding, state: Mapping[str, Any]) -> tuple[NDArray[np.int64], Vector]:
        """The plaintext slots (ciphertexts * DEGREE,) and the rounding residue (size,)."""
        size = self.parameters.ciphertexts * DEGREE
        return self._slots.write(weighted, binding, self.client, state, size)

    def decrypt(
        self, payload: Buffer, coefficient_sum: float, binding: Binding, *, state: Mapping[str, Any]
    ) -> Decrypted:
        """The weighted mean (size,), exact but for the rounding of each client."""
        parameters = self.parameters
        expected = {**parameters.fields(), "key-id": self.key_id}
        fields, clients, body = open_sum(payload, coefficient_sum, binding, expected, parameters.max_clients)
        disclosed = self._disclosed(fields, clients)
        slots = self._slots_of(body, len(clients))
        take_off(slots, disclosed, parameters.bfv.plain_modulus)
        mean, after = self._slots.read(slots, len(clients), state)
        mean /= np.float32(coefficient_sum)
        return Decrypted(mean, after, clients)

    def _disclosed(self, fields: Mapping[str, Any], clients: Collection[str]) -> list[tuple[str, str, bytes]]:
        """(client in the sum, client that is not, their seed) for each mask that is left in the sum."""
        found: list[tuple[str, str, bytes]] = []
        try:
            for client, sealed in fields.get("disclosed", {}).items():
                seeds = json.loads(self.key.open(base64.b64decode(sealed), disclosure_purpose(fields, client)))
                found += [(client, missing, bytes.fromhex(seed)) for missing, seed in seeds.items()]
        except (AttributeError, TypeError, ValueError) as error:
            raise CipherError(f"the seeds disclosed with the sum cannot be read: {error}") from error
        if any(len(seed) != MASK_SEED_BYTES for _, _, seed in found):
            raise CipherError("a seed disclosed with the sum has another length")
        if any(client not in clients or missing in clients for client, missing, _ in found):
            raise CipherError("a seed disclosed with the sum is not of a client in it and one that is not")
        return found

    def _slots_of(self, body: memoryview, clients: int) -> NDArray[np.int64]:
        count = self.parameters.ciphertexts
        whole = self.parameters.server_expands
        split = count * POLYNOMIAL_BYTES
        if len(body) != (2 * split if whole else split + clients * count * SEED_BYTES):
            raise CipherError(f"{len(body)} bytes for a sum of {count} ciphertexts")
        c0 = unpack_words(body[:split], count * DEGREE).reshape(count, DEGREE)
        if whole:
            c1 = unpack_words(body[split:], count * DEGREE).reshape(count, DEGREE)
            require_secret_part(c1, self.parameters.bfv.modulus, self.parameters.bfv.plain_modulus)
            return self._bfv.decrypt_whole(c0, c1)
        seeds = np.frombuffer(body[split:], np.uint8).reshape(clients, count, SEED_BYTES)
        if len(np.unique(seeds.reshape(-1, SEED_BYTES), axis=0)) != clients * count:
            raise CipherError("a ciphertext stands in the sum twice")
        return self._bfv.decrypt(c0, list(seeds))

    def seal(self, data: bytes, purpose: str) -> bytes:
        """AES-GCM under the federation key."""
        return self.key.seal(data, purpose)

    def open(self, sealed: Buffer, purpose: str) -> bytes:
        """See `seal`."""
        return self.key.open(sealed, purpose)


class PackedBfvSum:
    """Implements `ServerSum`. Holds c0 of the sum, 2.7 bytes a value, and with many clients c1; no key."""

    def __init__(self, parameters: PackedParameters, binding: Binding, key_id: str, *, masked: bool = False) -> None:
        self.parameters = parameters
        self.masked = masked
        self.binding = binding
        self.key_id = key_id
        self._c0: NDArray[np.uint64] | None = None
        self._c1: NDArray[np.uint64] | None = None
        self._seeds: dict[str, bytes] = {}
        self._disclosed: dict[str, str] = {}

    def add(self, payload: bytes, client: str) -> None:
        """Add one payload; refused whole if anything about it is wrong."""
        parameters = self.parameters
        expected = {
            **parameters.fields(),
            **self.binding.fields(),
            "key-id": self.key_id,
            "client": client,
            "masked": self.masked,
        }
        _, body = open_payload(payload, expected)
        require_new(client, self._seeds, parameters.max_clients)
        count = parameters.ciphertexts
        if len(body) != count * (POLYNOMIAL_BYTES + SEED_BYTES):
            raise CipherError(f"{len(body)} bytes for {count} ciphertexts")
        packed = body[: count * POLYNOMIAL_BYTES]
        if any(int(words.max()) >= parameters.bfv.modulus for _, words in unpack_polynomials(packed, count)):
            raise CipherError("a coefficient is not below q")
        seeds = np.frombuffer(body[count * POLYNOMIAL_BYTES :], np.uint8).reshape(count, SEED_BYTES)
        if self._c0 is None:
            self._c0 = np.zeros((count, DEGREE), np.uint64)
        for rows, words in unpack_polynomials(packed, count):
            add_modulo(self._c0[rows], words, parameters.bfv.modulus)
        if parameters.server_expands:
            self._c1 = np.zeros_like(self._c0) if self._c1 is None else self._c1
            for total, seed in zip(self._c1, seeds, strict=True):  # one ciphertext at a time: c1 is as large as c0
                add_modulo(total, parameters.bfv.expand(seed.tobytes()), parameters.bfv.modulus)
        self._seeds[client] = b"" if parameters.server_expands else seeds.tobytes()

    def disclose(self, client: str, sealed: bytes) -> None:
        """Keep the sealed seeds of a client in the sum, for the clients to open."""
        if not self.masked or client not in self._seeds:
            raise CipherError(f"seeds from {client}, which is not in a masked sum")
        self._disclosed[client] = base64.b64encode(sealed).decode()

    def payload(self) -> bytes:
        """The sum, with c1 or with the seeds of its addends in the order of their names."""
        if self._c0 is None:
            raise CipherError("nothing was added")
        clients = sorted(self._seeds)
        missing = set(self.binding.cohort) - set(clients)
        if self.masked and missing and set(self._disclosed) != set(clients):
            raise CipherError(f"masks with {sorted(missing)} are left in the sum")
        fields = {
            **self.parameters.fields(),
            **self.binding.fields(),
            "key-id": self.key_id,
            "clients": clients,
            "disclosed": self._disclosed,
        }
        c1 = b"".join(self._seeds[client] for client in clients) if self._c1 is None else pack_words(self._c1.ravel())
        return close_envelope(fields, pack_words(self._c0.ravel()), c1)
