"""Share keys of four sites, and statements about them, for tests."""

from dataclasses import asdict

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from strategies.share_keys import (
    new_share_keys,
    new_statement,
)
from strategies.signing import signed_text

AUTHORITY, OTHER = (Ed25519PrivateKey.from_private_bytes(bytes([k] * 32)) for k in (91, 92))
KEY_ID, OLD_ID, NOW = "0123456789abcdef", "fedcba9876543210", 1_800_000_000.0
COHORT = ["north", "south", "west"]
OWN = {
    name: new_share_keys(
        "parks", name, KEY_ID, AUTHORITY, now=NOW, key=X25519PrivateKey.from_private_bytes(bytes([k] * 32))
    )
    for k, name in enumerate([*COHORT, "east"], 1)
}
RULES = OWN["north"].rules


def public(name):
    return OWN[name].key.public_key().public_bytes_raw()


def texts(*names):
    return [OWN[name].text for name in names]


def about(authority=AUTHORITY, **changes):
    """A signed statement of south, with changes; made without the checks of `Statement`."""
    body = asdict(new_statement("parks", "south", public("south"), KEY_ID, NOW))
    return signed_text({**body, **changes}, "share-key/1", authority)
