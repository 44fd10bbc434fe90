"""Pairwise masks that cancel in the sum (Bonawitz et al., 2017, doi:10.1145/3133956.3133982, Sec. 4, "masking with
one-time pads").

Clients i < j share a seed; i adds the numbers expanded from it to its slots, j subtracts them, modulo t. Without its
seeds one client's slots are uniform noise, even to a holder of the federation key, and the sum over the cohort has no
mask left. If a client drops out, the others disclose the seeds they share with it for this attempt only, sealed for the
clients, who remove the leftover masks after decryption.

Seeds come from X25519 (RFC 7748) and HKDF-SHA256 (RFC 5869) with run, round, attempt and cohort as information, so that
a disclosed seed reveals nothing about any other round. The paper's second, self-chosen mask is left out; for the
consequence for a client that was given up and answers late, see docs/threat-model.md.
"""

import hmac
import json
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from numpy.typing import NDArray

from strategies.ciphers.binding import Binding
from strategies.ciphers.cipher import CipherError

Ints = NDArray[np.int64]
MASK_SEED_BYTES = 32


def new_mask_key() -> bytes:
    """A node's private X25519 key, 32 bytes."""
    return X25519PrivateKey.generate().private_bytes_raw()


def public_mask_key(private: bytes) -> bytes:
    """The public key for the other nodes, 32 bytes."""
    return X25519PrivateKey.from_private_bytes(private).public_key().public_bytes_raw()


def key_tag(secret: bytes, client: str, public: bytes) -> bytes:
    """Authentication tag of `client`'s public mask key under `secret`, so that the server cannot substitute its own."""
    return hmac.digest(secret, b"mask key\0" + client.encode() + b"\0" + public, "sha256")


def pair_seed(private: bytes, own: str, peer: str, peer_public: bytes, binding: Binding) -> bytes:
    """The seed that `own` and `peer` share for one attempt at a round; both compute the same."""
    try:
        shared = X25519PrivateKey.from_private_bytes(private).exchange(X25519PublicKey.from_public_bytes(peer_public))
    except ValueError as error:
        raise CipherError(f"the mask key of {peer} is not usable: {error}") from error
    information = json.dumps([binding.fields(), sorted([own, peer])], sort_keys=True).encode()
    return HKDF(hashes.SHA256(), MASK_SEED_BYTES, salt=None, info=information).derive(shared)


def disclosure_purpose(fields: Mapping[str, Any], client: str) -> str:
    """Purpose for which `client` seals disclosed seeds: one attempt, by the fields of its payloads and of their sum."""
    return "masks of " + json.dumps([client, *(fields.get(name) for name in Binding("", "", 0).fields())])


def expand(seed: bytes, count: int, modulus: int) -> Ints:
    """`count` numbers, uniform in 0..modulus - 1 without bias: AES-256-CTR words of just enough bits, those that are
    too large replaced by later ones."""
    stream = Cipher(algorithms.AES(seed), modes.CTR(bytes(16))).encryptor()
    shift = np.uint64(64 - (modulus - 1).bit_length())

    def draw(number: int) -> Ints:
        words = np.frombuffer(stream.update(bytes(8 * number)), "<u8") >> shift
        return words.astype(np.int64)

    numbers = draw(count)
    while (wrong := np.flatnonzero(numbers >= modulus)).size:
        numbers[wrong] = draw(wrong.size)
    return numbers


def add_masks(slots: Ints, own: str, seeds: Mapping[str, bytes], modulus: int) -> None:
    """Add `own`'s masks to its slots in place, modulo `modulus`; `seeds` by the name of the other client."""
    for peer, seed in sorted(seeds.items()):
        mask = expand(seed, slots.size, modulus)
        slots += mask if own < peer else -mask
        slots %= modulus


def take_off(slots: Ints, disclosed: Iterable[tuple[str, str, bytes]], modulus: int) -> None:
    """Remove the leftover masks from a sum in place; (client in the sum, client that is not, their seed) each."""
    for present, missing, seed in disclosed:
        mask = expand(seed, slots.size, modulus)
        slots -= mask if present < missing else -mask
        slots %= modulus
