"""The federation key: one file that every client holds and the server does not.

It carries a secret of each scheme, and a secret to seal models that one client sends another through the server
(AES-256-GCM, NIST SP 800-38D). Its id is a digest that reveals nothing about it.
"""

import base64
import hashlib
import json
import os
import secrets
import stat
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from models.errors import FedVehicleReidError
from strategies.ciphers.cipher import CipherError

KEY_FORMAT = "fed-vehicle-reid federation key 1"
_NONCE_BYTES = 12
_SEALED = b"fvs1"


class KeyFileError(FedVehicleReidError, ValueError):
    """A key file that is missing, damaged, or readable by others; the message names it."""


@dataclass(frozen=True)
class FederationKey:
    """Secrets by scheme name, and "seal" for the sealing of models."""

    secrets: dict[str, bytes]
    created: str

    def __repr__(self) -> str:
        return f"FederationKey({self.key_id})"  # never the secrets, which a log would show

    @property
    def key_id(self) -> str:
        """Sixteen hexadecimal digits of a digest over the secrets."""
        total = hashlib.sha256(b"fed-vehicle-reid key id")
        for name in sorted(self.secrets):
            total.update(hashlib.sha256(name.encode()).digest() + hashlib.sha256(self.secrets[name]).digest())
        return total.hexdigest()[:16]

    def secret(self, scheme: str) -> bytes:
        """The secret of one scheme. Raises CipherError if the key has none."""
        if scheme not in self.secrets:
            raise CipherError(
                f"federation key {self.key_id} has no secret for {scheme!r}, like those of earlier versions: make "
                "a new one (python -m scripts.federation rotate FOLDER, at the authority, or keys --rotate)"
            )
        return self.secrets[scheme]

    def seal(self, data: bytes, purpose: str = "") -> bytes:
        """`data` encrypted and authenticated; 32 bytes longer. It opens for the same purpose only."""
        nonce = secrets.token_bytes(_NONCE_BYTES)
        return _SEALED + nonce + AESGCM(self.secret("seal")).encrypt(nonce, data, _SEALED + purpose.encode())

    def open(self, sealed: bytes | memoryview, purpose: str = "") -> bytes:
        """The data that `seal` was given. Raises CipherError if it was altered, or sealed under another key or for
        another purpose."""
        view, start = memoryview(sealed), len(_SEALED)
        nonce, body = view[start : start + _NONCE_BYTES], view[start + _NONCE_BYTES :]
        if view[:start] != _SEALED or len(nonce) < _NONCE_BYTES:
            raise CipherError("not a sealed model")
        try:
            return AESGCM(self.secret("seal")).decrypt(nonce, body, _SEALED + purpose.encode())
        except InvalidTag as error:
            raise CipherError(
                "the sealed data was altered, or sealed under another key or for another purpose"
            ) from error


def new_key(makers: Mapping[str, Callable[[], bytes]]) -> FederationKey:
    """A fresh key; `makers` gives the secret of each scheme."""
    made = {"seal": AESGCM.generate_key(256), **{name: make() for name, make in makers.items()}}
    return FederationKey(made, datetime.now(UTC).isoformat(timespec="seconds"))


def write_key(key: FederationKey, path: Path) -> None:
    """Write a new file that only its owner can read. Raises FileExistsError rather than replace a key."""
    path.parent.mkdir(parents=True, exist_ok=True)
    body = {
        "format": KEY_FORMAT,
        "key_id": key.key_id,
        "created": key.created,
        "secrets": {name: base64.b64encode(secret).decode() for name, secret in key.secrets.items()},
    }
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            json.dump(body, file)
            file.flush()
            os.fsync(file.fileno())
        os.link(temporary, path)  # fails if the file is there, and never shows half a key
    finally:
        temporary.unlink()


def read_key(path: Path) -> FederationKey:
    """The key of a file. Raises KeyFileError, which names the file, if it is missing, damaged or readable by others."""
    try:
        mode = path.stat().st_mode
        if not stat.S_ISREG(mode):  # reading a pipe would never end
            raise KeyFileError(f"key file {path} is not a file")
        if os.name == "posix" and mode & 0o077:
            raise KeyFileError(f"key file {path} can be read by others: chmod 600 it")
        content = path.read_bytes()
    except OSError as error:
        raise KeyFileError(f"cannot read key file {path}: {error.strerror or error}") from error
    mend = "take it from a backup or from another site" if content.strip() else "it is empty"
    try:
        body = json.loads(content)
        if body["format"] != KEY_FORMAT:
            raise KeyFileError(f"key file {path} has another format: {body['format']!r}")
        found = {str(name): base64.b64decode(text, validate=True) for name, text in body["secrets"].items()}
        key = FederationKey(found, str(body["created"]))
        key_id, kept = key.key_id, body.get("key_id")
    except KeyFileError:
        raise
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise KeyFileError(f"key file {path} is damaged: {mend}") from error
    if key_id != kept:
        raise KeyFileError(f"key file {path} is damaged: its id is not {kept!r}")
    return key


def shared_key(path: Path, makers: Mapping[str, Callable[[], bytes]]) -> FederationKey:
    """The key of a file, created if missing: the clients of a simulation start at once, and one of them wins."""
    if not path.exists():
        with suppress(FileExistsError):
            write_key(new_key(makers), path)
    return read_key(path)
