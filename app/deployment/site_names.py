"""Names of sites, bound to their keys: a certificate that the authority signs, proofs by the site's key, and checks.

A certificate holds the site's name, its public key and the id of the federation key. It is valid with that key alone:
`rotate` makes a new key and new certificates for the present sites, so that a removed site's certificate ends with the
key that it knew, and `add-site` changes nothing at the others. (A signed list of all sites would have to reach every
site whenever one is added.)
"""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from app.federation.refusals import IdentityError
from app.settings.checks import SettingsError
from app.settings.load import absolute
from strategies.ciphers.keys import read_key
from strategies.nodes import RefusedError
from strategies.signing import SigningError, read_public_key, signed_text, verified_body

_PURPOSE = "site-name/1"
_FIELDS = ("federation", "site", "public_key", "key_id")
_NODE_CONFIG = {"key": "site-key", "certificate": "site-cert", "authority": "authority"}
"""Keys of the node config by argument of `SiteIdentity.read`."""
_log = logging.getLogger("flwr")


def site_certificate(federation: str, site: str, public: str, key_id: str, authority: Ed25519PrivateKey) -> str:
    """Text of a site's certificate.

    Args:
        public: the site's public key in OpenSSH's format, without a comment.
        key_id: of the federation key; the certificate is valid with no other.
    """
    body = {"federation": federation, "site": site, "public_key": public, "key_id": key_id}
    return signed_text(body, _PURPOSE, authority)


def authority_text(key: Ed25519PublicKey) -> str:
    """The authority's public key in the form of `federation.authority`: 64 hexadecimal digits."""
    return key.public_bytes_raw().hex()


@dataclass(frozen=True)
class SiteNames:
    """Names certified by an authority.

    Args:
        authority: its public key.
        key_id: of the federation key for which certificates must be valid.
    """

    authority: Ed25519PublicKey
    key_id: str

    @classmethod
    def of(cls, authority: str, key_id: str) -> "SiteNames":
        """From `federation.authority` and `privacy.key_id`. Raises SettingsError for an invalid public key, and without
        a key id, since then the certificate of a removed site would be valid."""
        try:
            key = Ed25519PublicKey.from_public_bytes(bytes.fromhex(authority))
        except ValueError as error:
            raise SettingsError("federation.authority is not the public key of an authority") from error
        if not key_id:
            raise SettingsError("federation.authority needs privacy.key_id, which distinguishes expired certificates")
        return cls(key, key_id)

    def proven(self, certificate: str, signature: bytes, statement: bytes) -> str:
        """The name in a certificate whose key signed the statement. Raises RefusedError."""
        body = self.certified(certificate)
        key = _public_key(body["public_key"])
        try:
            key.verify(signature, statement, ec.ECDSA(hashes.SHA384()))
        except InvalidSignature:
            raise RefusedError(f"its reply is not signed by the key of {body['site']!r}") from None
        return body["site"]

    def certified(self, certificate: str) -> dict[str, str]:
        """Federation, site, public key and key id of a certificate. Raises RefusedError unless it is valid."""
        try:
            body = verified_body(certificate, _PURPOSE, self.authority, "its certificate")
        except SigningError as error:
            raise RefusedError(str(error)) from error
        if set(body) != set(_FIELDS) or not all(isinstance(value, str) and value for value in body.values()):
            raise RefusedError("its certificate has other fields")
        if body["key_id"] != self.key_id:
            raise RefusedError(
                f"the certificate of {body['site']!r} is for the federation key {body['key_id']} and not {self.key_id}"
            )
        return body


@dataclass(frozen=True)
class SiteIdentity:
    """A site's own name: its certificate with the key. It signs replies."""

    site: str
    certificate: str
    key: ec.EllipticCurvePrivateKey
    names: SiteNames

    @classmethod
    def read(cls, site: str, *, key: Path, certificate: Path, authority: Path, key_id: str) -> "SiteIdentity":
        """From the site's files. Raises IdentityError; the site's log names the file and the reason."""
        try:
            private = serialization.load_ssh_private_key(key.read_bytes(), password=None)
            if not isinstance(private, ec.EllipticCurvePrivateKey):
                raise ValueError(f"{key} holds a key of another kind")
            names = SiteNames(read_public_key(authority), key_id)
            identity = cls(site, certificate.read_text(encoding="utf-8"), private, names)
            statement = b"own certificate"
            held = names.proven(identity.certificate, identity._sign(statement), statement)
            if held != site:
                raise ValueError(f"{certificate} is of {held!r}")
        except (OSError, ValueError, UnsupportedAlgorithm, TypeError) as error:  # SigningError, RefusedError among them
            _log.error("%s: cannot prove its name with %s: %s", site, certificate, error)
            raise IdentityError(f"{site}: it cannot prove its name; the site's own log says why") from None
        return identity

    @classmethod
    def of_node(cls, config: Mapping[str, str]) -> "SiteIdentity | None":
        """From a node's config; None for a node without `site-cert`. Raises SettingsError naming a missing key."""
        if "site-cert" not in config:
            return None
        name = config.get("client", "")
        if missing := [key for key in (*_NODE_CONFIG.values(), "key-file") if key not in config]:
            raise SettingsError(f"{name}: site-cert needs the node config {', '.join(missing)}")
        files = {part: absolute(config[key]) for part, key in _NODE_CONFIG.items()}
        return cls.read(name, **files, key_id=read_key(absolute(config["key-file"])).key_id)

    def check_run(self, authority: str) -> None:
        """Raise IdentityError for a run whose `federation.authority` is not the site's own."""
        if authority != authority_text(self.names.authority):
            said = "another authority than the site's own" if authority else "no authority; run.sh gives it"
            raise IdentityError(f"{self.site}: federation.authority: the run has {said}")

    def proof(self, statement: bytes) -> dict[str, Any]:
        """Proof of a reply, sent beside its content."""
        return {"certificate": self.certificate, "signature": self._sign(statement)}

    def _sign(self, statement: bytes) -> bytes:
        return self.key.sign(statement, ec.ECDSA(hashes.SHA384()))


def _public_key(text: str) -> ec.EllipticCurvePublicKey:
    try:
        key = serialization.load_ssh_public_key(text.encode())
    except (ValueError, UnsupportedAlgorithm) as error:
        raise RefusedError("its certificate holds no public key") from error
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP384R1):
        raise RefusedError("its certificate holds a key of another kind")
    return key
