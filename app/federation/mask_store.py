"""A node's key for pairwise masks, and the pinned keys of the other clients."""

import hashlib
import hmac
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from filelock import FileLock

from app.core.files import replacing
from strategies.ciphers.binding import Binding
from strategies.ciphers.cipher import CipherError
from strategies.ciphers.keys import FederationKey
from strategies.ciphers.limits import MIN_MASKED
from strategies.ciphers.masks import disclosure_purpose, key_tag, new_mask_key, pair_seed, public_mask_key

_TAG_BYTES = 32


class Badge(Protocol):
    """Binds mask keys to certified sites."""

    def card(self, public: bytes) -> str:
        """Proof, without a colon, that a mask key is this site's own."""

    def check_card(self, name: str, public: bytes, card: str) -> None:
        """Raise CipherError unless the mask key is that of the site of this name."""


class MaskStore:
    """Seeds of the masks that a client shares with the others.

    A client's card is its public key with a tag under the federation key, so that the server cannot substitute its own.
    The first card of a client is pinned: another one under its name is refused.

    At most one attempt of a run is open for disclosures: the latest masked one, until the next training or final
    message, which brings its sum. All files are read and changed under one lock, across the processes and threads of
    the node, and before any reply.

    Args:
        folder: of the node; holds `mask.key`, `mask_peers.json`, `mask_used.json`, `mask_open.json` and
            `mask_disclosed.json`.
        client: the node's own name.
        key: of the federation.
        badge: requires a certified site's signature on each card: without it, a holder of the federation key can
            authenticate clients that do not exist. None if sites have no certificates.
    """

    def __init__(self, folder: Path, client: str, key: FederationKey, badge: Badge | None = None) -> None:
        self.folder = folder
        self.client = client
        self.key = key
        self.badge = badge
        path = folder / "mask.key"
        with self._locked():
            if not path.exists():
                _write_private(path, new_mask_key())
        self._private = path.read_bytes()
        try:
            public = public_mask_key(self._private)
        except ValueError as error:
            raise CipherError(f"mask key {path} is damaged: {error}") from error
        self.card = (public + key_tag(key.secret("seal"), client, public)).hex()
        if badge is not None:
            self.card += f":{badge.card(public)}"

    def seeds(self, binding: Binding, cards: Mapping[str, str]) -> dict[str, bytes]:
        """The seed shared with each other client of the cohort. Raises CipherError naming a client whose card is
        missing, forged, or another than before, or if the cohort is too small to hide anybody."""
        with self._locked():
            return self._seeds(binding, cards)

    def begin(self, binding: Binding, cards: Mapping[str, str]) -> dict[str, bytes]:
        """`seeds` for one payload, once an attempt: two payloads under one mask would show their difference.

        From now on no earlier attempt of the run is disclosed."""
        attempt = _attempt(binding)
        with self._locked():
            used = self._used()
            if attempt in used:
                raise CipherError("this attempt was masked already; a payload is not masked twice alike")
            seeds = self._seeds(binding, cards)
            self._write("mask_used.json", used | {attempt: _cohort(binding)})
            self._write("mask_open.json", self._read("mask_open.json") | {binding.run_key: attempt})
        return seeds

    def close(self, run_key: str) -> None:
        """Close all attempts of this run so far for disclosures: the server has gone on, with a sum or without."""
        with self._locked():
            opened = self._read("mask_open.json")
            if opened.pop(run_key, None) is not None:
                self._write("mask_open.json", opened)

    def disclose(self, binding: Binding, cards: Mapping[str, str], missing: Sequence[str]) -> bytes:
        """The seeds shared with clients that dropped out of this attempt, sealed for the holders of the federation key.

        Raises CipherError if fewer than two clients would be left in the sum, if this client is among the missing, if
        it masked nothing for this attempt and cohort, if the server has gone on since, or if other clients were named
        as missing in this attempt before: two answers together could unmask a client."""
        names = set(missing)
        if not names <= set(binding.cohort) or self.client in names or not names:
            raise CipherError(f"cannot disclose masks with {sorted(names)}")
        if len(binding.cohort) - len(names) < 2:
            raise CipherError("masks are not removed from a sum of one client")
        attempt = _attempt(binding)
        with self._locked():
            if self._used().get(attempt) != _cohort(binding):
                raise CipherError(f"{self.client} masked nothing for this attempt with this cohort")
            if self._read("mask_open.json").get(binding.run_key) != attempt:
                raise CipherError("masks of an attempt are not disclosed once the server has gone on")
            before: dict[str, list[str]] = self._read("mask_disclosed.json")
            if before.setdefault(attempt, sorted(names)) != sorted(names):
                raise CipherError(f"masks with {before[attempt]} were disclosed for this attempt already")
            seeds = self._seeds(binding, cards)
            self._write("mask_disclosed.json", before)
        disclosed = json.dumps({name: seeds[name].hex() for name in sorted(names)}).encode()
        return self.key.seal(disclosed, disclosure_purpose(binding.fields(), self.client))

    def _seeds(self, binding: Binding, cards: Mapping[str, str]) -> dict[str, bytes]:
        if len(binding.cohort) < MIN_MASKED:
            raise CipherError(
                f"pairwise masks need {MIN_MASKED} clients in a round, this one has {len(binding.cohort)}"
            )
        if len(set(binding.cohort)) != len(binding.cohort) or self.client not in binding.cohort:
            raise CipherError(f"{self.client} does not stand once in a cohort of different names: {binding.cohort}")
        peers = [name for name in binding.cohort if name != self.client]
        known = self._pinned({name: cards.get(name, "") for name in peers})
        return {name: pair_seed(self._private, self.client, name, known[name], binding) for name in peers}

    def _used(self) -> dict[str, str]:
        """Masked attempts with their cohorts; an earlier version stored no cohorts."""
        found: Any = self._read("mask_used.json")
        return dict.fromkeys(found, "") if isinstance(found, list) else dict(found)

    def _locked(self) -> FileLock:
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        return FileLock(self.folder / ".mask.lock", fallback_to_soft=False)

    def _read(self, name: str) -> Any:
        path = self.folder / name
        try:
            return json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return {}
        except ValueError as error:
            raise CipherError(f"{path} is damaged, and no mask is used without it: {error}") from error

    def _write(self, name: str, content: Any) -> None:
        with replacing(self.folder / name) as temporary:
            temporary.write_text(json.dumps(content, indent=1), encoding="utf-8")

    def _pinned(self, cards: Mapping[str, str]) -> dict[str, bytes]:
        pins: dict[str, str] = self._read("mask_peers.json")
        found: dict[str, bytes] = {}
        for name, card in cards.items():
            tagged, _, shown = card.partition(":")
            try:
                raw = bytes.fromhex(tagged)
            except ValueError:
                raw = b""
            public, tag = raw[:-_TAG_BYTES], raw[-_TAG_BYTES:]
            if not hmac.compare_digest(tag, key_tag(self.key.secret("seal"), name, public)):
                raise CipherError(f"the mask key of {name} is missing or not authenticated by this federation's key")
            if self.badge is not None:
                self.badge.check_card(name, public, shown)
            if pins.setdefault(name, public.hex()) != public.hex():
                raise CipherError(
                    f"{name} shows another mask key than before; if its node was set up anew, remove {name} from "
                    f"{self.folder / 'mask_peers.json'}"
                )
            found[name] = public
        self._write("mask_peers.json", pins)
        return found


def _attempt(binding: Binding) -> str:
    return f"{binding.run_key}/{binding.server_round}/{binding.attempt}/{binding.nonce}"


def _cohort(binding: Binding) -> str:
    """Digest of the cohort of a masked payload, beside the attempt."""
    return hashlib.sha256(json.dumps(binding.fields(), sort_keys=True).encode()).hexdigest()[:16]


def _write_private(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    with replacing(path) as temporary:
        temporary.touch(0o600)
        temporary.write_bytes(data)
        temporary.chmod(0o600)
