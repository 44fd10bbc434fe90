"""Signatures of the federation's authority (Ed25519, RFC 8032) on small JSON documents.

The authority's folder alone holds `signing.key`; every party has the public half, `authority.pub`. A signature also
covers a purpose, so that a document cannot be used for another one.
"""

import base64
import hashlib
import json
import os
import secrets
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from models.errors import FedVehicleReidError

SIGNING_KEY, AUTHORITY_PUBLIC_KEY = "signing.key", "authority.pub"
_DOMAIN = b"fed-vehicle-reid signed document 1\0"
_LARGEST_DOCUMENT = 2**20  # bytes; nothing longer is parsed


class SigningError(FedVehicleReidError, ValueError):
    """A signing key or signed file that is missing, damaged or not the authority's; the message names the file."""


def new_signing_key() -> Ed25519PrivateKey:
    """A fresh key pair of an authority."""
    return Ed25519PrivateKey.generate()


def write_signing_key(key: Ed25519PrivateKey, path: Path) -> None:
    """Write a new file that its owner alone can read. Raises FileExistsError rather than replace a key."""
    write_new_secret(private_pem(key), path)


def private_pem(key: Ed25519PrivateKey | X25519PrivateKey) -> bytes:
    """A private key as PEM text, not encrypted."""
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def write_new_secret(data: bytes, path: Path) -> None:
    """Write a new file that its owner alone can read. Raises FileExistsError rather than replace one."""
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.link(temporary, path)  # fails if the file is there, and never shows half a key
    finally:
        temporary.unlink(missing_ok=True)


def read_signing_key(path: Path) -> Ed25519PrivateKey:
    """The authority's private key. Raises SigningError if it is missing, damaged or readable by others."""
    key = read_private_key(path, "signing key", SigningError)
    if not isinstance(key, Ed25519PrivateKey):
        raise SigningError(f"signing key {path} is of another kind than Ed25519")
    return key


def read_private_key(path: Path, name: str, failure: type[Exception]) -> PrivateKeyTypes:
    """The private key of a PEM file. Raises `failure`, with the `name` of the key and the file, if it is missing,
    damaged or readable by others."""
    try:
        if path.stat().st_mode & 0o077:
            raise failure(f"{name} {path} can be read by others: chmod 600 it")
        data = path.read_bytes()
    except OSError as error:
        raise failure(f"cannot read {name} {path}: {error.strerror}") from error
    try:
        return serialization.load_pem_private_key(data, password=None)
    except UnsupportedAlgorithm as error:
        raise failure(f"{name} {path} is of another kind: {error}") from error
    except (ValueError, TypeError) as error:
        raise failure(f"{name} {path} is damaged") from error


def public_pem(key: Ed25519PrivateKey | Ed25519PublicKey) -> bytes:
    """The public half as PEM text, the content of `authority.pub`."""
    public = key.public_key() if isinstance(key, Ed25519PrivateKey) else key
    return public.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)


def read_public_key(path: Path) -> Ed25519PublicKey:
    """The authority's public key. Raises SigningError if the file is missing or holds no Ed25519 key."""
    try:
        return public_key(path.read_bytes(), path)
    except OSError as error:
        raise SigningError(f"cannot read the authority's public key {path}: {error.strerror}") from error


def public_key(pem: bytes, path: object) -> Ed25519PublicKey:
    """The authority's public key of a PEM text. Raises SigningError, naming `path`, for any other text."""
    try:
        key = serialization.load_pem_public_key(pem)
    except UnsupportedAlgorithm as error:
        raise SigningError(f"the authority's public key {path} is of another kind: {error}") from error
    except (ValueError, TypeError) as error:
        raise SigningError(f"the authority's public key {path} is damaged") from error
    if not isinstance(key, Ed25519PublicKey):
        raise SigningError(f"the authority's public key {path} is of another kind than Ed25519")
    return key


def fingerprint(key: Ed25519PublicKey) -> str:
    """The first 128 bits of the SHA-256 of a public key, for people to compare: eight groups of hexadecimal digits."""
    digits = hashlib.sha256(key.public_bytes_raw()).hexdigest()[:32]
    return "-".join(digits[start : start + 4] for start in range(0, 32, 4))


def signature(body: Mapping[str, Any], purpose: str, key: Ed25519PrivateKey) -> str:
    """Signature of a JSON object for one purpose, in base64. Raises ValueError for values outside of
    canonical JSON."""
    return base64.b64encode(key.sign(_message(body, purpose))).decode()


def is_signed(body: Mapping[str, Any], purpose: str, text: str, key: Ed25519PublicKey) -> bool:
    """Whether `text` is the authority's signature of this object for this purpose."""
    with suppress(InvalidSignature, ValueError, TypeError, RecursionError):
        key.verify(base64.b64decode(text, validate=True), _message(body, purpose))
        return True
    return False


def signed_text(body: Mapping[str, Any], purpose: str, key: Ed25519PrivateKey) -> str:
    """A file's text: the object, its purpose, and the signature."""
    return json.dumps({"purpose": purpose, "body": body, "signature": signature(body, purpose, key)}, indent=1) + "\n"


def verified_body(text: str | bytes, purpose: str, key: Ed25519PublicKey, name: object) -> dict[str, Any]:
    """The object of a signed text. Raises SigningError, naming `name`, unless the authority signed it for `purpose`."""
    if len(text) > _LARGEST_DOCUMENT:
        raise SigningError(f"{name} is longer than {_LARGEST_DOCUMENT} bytes")
    try:
        document = json.loads(text, object_pairs_hook=_once_each)
        found, body, signed = document["purpose"], document["body"], document["signature"]
        whole = isinstance(found, str) and isinstance(body, dict) and isinstance(signed, str) and len(document) == 3
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise SigningError(f"{name} is no signed document: it is damaged or of another kind") from error
    if not whole:
        raise SigningError(f"{name} is no signed document: it is damaged or of another kind")
    if found != purpose:
        raise SigningError(f"{name} was signed as {found!r} and not as {purpose!r}")
    if not is_signed(body, purpose, signed, key):
        raise SigningError(f"{name} is not signed by this federation's authority, or was changed afterwards")
    return body


def read_signed(path: Path, purpose: str, public_key: Path) -> dict[str, Any]:
    """The object of a signed file. Raises SigningError, naming the file, unless the key of the file `public_key`
    signed it for `purpose`."""
    key = read_public_key(public_key)
    try:
        with path.open("rb") as file:
            text = file.read(_LARGEST_DOCUMENT + 1)
    except OSError as error:
        raise SigningError(f"cannot read {path}: {error.strerror}") from error
    return verified_body(text, purpose, key, path)


def _message(body: Mapping[str, Any], purpose: str) -> bytes:
    """Signed bytes: the purpose with its length, then the object with sorted keys and without blanks."""
    name = purpose.encode()
    text = json.dumps(body, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
    return _DOMAIN + len(name).to_bytes(4, "big") + name + text.encode()


def _once_each(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object without duplicate keys: programs differ in which of two they take."""
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key stands there twice")
    return found
