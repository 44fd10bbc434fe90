"""One attempt as clients and server see it: its identity, the places of everything in payloads, and the sealed pieces.

A client's payload: packed ciphertexts, then a box for each client of the cohort in the order of their names, then the
proof of its shares. A question to a client: for each client of the sum in the order of names, the box that it made for
the one that is asked, and its proof. A sum: packed ciphertexts, then a sealed share sum for each client that answered.

A share is sealed under a key of the pair's seed (X25519 between the sites' keys, HKDF; `strategies.share_keys`),
direction and attempt, by AES-256-GCM. A share sum is sealed under the federation key.
"""

import hashlib
import hmac
import json
import secrets
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from strategies.ciphers.binding import Binding
from strategies.ciphers.cipher import CipherError
from strategies.ciphers.kahe.parameters import KaheParameters
from strategies.ciphers.kahe.sharing import BadSharesError, Threshold

_NONCE_BYTES, _TAG_BYTES = 12, 16
BOX_OVERHEAD = _NONCE_BYTES + _TAG_BYTES
SUM_OVERHEAD = 32
"""Bytes that `FederationKey.seal` adds."""


@dataclass(frozen=True)
class Session:
    """Args:
        binding: of the attempt, with its cohort and the digest of the cohort's share keys.
        key_id: of the federation key.

    Raises CipherError for a cohort with a name twice, or one that is too small or too large."""

    parameters: KaheParameters
    binding: Binding
    key_id: str

    def __post_init__(self) -> None:
        if len(set(self.binding.cohort)) != len(self.binding.cohort):
            raise CipherError(f"a name stands twice in the cohort {self.binding.cohort}")
        _ = self.threshold  # raises for a cohort that is too small or too large

    @property
    def names(self) -> tuple[str, ...]:
        """The cohort in the order of names; a client's place is its point in the sharing."""
        return tuple(sorted(self.binding.cohort))

    @property
    def threshold(self) -> Threshold:
        return self.parameters.threshold(len(self.binding.cohort))

    @property
    def context(self) -> bytes:
        """Digest of everything that identifies the attempt; all keys, seals, tags and polynomials depend on it."""
        fields = {**self.parameters.fields(), **self.binding.fields(), "cohort": self.names, "key-id": self.key_id}
        return hashlib.sha256(b"attempt of kahe 1\0" + json.dumps(fields, sort_keys=True).encode()).digest()

    def of_dealer(self, dealer: str) -> bytes:
        """Context of the shares of one client."""
        return self.context + dealer.encode()

    @property
    def polynomial_seed(self) -> bytes:
        """Seed of the public polynomials."""
        return hashlib.sha256(b"public polynomials\0" + self.context).digest()

    @property
    def box_bytes(self) -> int:
        return self.threshold.share_bytes + BOX_OVERHEAD

    @property
    def piece_bytes(self) -> int:
        """Bytes that a question has for each client of the sum."""
        return self.box_bytes + self.threshold.proof_bytes

    @property
    def payload_bytes(self) -> int:
        """Bytes of a client's payload behind its header."""
        boxes = len(self.binding.cohort) * self.box_bytes
        return self.parameters.body_bytes + boxes + self.threshold.proof_bytes

    @property
    def answer_bytes(self) -> int:
        """Bytes of a sealed share sum."""
        return 2 * self.threshold.width + SUM_OVERHEAD

    def require_set(self, clients: Collection[str], client: str) -> None:
        """Raise CipherError for a set of clients whose sum `client` must not help to open."""
        needed = self.threshold.needed
        if len(set(clients)) != len(clients) or not set(clients) <= set(self.binding.cohort):
            raise CipherError(f"{', '.join(clients)} are not different clients of the cohort")
        if client not in clients:
            raise CipherError(f"{client} is not among {', '.join(clients)}, whose sum it is asked to open")
        if len(clients) < needed:
            raise CipherError(f"a sum of {len(clients)} clients, and {needed} of {len(self.binding.cohort)} are needed")


def session_of(parameters: KaheParameters, fields: Mapping[str, Any], key_id: str) -> Session:
    """The session that the header of a sum names. Raises CipherError for one that cannot be."""
    names, attempt, nonce = fields.get("names"), fields.get("attempt"), fields.get("nonce")
    members = fields.get("members", "")
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise CipherError(f"a sum of the cohort {names!r}")
    if type(attempt) is not int or not isinstance(nonce, str) or not isinstance(members, str):
        raise CipherError(f"a sum of attempt {attempt!r} {nonce!r} with the share keys {members!r}")
    binding = Binding(fields["run-key"], fields["layout"], fields["round"], attempt, tuple(names), nonce, members)
    return Session(parameters, binding, key_id)


def close_box(share: bytes, seed: bytes, context: bytes, dealer: str, receiver: str, proof: bytes) -> bytes:
    """The share for `receiver`, bound to the attempt's context and to the dealer's proof."""
    nonce = secrets.token_bytes(_NONCE_BYTES)
    return nonce + AESGCM(_key(seed, dealer, receiver)).encrypt(nonce, share, _about(context, proof))


def open_box(box: bytes, seed: bytes, context: bytes, dealer: str, receiver: str, proof: bytes) -> bytes:
    """The share that `close_box` was given. Raises BadSharesError for another attempt, dealer, receiver or proof: with
    a server that hands boxes on as they are, the dealer sealed it wrongly."""
    nonce, body = box[:_NONCE_BYTES], box[_NONCE_BYTES:]
    try:
        return AESGCM(_key(seed, dealer, receiver)).decrypt(nonce, body, _about(context, proof))
    except (InvalidTag, ValueError) as error:
        fault = "its share does not open: it is of another attempt or key, or was altered on its way"
        raise BadSharesError(dealer, fault) from error


def sum_purpose(context: bytes, client: str, clients: Sequence[str], dealt: Mapping[str, str]) -> str:
    """Purpose for which `client` seals its share sum: one attempt, one set, and the shares that these clients dealt."""
    return "share sum of " + json.dumps([context.hex(), client, [[name, dealt[name]] for name in clients]])


def proof_digest(proof: bytes) -> str:
    """Identifies the shares that a client dealt: their proof holds a digest of each."""
    return hashlib.sha256(proof).hexdigest()


def _key(seed: bytes, dealer: str, receiver: str) -> bytes:
    return hmac.digest(seed, b"share\0" + json.dumps([dealer, receiver]).encode(), "sha256")


def _about(context: bytes, proof: bytes) -> bytes:
    return context + hashlib.sha256(proof).digest()
