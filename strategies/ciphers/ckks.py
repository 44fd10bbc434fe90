"""Cipher `ckks`: approximate sums with TenSEAL, as in the patented method, by its parameters or by well-known ones.

Values travel divided by their block's scale and by the client bound, so that a sum stays within -1..1: CKKS wraps
silently beyond its modulus. Scales follow `strategies.quantise`; what a scale cuts off is carried over on the node.

`key_holder` says who can decrypt. "client": the clients share a secret key, the server adds. "cloud": the server holds
the secret key and decrypts the sum, and only the sum; the clients hold the public key.
"""

import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import tenseal as ts
from numpy.typing import NDArray

from strategies.ciphers.binding import Binding, close_envelope
from strategies.ciphers.cipher import NO_SEEDS, Buffer, CipherError, Decrypted, Encrypted, State, Vector
from strategies.ciphers.keys import FederationKey
from strategies.ciphers.limits import MAX_CLIENTS, MIN_CLIENTS
from strategies.ciphers.payload import open_payload, open_sum, require_new, weighted_update
from strategies.ciphers.transparent import OtherKey
from strategies.quantise import LEVELS, Blocks

SCHEME = "ckks"
_SIZE = struct.Struct("<I")


class CkksPreset(NamedTuple):
    """Ring degree, bits of the primes, scale, and whether clients encrypt with the public key."""

    degree: int
    primes: tuple[int, ...]
    scale: float
    public: bool


PRESETS: dict[str, CkksPreset] = {
    "compact": CkksPreset(4096, (32, 32), 2.0**30, False),
    "flare": CkksPreset(8192, (60, 40, 40), 2.0**40, False),  # NVIDIA FLARE's default
    "tutorial": CkksPreset(8192, (60, 40, 40, 60), 2.0**40, True),  # TenSEAL's tutorial
}


@dataclass(frozen=True)
class Parameters:
    """Parameters that both sides share. Raises CipherError for a bound on the clients outside 2..1,024."""

    size: int
    blocks: int
    max_clients: int
    preset: str
    key_holder: str = "client"

    def __post_init__(self) -> None:
        if not MIN_CLIENTS <= self.max_clients <= MAX_CLIENTS:
            raise CipherError(f"{self.max_clients} clients; {SCHEME} takes {MIN_CLIENTS} to {MAX_CLIENTS}")

    @property
    def num_flags(self) -> int:
        return self.blocks * LEVELS + 1

    @property
    def slots(self) -> int:
        return PRESETS[self.preset].degree // 2

    @property
    def ciphertexts(self) -> int:
        return -(-(self.size + self.num_flags) // self.slots)

    def fields(self) -> dict[str, Any]:
        """As they stand in an envelope."""
        names = ("size", "blocks", "max_clients", "preset", "key_holder")
        return {"scheme": SCHEME, **{name: getattr(self, name) for name in names}}


def new_secret(preset: str = "compact", *, public: bool | None = None) -> bytes:
    """A TenSEAL context with its secret key, and with a public key if the preset or `public` asks for one."""
    chosen = PRESETS[preset]
    asymmetric = chosen.public if public is None else public
    kind = ts.ENCRYPTION_TYPE.ASYMMETRIC if asymmetric else ts.ENCRYPTION_TYPE.SYMMETRIC
    context = ts.context(
        ts.SCHEME_TYPE.CKKS, chosen.degree, coeff_mod_bit_sizes=list(chosen.primes), encryption_type=kind
    )
    return _serialised(context, secret=True)


def public_context(preset: str = "compact") -> bytes:
    """Parameters alone; the key that TenSEAL makes with every context is thrown away."""
    return without_secret(new_secret(preset, public=False))


def without_secret(context: bytes) -> bytes:
    """The public part of a context: parameters, and the public key if there is one."""
    return _serialised(ts.context_from(context), secret=False)


def _serialised(context: Any, *, secret: bool) -> bytes:
    return bytes(
        context.serialize(save_public_key=True, save_secret_key=secret, save_galois_keys=False, save_relin_keys=False)
    )


class CkksCipher:
    """Implements `ClientCipher`.

    Args:
        key: the federation key; of its context the secret is used if `key_holder` is "client".
        statistics: (size,) bool, the BatchNorm statistics of the vector.
        client: name of the client that encrypts.
    """

    def __init__(
        self,
        key: FederationKey,
        statistics: NDArray[np.bool_],
        *,
        client: str,
        max_clients: int,
        preset: str = "compact",
        key_holder: str = "client",
    ) -> None:
        self.blocks = Blocks(statistics)
        self.parameters = Parameters(statistics.size, self.blocks.count, max_clients, preset, key_holder)
        self.key = key
        self.key_id = key.key_id
        self.client = client
        self._context = _load_context(key.secret(SCHEME), preset)
        self._other_key = OtherKey(*PRESETS[preset][:3])
        if self._context.is_private() != (key_holder == "client"):
            raise CipherError("a client's key must hold the secret key if and only if the clients are the key holders")

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
        seeds: Mapping[str, bytes] = NO_SEEDS,  # noqa: ARG002 - for ciphers with shares
    ) -> Encrypted:
        """About 16.6 bytes a value with the preset "compact"."""
        weighted = weighted_update(vector, coefficient, carried)
        parameters, bound = self.parameters, self.parameters.max_clients
        values, flags, residual = self.blocks.clip(weighted, state["exponents"])
        joined = np.concatenate([values, flags.ravel(), [1.0]]) / bound
        scale = PRESETS[parameters.preset].scale
        parts = (
            ts.ckks_vector(self._context, joined[start : start + parameters.slots], scale=scale).serialize()
            for start in range(0, joined.size, parameters.slots)
        )
        fields = {**parameters.fields(), **binding.fields(), "key-id": self.key_id, "client": self.client}
        return Encrypted(close_envelope(fields, *_joined(parts)), {"residual": residual})

    def decrypt(
        self, payload: Buffer, coefficient_sum: float, binding: Binding, *, state: Mapping[str, Any]
    ) -> Decrypted:
        """The weighted mean (size,), good to about 1e-6 of a block's scale times the client bound with "compact"."""
        parameters = self.parameters
        expected = {**parameters.fields(), "key-id": self.key_id}
        _, clients, body = open_sum(payload, coefficient_sum, binding, expected, parameters.max_clients)
        if parameters.key_holder == "cloud":
            values = _plain_values(body, parameters)
        else:
            values = _decrypted(_vectors(self._context, body, parameters), parameters, self._other_key)
        values = values * parameters.max_clients
        flags = np.rint(values[parameters.size :]).astype(np.int64)
        if flags[-1] != len(clients) or flags.max() > len(clients) or flags.min() < 0:
            raise CipherError("the sum does not open: it is of another key, altered, or not of the clients it names")
        exponents = state["exponents"]
        mean = self.blocks.scale_up(values[: parameters.size], exponents) / np.float32(coefficient_sum)
        reached = flags[:-1].reshape(-1, LEVELS)
        return Decrypted(mean, {"exponents": self.blocks.next_exponents(reached, exponents)}, clients)

    def seal(self, data: bytes, purpose: str) -> bytes:
        """AES-GCM under the federation key."""
        return self.key.seal(data, purpose)

    def open(self, sealed: Buffer, purpose: str) -> bytes:
        """See `seal`."""
        return self.key.open(sealed, purpose)


class CkksSum:
    """Implements `ServerSum`.

    Args:
        context: a TenSEAL context without secret key; with `key_holder` "cloud" one with it, and the sum, never an
            addend, leaves decrypted.

    Raises CipherError if a context comes with a secret key that the server must not have.
    """

    def __init__(self, parameters: Parameters, binding: Binding, key_id: str, context: bytes) -> None:
        self.parameters = parameters
        self.binding = binding
        self.key_id = key_id
        self._context = _load_context(context, parameters.preset)
        if self._context.is_private() != (parameters.key_holder == "cloud"):
            raise CipherError("the server's context must hold the secret key if and only if the key is in the cloud")
        self._total: list[Any] = []
        self._clients: list[str] = []

    def add(self, payload: bytes, client: str) -> None:
        """Add one payload; refused whole if anything about it is wrong."""
        expected = {**self.parameters.fields(), **self.binding.fields(), "key-id": self.key_id, "client": client}
        _, body = open_payload(payload, expected)
        require_new(client, self._clients, self.parameters.max_clients)
        vectors = list(_vectors(self._context, body, self.parameters))  # all of them checked before one is added
        if self._total:
            for total, vector in zip(self._total, vectors, strict=True):
                total += vector
        else:
            self._total = vectors
        self._clients.append(client)

    def payload(self) -> bytes:
        """The sum; where the key is in the cloud decrypted, and of two clients at least."""
        if not self._total:
            raise CipherError("nothing was added")
        fields = {
            **self.parameters.fields(),
            **self.binding.fields(),
            "key-id": self.key_id,
            "clients": sorted(self._clients),
        }
        if self.parameters.key_holder == "cloud":
            if len(self._clients) < MIN_CLIENTS:
                raise CipherError("the cloud does not decrypt a sum of one client")
            return close_envelope(fields, _decrypted(self._total, self.parameters).astype("<f4").tobytes())
        return close_envelope(fields, *_joined(total.serialize() for total in self._total))


def _load_context(data: bytes, preset: str) -> Any:
    try:
        context = ts.context_from(data)
    except (RuntimeError, ValueError) as error:
        raise CipherError(f"the CKKS context cannot be read: {error}") from error
    parameters: Any = context.seal_context().data.key_context_data()
    chosen = PRESETS[preset]
    found = (parameters.parms().poly_modulus_degree(), parameters.total_coeff_modulus_bit_count())
    if found != (chosen.degree, sum(chosen.primes)):
        raise CipherError(f"the key has ring degree and modulus bits {found}, not those of the preset {preset!r}")
    return context


def _joined(parts: Iterator[bytes]) -> Iterator[bytes]:
    for part in parts:
        yield _SIZE.pack(len(part))
        yield bytes(part)


def _vectors(context: Any, body: memoryview, parameters: Parameters) -> Iterator[Any]:
    start, level = 0, context.seal_context().data.first_parms_id()
    for index in range(parameters.ciphertexts):
        if start + _SIZE.size > len(body):
            raise CipherError("fewer ciphertexts than the vector has")
        (size,) = _SIZE.unpack_from(body, start)
        start += _SIZE.size + size
        try:
            vector = ts.ckks_vector_from(context, bytes(body[start - size : start]))
            parts = vector.ciphertext()
        except (RuntimeError, ValueError) as error:
            raise CipherError(f"not a ciphertext: {error}") from error
        length = min(parameters.slots, parameters.size + parameters.num_flags - index * parameters.slots)
        fits = vector.size() == length and len(parts) == 1 and parts[0].scale == PRESETS[parameters.preset].scale
        if not fits or parts[0].size() != 2 or parts[0].parms_id() != level:
            raise CipherError(f"ciphertext {index} is not of {length} values at the scale of {parameters.preset!r}")
        yield vector
    if start != len(body):
        raise CipherError("more bytes than the ciphertexts take")


def _decrypted(vectors: Any, parameters: Parameters, other_key: OtherKey | None = None) -> NDArray[np.float64]:
    rows = []
    for index, vector in enumerate(vectors):
        rows.append(np.asarray(vector.decrypt()))
        if other_key is not None:
            other_key.require_noise(vector, rows[-1], index)
    return np.concatenate(rows)[: parameters.size + parameters.num_flags]


def _plain_values(body: memoryview, parameters: Parameters) -> NDArray[np.float64]:
    if len(body) != 4 * (parameters.size + parameters.num_flags):
        raise CipherError(f"{len(body)} bytes for {parameters.size} values")
    return np.frombuffer(body, "<f4").astype(np.float64)
