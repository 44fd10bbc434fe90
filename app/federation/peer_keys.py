"""A node's X25519 key for what it shares with single clients, and the pinned keys of the other clients."""

import hmac
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Protocol

from filelock import FileLock

from app.core.files import replacing
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


class PeerKeys:
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

    kind: str
    """Begin of the names of the files, and the name of the key in messages."""

    def __init__(self, folder: Path, client: str, key: FederationKey, badge: Badge | None = None) -> None:
        self.folder = folder
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
        self._public = public
        self.card = (public + key_tag(key.secret("seal"), client, public)).hex()
        if badge is not None:
            self.card += f":{badge.card(public)}"

    def _pair_seeds(
        self, binding: Binding, cards: Mapping[str, str], names: Iterable[str], purpose: str = ""
    ) -> dict[str, bytes]:
        """The seed shared with each of `names` for an attempt; with itself, too. Raises CipherError naming a client
        whose card is missing, forged, or another than before."""
        if len(set(binding.cohort)) != len(binding.cohort) or self.client not in binding.cohort:
            raise CipherError(f"{self.client} does not stand once in a cohort of different names: {binding.cohort}")
        others = {name: cards.get(name, "") for name in names if name != self.client}
        known = self._pinned(others) | {self.client: self._public}
        return {name: pair_seed(self._private, self.client, name, known[name], binding, purpose) for name in names}

    def _locked(self) -> FileLock:
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        return FileLock(self.folder / f".{self.kind}.lock", fallback_to_soft=False)

    def _read(self, name: str) -> Any:
        path = self.folder / name
        try:
            return json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return {}
        except ValueError as error:
            raise CipherError(f"{path} is damaged, and no {self.kind} is used without it: {error}") from error

    def _write(self, name: str, content: Any) -> None:
        with replacing(self.folder / name) as temporary:
            temporary.write_text(json.dumps(content, indent=1), encoding="utf-8")

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


def attempt_name(binding: Binding) -> str:
    """Of an attempt in the records."""
    return f"{binding.run_key}/{binding.server_round}/{binding.attempt}/{binding.nonce}"


def _write_private(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    with replacing(path) as temporary:
        temporary.touch(0o600)
        temporary.write_bytes(data)
        temporary.chmod(0o600)
