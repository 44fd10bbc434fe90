"""A node's pairwise masks: the seeds that it shares with the other clients, and which of them it disclosed."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

from app.federation.locked_records import attempt_name
from app.federation.peer_keys import PeerKeys
from app.federation.round_request import RoundRequest
from strategies import messages as m
from strategies.ciphers.binding import Binding
from strategies.ciphers.cipher import CipherError
from strategies.ciphers.limits import MIN_MASKED
from strategies.ciphers.masks import disclosure_purpose


class MaskStore(PeerKeys):
    """Seeds of the masks that a client shares with the others.

    At most one attempt of a run is open for disclosures: the latest masked one, until the next training or final
    message, which brings its sum. The records are `mask_used.json`, `mask_open.json` and `mask_disclosed.json`.
    """

    kind = "mask"

    @property
    def shown(self) -> dict[str, str]:
        """The node's own part of what the other clients get."""
        return {m.MASK_CARD: self.card}

    def seeds(self, binding: Binding, cards: Mapping[str, str]) -> dict[str, bytes]:
        """The seed shared with each other client of the cohort. Raises CipherError naming a client whose card is
        missing, forged, or another than before, or if the cohort is too small to hide anybody."""
        with self._locked():
            return self._seeds(binding, cards)

    def begin_payload(self, binding: Binding, request: RoundRequest) -> tuple[Binding, dict[str, bytes]]:
        """The binding, and `begin`."""
        return binding, self.begin(binding, request.mask_cards)

    def begin(self, binding: Binding, cards: Mapping[str, str]) -> dict[str, bytes]:
        """`seeds` for one payload, once an attempt: two payloads under one mask would show their difference.

        From now on no earlier attempt of the run is disclosed."""
        attempt = attempt_name(binding)
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
        attempt = attempt_name(binding)
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
        return self._pair_seeds(binding, cards, [name for name in binding.cohort if name != self.client])

    def _used(self) -> dict[str, str]:
        """Masked attempts with their cohorts; an earlier version stored no cohorts."""
        found: Any = self._read("mask_used.json")
        return dict.fromkeys(found, "") if isinstance(found, list) else dict(found)


def _cohort(binding: Binding) -> str:
    """Digest of the cohort of a masked payload, beside the attempt."""
    return hashlib.sha256(json.dumps(binding.fields(), sort_keys=True).encode()).hexdigest()[:16]
