"""Share keys of the sites in the folders of a federation: private halves, and the authority's statements about them."""

import time
from enum import Enum, auto
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from app.deployment import parties as p
from app.federation.share_key_files import read_share_key, read_statement, share_key_pem
from strategies.share_keys import ShareKeyRules, new_statement, signed_statement
from strategies.signing import SIGNING_KEY, read_signing_key


class Scope(Enum):
    """What `write_share_keys` writes."""

    missing = auto()
    """Keys and statements that are missing or no longer valid."""
    statements = auto()
    """Those, and new statements for all keys."""
    keys = auto()
    """New keys for all sites."""


def write_share_keys(root: Path, key_id: str, scope: Scope = Scope.missing, now: float | None = None) -> list[Path]:
    """Give the sites share keys, and statements for this federation key; the files written, none in a federation older
    than signing keys.

    A statement lies in the site's folder and beside its public key at the operator's. A new private key lies in the
    site's folder, which is made for it if it was handed over; it lies nowhere else. Raises KeyFileError for a private
    key that is damaged."""
    signing = root / "authority" / SIGNING_KEY
    if not signing.exists():
        return []
    authority, moment = read_signing_key(signing), time.time() if now is None else now
    rules = ShareKeyRules(authority.public_key(), key_id, p.read_party(root / "authority").federation)
    written = []
    for site in certified_sites(root):
        public = None if scope is Scope.keys else _known(root, site, rules)
        if public is None:
            public = _new_key(root, site)
            written.append(root / "sites" / site / p.SHARE_KEY)
        places = statement_places(root, site)
        if scope is Scope.missing and all(_is_valid(path, rules, site, public, moment) for path in places):
            continue
        text = signed_statement(new_statement(rules.federation, site, public, key_id, moment), authority)
        for path in places:
            p.write_file(path, text.encode(), p.PUBLIC)
        written += places
    return written


def certified_sites(root: Path) -> list[str]:
    """Names of the sites, by their public keys at the operator's and in their own folders."""
    at_operator = {path.stem for path in (root / "operator" / "sites").glob("*.pub")}
    return sorted(at_operator | {path.parent.name for path in (root / "sites").glob(f"*/{p.SITE_PUBLIC_KEY}")})


def statement_places(root: Path, site: str) -> list[Path]:
    """Paths of a site's statement in the folders present here."""
    places = (root / "operator" / "sites" / f"{site}{p.SHARE_END}", root / "sites" / site / p.SHARE_CERTIFICATE)
    return [path for path in places if path.parent.is_dir()]


def _known(root: Path, site: str, rules: ShareKeyRules) -> bytes | None:
    """The public key of a site: that of its private key if that is here, else that of a statement by this authority."""
    held = root / "sites" / site / p.SHARE_KEY
    if held.exists():
        return read_share_key(held).public_key().public_bytes_raw()
    try:
        found = rules.signed(read_statement(root / "operator" / "sites" / f"{site}{p.SHARE_END}"))
    except (OSError, ValueError):  # ShareKeyError among them
        return None
    return found.public if found.site == site else None


def _new_key(root: Path, site: str) -> bytes:
    folder, key = root / "sites" / site, X25519PrivateKey.generate()
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    p.write_file(folder / p.SHARE_KEY, share_key_pem(key), p.SECRET)
    return key.public_key().public_bytes_raw()


def _is_valid(path: Path, rules: ShareKeyRules, site: str, public: bytes, now: float) -> bool:
    try:
        found = rules.statement(read_statement(path), now)
    except (OSError, ValueError):
        return False
    return (found.site, found.public) == (site, public)
