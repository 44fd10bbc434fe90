"""Share keys of a federation's sites: the X25519 keys (RFC 7748) to which sites seal shares for each other.

The authority signs one statement for each site: name, public key, federation, id of the federation key, validity. A
site takes the keys of a cohort from these statements and from nothing else: the server hands them on and can neither
make one nor exchange two keys. A statement is valid with one federation key: `rotate` ends those of removed sites.
"""

import base64
import hashlib
import json
import re
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from strategies.ciphers.cipher import CipherError
from strategies.client_names import name_fault
from strategies.signing import SigningError, signed_text, verified_body
from strategies.x25519 import point_fault

LONGEST_STATEMENT = 4096
"""Characters of a signed statement; one of `init` has about 450."""
VALID_DAYS = 825  # as the server's certificate: one `renew` prolongs both
_CLOCK_SKEW = 3600  # seconds by which a site's clock may be behind the authority's
_PURPOSE = "share-key/1"
_DIGEST_DOMAIN = b"fed-vehicle-reid share keys 1\0"
_SEED_DOMAIN = b"fed-vehicle-reid seed of two share keys 1\0"
_KEY = re.compile(r"[0-9a-f]{64}")
_KEY_ID = re.compile(r"[0-9a-f]{16}")
_LAST_SECOND = 2**40  # of a date: far from what a float or a date cannot hold


class ShareKeyError(CipherError):
    """A share key that is not used; the message names the site and the reason."""


@dataclass(frozen=True)
class Statement:
    """What the authority says of one site.

    Args:
        share_key: the site's public key, 64 hexadecimal digits.
        key_id: of the federation key; the statement is valid with no other.
        not_before, not_after: seconds since 1970, whole numbers.
    """

    federation: str
    site: str
    share_key: str
    key_id: str
    not_before: int
    not_after: int

    def __post_init__(self) -> None:
        """Raises ShareKeyError for a field of another form."""
        numbers = (self.not_before, self.not_after)
        if not all(isinstance(value, str) for value in (self.federation, self.site, self.share_key, self.key_id)):
            raise ShareKeyError("the statement of a share key is malformed")
        if name_fault(self.site):
            raise ShareKeyError(f"the statement of a share key names a site that {name_fault(self.site)}")
        if name_fault(self.federation):
            raise ShareKeyError(f"the statement of {self.site} names a federation that {name_fault(self.federation)}")
        if not _KEY.fullmatch(self.share_key) or not _KEY_ID.fullmatch(self.key_id):
            raise ShareKeyError(f"the statement of {self.site} holds no share key, or no id of a federation key")
        if any(type(value) is not int for value in numbers) or not 0 <= numbers[0] < numbers[1] < _LAST_SECOND:
            raise ShareKeyError(f"the statement of {self.site} has no valid dates")
        if fault := point_fault(self.public):
            raise ShareKeyError(f"the share key of {self.site} {fault}")

    @property
    def public(self) -> bytes:
        """The public key, 32 bytes."""
        return bytes.fromhex(self.share_key)


_FIELDS = tuple(one.name for one in fields(Statement))


def new_statement(federation: str, site: str, public: bytes, key_id: str, now: float) -> Statement:
    """A statement that is valid from `now`, for `VALID_DAYS`."""
    began = int(now) - _CLOCK_SKEW
    return Statement(federation, site, public.hex(), key_id, began, int(now) + VALID_DAYS * 86400)


def signed_statement(statement: Statement, authority: Ed25519PrivateKey) -> str:
    """Text of a statement, the content of `share.cert`."""
    return signed_text(asdict(statement), _PURPOSE, authority)


@dataclass(frozen=True)
class ShareKeyRules:
    """Rules for the statements of a federation.

    Args:
        authority: whose signature is asked for.
        key_id: of the present federation key.
        federation: its name; "" takes any name that the authority signed.
    """

    authority: Ed25519PublicKey
    key_id: str
    federation: str = ""

    def statement(self, text: str, now: float) -> Statement:
        """A statement that is valid at `now`, in seconds since 1970. Raises ShareKeyError."""
        found = self.signed(text)
        if found.key_id != self.key_id:
            raise ShareKeyError(
                f"the share key of {found.site} is for the federation key {found.key_id} and not {self.key_id}"
            )
        if now < found.not_before:
            raise ShareKeyError(f"the share key of {found.site} is valid from {_date(found.not_before)} on, not yet")
        if now >= found.not_after:
            raise ShareKeyError(
                f"the share key of {found.site} expired on {_date(found.not_after)}: the authority "
                "renews it (python -m scripts.federation renew FOLDER --sites)"
            )
        return found

    def signed(self, text: str) -> Statement:
        """A statement of this federation by its authority, whatever its date and federation key. Raises
        ShareKeyError."""
        if not isinstance(text, str) or len(text) > LONGEST_STATEMENT:
            raise ShareKeyError(f"the statement of a share key is no text of at most {LONGEST_STATEMENT} characters")
        name = f"the statement of the share key{_claimed(text)}"
        try:
            body = verified_body(text, _PURPOSE, self.authority, name)
        except SigningError as error:
            raise ShareKeyError(str(error)) from error
        if tuple(body) != _FIELDS or text != _canonical(text, body):
            raise ShareKeyError(f"{name} is not in the form that the authority writes")
        found = Statement(**body)
        if self.federation and found.federation != self.federation:
            raise ShareKeyError(
                f"the share key of {found.site} is of the federation {found.federation!r}, not {self.federation!r}"
            )
        return found


@dataclass(frozen=True)
class Members:
    """Verified share keys of a cohort.

    Args:
        keys: name -> public key of 32 bytes, in the order of the cohort.
    """

    keys: Mapping[str, bytes]

    @property
    def digest(self) -> str:
        """SHA-256 over names and keys, sorted by name: two clients that were shown other keys differ in it."""
        rows = [[name, public.hex()] for name, public in sorted(self.keys.items())]
        return hashlib.sha256(_DIGEST_DOMAIN + json.dumps(rows).encode()).hexdigest()


def verified_keys(rules: ShareKeyRules, cohort: Sequence[str], statements: Iterable[str], now: float) -> Members:
    """The share keys of a cohort, by the authority's signatures alone.

    Args:
        statements: signed texts as a message carries them, one for each member, in any order; names come from the
            signed texts.
        now: seconds since 1970.

    Raises ShareKeyError naming the site: a statement that is not valid (`ShareKeyRules.statement`), of a site outside
    of the cohort, a member without one or with two, a name twice in the cohort, one key of two sites."""
    texts = list(statements)
    expected = set(cohort)
    if twice := sorted(name for name, times in Counter(cohort).items() if times > 1):
        raise ShareKeyError(f"{', '.join(twice)} stands twice in the cohort")
    if len(texts) > len(cohort):
        raise ShareKeyError(f"{len(texts)} statements of share keys for a cohort of {len(cohort)}")
    found: dict[str, bytes] = {}
    owners: dict[bytes, str] = {}
    for one in (rules.statement(text, now) for text in texts):
        if one.site not in expected:
            raise ShareKeyError(f"a share key of {one.site}, which is not in the cohort")
        if one.site in found:
            raise ShareKeyError(f"two statements of the share key of {one.site}")
        if (owner := owners.setdefault(one.public, one.site)) != one.site:
            raise ShareKeyError(f"{one.site} has the share key of {owner}")
        found[one.site] = one.public
    if missing := [name for name in cohort if name not in found]:
        raise ShareKeyError(f"no statement of the authority about the share key of {', '.join(missing)}")
    return Members({name: found[name] for name in cohort})


@dataclass(frozen=True)
class ShareKeys:
    """A client's own share key, and the rules for those of the others.

    Args:
        text: the authority's signed statement of the own key, which the client shows to the others.
    """

    site: str
    key: X25519PrivateKey = field(repr=False)
    text: str
    rules: ShareKeyRules

    def __post_init__(self) -> None:
        """Raises ShareKeyError unless the statement is of this site and key."""
        own = self.rules.signed(self.text)
        if own.site != self.site:
            raise ShareKeyError(f"the statement of the share key of {self.site} is of {own.site}")
        if own.public != self._public:
            raise ShareKeyError(f"the statement of the share key of {self.site} is for another key")

    def members(self, cohort: Sequence[str], statements: Iterable[str], now: float | None = None) -> Members:
        """`verified_keys`, with this client's own key among them. `now`: by the clock if left out. Raises
        ShareKeyError."""
        found = verified_keys(self.rules, cohort, statements, time.time() if now is None else now)
        if self.site not in found.keys:
            raise ShareKeyError(f"{self.site} is not in the cohort")
        if found.keys[self.site] != self._public:
            raise ShareKeyError(f"another share key than its own is shown for {self.site}")
        return found

    def exchange(self, public: bytes) -> bytes:
        """The secret shared with the owner of a public key, 32 bytes, the input of a key derivation. Raises
        ShareKeyError for a key that is none."""
        try:
            return self.key.exchange(X25519PublicKey.from_public_bytes(public))
        except ValueError as error:
            raise ShareKeyError(f"a share key is not usable: {error}") from error

    def seeds(self, members: Members, context: bytes) -> dict[str, bytes]:
        """The seed shared with each member, this client among them, 32 bytes each (HKDF-SHA256, RFC 5869).

        Args:
            context: of one attempt. The seeds depend on the keys of the whole cohort as well: two clients that were
                shown other keys share none.

        Raises ShareKeyError for a key that is none."""
        about = _SEED_DOMAIN + json.dumps([members.digest, context.hex()]).encode()
        found = {}
        for name, public in members.keys.items():
            pair = json.dumps(sorted([self.site, name])).encode()
            found[name] = HKDF(hashes.SHA256(), 32, salt=None, info=about + pair).derive(self.exchange(public))
        return found

    @property
    def _public(self) -> bytes:
        return self.key.public_key().public_bytes_raw()


def new_share_keys(
    federation: str,
    site: str,
    key_id: str,
    authority: Ed25519PrivateKey,
    *,
    now: float,
    key: X25519PrivateKey | None = None,
) -> ShareKeys:
    """A share key with its statement, valid from `now`; a fresh key if none is given."""
    own = key or X25519PrivateKey.generate()
    statement = new_statement(federation, site, own.public_key().public_bytes_raw(), key_id, now)
    rules = ShareKeyRules(authority.public_key(), key_id, federation)
    return ShareKeys(site, own, signed_statement(statement, authority), rules)


def _canonical(text: str, body: Mapping[str, Any]) -> str:
    """The one text of a verified statement: its fields in order, and base64 as an encoder writes it."""
    signature = base64.b64encode(base64.b64decode(json.loads(text)["signature"])).decode()
    return json.dumps({"purpose": _PURPOSE, "body": dict(body), "signature": signature}, indent=1) + "\n"


def _claimed(text: str) -> str:
    """ " of NAME" as an unverified statement says, for a message; "" if it holds no name."""
    with suppress(ValueError, TypeError, KeyError, RecursionError):
        name = json.loads(text)["body"]["site"]
        if isinstance(name, str) and not name_fault(name):
            return f" of {name}"
    return ""


def _date(seconds: int) -> str:
    return time.strftime("%Y-%m-%d", time.gmtime(seconds))
