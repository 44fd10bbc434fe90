"""A node's key for pairwise masks, and the keys of the other clients as it first saw them."""

import hmac
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

from app.files import replacing
from strategies.ciphers.binding import Binding
from strategies.ciphers.cipher import CipherError
from strategies.ciphers.keys import FederationKey
from strategies.ciphers.limits import MIN_MASKED
from strategies.ciphers.masks import new_mask_key, pair_seed, public_mask_key, vouch

_TAG_BYTES = 32


class Badge(Protocol):
    """Binds mask keys to certified sites."""

    def card(self, public: bytes) -> str:
        """What shows the others that a mask key is one's own; without a colon."""

    def check_card(self, name: str, public: bytes, card: str) -> None:
        """Raise CipherError unless the mask key is that of the site of this name."""


class MaskStore:
    """Seeds of the masks that a client shares with the others.

    A client's card is its public key with a tag under the federation key, so that the server cannot put a card of its
    own in place. A card that a client showed once is pinned: whoever shows another under its name is refused.

    Args:
        folder: of the node; holds `mask.key` and `mask_peers.json`.
        client: the node's own name.
        key: of the federation.
        badge: demands of each card that a certified site signed it: without, whoever holds the federation key can
            vouch for clients that do not exist. None where sites have no certificates.
    """

    def __init__(self, folder: Path, client: str, key: FederationKey, badge: Badge | None = None) -> None:
        self.folder = folder
        self.client = client
        self.key = key
        self.badge = badge
        path = folder / "mask.key"
        if not path.exists():
            _write_private(path, new_mask_key())
        self._private = path.read_bytes()
        try:
            public = public_mask_key(self._private)
        except ValueError as error:
            raise CipherError(f"mask key {path} is damaged: {error}") from error
        self.card = (public + vouch(key.secret("seal"), client, public)).hex()
        if badge is not None:
            self.card += f":{badge.card(public)}"

    def seeds(self, binding: Binding, cards: Mapping[str, str]) -> dict[str, bytes]:
        """The seed shared with each other client of the cohort. Raises CipherError naming a client whose card is
        missing, forged, or another than before, or if the cohort is too small to hide anybody."""
        if len(binding.cohort) < MIN_MASKED:
            raise CipherError(
                f"pairwise masks need {MIN_MASKED} clients in a round, this one has {len(binding.cohort)}"
            )
        peers = [name for name in binding.cohort if name != self.client]
        known = self._pinned({name: cards.get(name, "") for name in peers})
        return {name: pair_seed(self._private, self.client, name, known[name], binding) for name in peers}

    def begin(self, binding: Binding, cards: Mapping[str, str]) -> dict[str, bytes]:
        """`seeds` for one payload, once an attempt: two payloads under one mask would show their difference."""
        attempt = _attempt(binding)
        path = self.folder / "mask_used.json"
        used: list[str] = json.loads(path.read_text(encoding="utf-8")) if path.exists() else []
        if attempt in used:
            raise CipherError("this attempt was masked already; a payload is not masked twice alike")
        seeds = self.seeds(binding, cards)
        with replacing(path) as temporary:
            temporary.write_text(json.dumps([*used, attempt]), encoding="utf-8")
        return seeds

    def disclose(self, binding: Binding, cards: Mapping[str, str], missing: Sequence[str]) -> bytes:
        """The seeds shared with clients that dropped out of this attempt, sealed for the holders of the federation key.

        Raises CipherError if fewer than two clients would be left in the sum, if this client is called missing itself,
        or if other clients were called missing in this attempt before: two answers together could unmask somebody."""
        names = set(missing)
        if not names <= set(binding.cohort) or self.client in names or not names:
            raise CipherError(f"cannot disclose masks with {sorted(names)}")
        if len(binding.cohort) - len(names) < 2:
            raise CipherError("masks are not taken off a sum of one client")
        asked = self.folder / "mask_disclosed.json"
        attempt = _attempt(binding)
        before: dict[str, list[str]] = json.loads(asked.read_text(encoding="utf-8")) if asked.exists() else {}
        if before.setdefault(attempt, sorted(names)) != sorted(names):
            raise CipherError(f"masks with {before[attempt]} were disclosed for this attempt already")
        with replacing(asked) as temporary:
            temporary.write_text(json.dumps(before, indent=1), encoding="utf-8")
        seeds = self.seeds(binding, cards)
        return self.key.seal(json.dumps({name: seeds[name].hex() for name in sorted(names)}).encode())

    def _pinned(self, cards: Mapping[str, str]) -> dict[str, bytes]:
        path = self.folder / "mask_peers.json"
        pins: dict[str, str] = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
        found: dict[str, bytes] = {}
        for name, card in cards.items():
            vouched, _, shown = card.partition(":")
            try:
                raw = bytes.fromhex(vouched)
            except ValueError:
                raw = b""
            public, tag = raw[:-_TAG_BYTES], raw[-_TAG_BYTES:]
            if not hmac.compare_digest(tag, vouch(self.key.secret("seal"), name, public)):
                raise CipherError(f"the mask key of {name} is missing or not vouched for by this federation's key")
            if self.badge is not None:
                self.badge.check_card(name, public, shown)
            if pins.setdefault(name, public.hex()) != public.hex():
                raise CipherError(
                    f"{name} shows another mask key than before; if its node was set up anew, remove {name} from {path}"
                )
            found[name] = public
        with replacing(path) as temporary:
            temporary.write_text(json.dumps(pins, indent=1), encoding="utf-8")
        return found


def _attempt(binding: Binding) -> str:
    return f"{binding.run_key}/{binding.server_round}/{binding.attempt}/{binding.nonce}"


def _write_private(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    with replacing(path) as temporary:
        temporary.touch(0o600)
        temporary.write_bytes(data)
        temporary.chmod(0o600)
