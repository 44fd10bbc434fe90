"""A node's X25519 key for what it shares with single clients, and the pinned keys of the other clients."""

import hmac
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Protocol

from app.core.files import replacing
from app.federation.locked_records import LockedRecords
from strategies.ciphers.binding import Binding
from strategies.ciphers.cipher import CipherError
from strategies.ciphers.keys import FederationKey
from strategies.ciphers.masks import key_tag, new_mask_key, pair_seed, public_mask_key

_TAG_BYTES = 32


class Badge(Protocol):
    """Binds the keys to certified sites."""

    def card(self, public: bytes) -> str:
        """Proof, without a colon, that a key is this site's own."""

    def check_card(self, name: str, public: bytes, card: str) -> None:
        """Raise CipherError unless the key is that of the site of this name."""


class PeerKeys(LockedRecords):
    """Seeds that a client shares with the others, and records of what it did with them.

    A client's card is its public key with a tag under the federation key, so that the server cannot substitute its own.
    The first card of a client is pinned: another one under its name is refused.

    All files are read and changed under one lock, across the processes and threads of the node, and before any reply.

    Args:
        folder: of the node; holds `KIND.key`, `KIND_peers.json`, and further files of a subclass.
        client: the node's own name.
        key: of the federation.
        badge: requires a certified site's signature on each card: without it, a holder of the federation key can
            authenticate clients that do not exist. None if sites have no certificates.
    """

    def __init__(self, folder: Path, client: str, key: FederationKey, badge: Badge | None = None) -> None:
        super().__init__(folder)
        self.client = client
        self.key = key
        self.badge = badge
        path = folder / f"{self.kind}.key"
        with self._locked():
            if not path.exists():
                _write_private(path, new_mask_key())
        self._private = path.read_bytes()
        try:
            public = public_mask_key(self._private)
        except ValueError as error:
            raise CipherError(f"{self.kind} key {path} is damaged: {error}") from error
        self.card = (public + key_tag(key.secret("seal"), client, public)).hex()
        if badge is not None:
            self.card += f":{badge.card(public)}"

    def _pair_seeds(self, binding: Binding, cards: Mapping[str, str], names: Iterable[str]) -> dict[str, bytes]:
        """The seed shared with each of `names`, which are other clients, for an attempt. Raises CipherError naming a
        client whose card is missing, forged, or another than before."""
        if len(set(binding.cohort)) != len(binding.cohort) or self.client not in binding.cohort:
            raise CipherError(f"{self.client} does not stand once in a cohort of different names: {binding.cohort}")
        known = self._pinned({name: cards.get(name, "") for name in names})
        return {name: pair_seed(self._private, self.client, name, public, binding) for name, public in known.items()}

    def _pinned(self, cards: Mapping[str, str]) -> dict[str, bytes]:
        peers = f"{self.kind}_peers.json"
        pins: dict[str, str] = self._read(peers)
        found: dict[str, bytes] = {}
        for name, card in cards.items():
            tagged, _, shown = card.partition(":")
            try:
                raw = bytes.fromhex(tagged)
            except ValueError:
                raw = b""
            public, tag = raw[:-_TAG_BYTES], raw[-_TAG_BYTES:]
            if not hmac.compare_digest(tag, key_tag(self.key.secret("seal"), name, public)):
                raise CipherError(
                    f"the {self.kind} key of {name} is missing or not authenticated by this federation's key"
                )
            if self.badge is not None:
                self.badge.check_card(name, public, shown)
            if pins.setdefault(name, public.hex()) != public.hex():
                raise CipherError(
                    f"{name} shows another {self.kind} key than before; if its node was set up anew, remove {name} "
                    f"from {self.folder / peers}"
                )
            found[name] = public
        self._write(peers, pins)
        return found


def _write_private(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    with replacing(path) as temporary:
        temporary.touch(0o600)
        temporary.write_bytes(data)
        temporary.chmod(0o600)
