"""Sealed pieces on their way through the server: shares from one client to another, and share sums for all of them.

A share is sealed under a key of the pair's seed (X25519 between the sites' keys, HKDF; `strategies.share_keys`),
direction and attempt, by AES-256-GCM. A share sum is sealed under the federation key.
"""

import hashlib
import hmac
import json
import secrets
from collections.abc import Mapping, Sequence

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from strategies.ciphers.kahe.sharing import BadSharesError

_NONCE_BYTES, _TAG_BYTES = 12, 16
BOX_OVERHEAD = _NONCE_BYTES + _TAG_BYTES
SUM_OVERHEAD = 32
"""Bytes that `FederationKey.seal` adds."""


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
