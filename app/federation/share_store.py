"""Records of the shares that a node dealt and answered for, under `privacy.cipher=kahe`.

A node deals shares once for an attempt and answers one question about them, over restarts and in whichever of its
processes. Both are on disk before anything leaves. It keeps no secret of an attempt: its own share, and those that
others dealt to it, come with the question.
"""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from app.federation.peer_keys import PeerKeys, attempt_name
from strategies.ciphers.binding import Binding
from strategies.ciphers.cipher import CipherError

_ATTEMPTS = "share_attempts.json"
_OPEN = "share_open.json"


class ShareStore(PeerKeys):
    """Seeds for sealing shares to the clients of a cohort, and the records of attempts.

    At most one attempt of a run is open for a question: the latest one, until the next training or final message.
    `share_attempts.json` holds each attempt with its cohort and the digest of the answered question, "" before it.
    """

    kind = "share"

    def begin(self, binding: Binding, cards: Mapping[str, str]) -> dict[str, bytes]:
        """The seeds shared with the clients of the cohort, itself among them, for one payload: once an attempt.

        From now on no question about an earlier attempt of the run is answered."""
        attempt = attempt_name(binding)
        with self._locked():
            attempts = self._read(_ATTEMPTS)
            if attempt in attempts:
                raise CipherError("shares were dealt for this attempt already; two payloads of one attempt never leave")
            seeds = self._pair_seeds(binding, cards, binding.cohort, self.kind)
            self._write(_ATTEMPTS, attempts | {attempt: [_cohort(binding), ""]})
            self._write(_OPEN, self._read(_OPEN) | {binding.run_key: attempt})
        return seeds

    def close(self, run_key: str) -> None:
        """Answer no more questions about attempts of this run so far: the server has gone on."""
        with self._locked():
            opened = self._read(_OPEN)
            if opened.pop(run_key, None) is not None:
                self._write(_OPEN, opened)

    def answer(
        self,
        binding: Binding,
        cards: Mapping[str, str],
        clients: Sequence[str],
        question: bytes,
        share_sum: Callable[[Mapping[str, bytes]], bytes],
    ) -> bytes:
        """`share_sum` of the seeds, for the one question of an attempt.

        Raises CipherError for an attempt that this node dealt nothing for, one that is over, or another question than
        the one before: sums over two sets would open the difference."""
        attempt, digest = attempt_name(binding), _question(clients, question)
        with self._locked():
            attempts: dict[str, Any] = self._read(_ATTEMPTS)
            cohort, answered = attempts.get(attempt, ("", ""))
            if cohort != _cohort(binding):
                raise CipherError(f"{self.client} dealt no shares for this attempt with this cohort")
            if self._read(_OPEN).get(binding.run_key) != attempt:
                raise CipherError("shares of an attempt are not summed once the server has gone on")
            if answered not in ("", digest):
                raise CipherError(f"{self.client} has answered another question about this attempt")
            seeds = self._pair_seeds(binding, cards, binding.cohort, self.kind)
            self._write(_ATTEMPTS, attempts | {attempt: [cohort, digest]})
        return share_sum(seeds)


def _cohort(binding: Binding) -> str:
    """Digest of the cohort and everything else that identifies the attempt."""
    about = json.dumps([binding.fields(), sorted(binding.cohort)], sort_keys=True)
    return hashlib.sha256(about.encode()).hexdigest()


def _question(clients: Sequence[str], question: bytes) -> str:
    about = hashlib.sha256(json.dumps(sorted(clients)).encode())
    about.update(hashlib.sha256(question).digest())
    return about.hexdigest()
