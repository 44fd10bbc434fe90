"""Records of the shares that a node dealt and answered for, under `privacy.cipher=kahe`.

A node seals shares to the keys in the authority's statements about the cohort, and to no key that the server or a
client tells. It deals them once for an attempt and answers one question about them, over restarts and in whichever of
its processes. Both are on disk before anything leaves. It keeps no secret of an attempt: its own share, and those that
others dealt to it, come with the question.
"""

import hashlib
import json
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from filelock import FileLock

from app.core.files import replacing
from app.federation.restored import require_new
from strategies.ciphers.binding import Binding
from strategies.ciphers.cipher import CipherError
from strategies.share_keys import ShareKeys

_ATTEMPTS = "share_attempts.json"
OPEN = "share_open.json"


class ShareStore:
    """Seeds for sealing shares to the clients of a cohort, and the records of attempts, read and changed under one lock
    across the node's processes and threads.

    At most one attempt of a run is open for a question: the latest one, until the next training or final message.
    `share_attempts.json` holds each attempt with its cohort and the digest of the answered question, "" before it.

    Args:
        folder: of the node.
        keys: its own share key, with the rules for those of the others.
        clock: seconds since 1970.
    """

    def __init__(self, folder: Path, keys: ShareKeys, clock: Callable[[], float] = time.time) -> None:
        self.folder = folder
        self.keys = keys
        self.clock = clock

    def begin(self, binding: Binding, statements: Iterable[str]) -> tuple[Binding, dict[str, bytes]]:
        """The binding of one payload with the digest of the cohort's share keys, and the seeds shared with the cohort,
        itself among them: once an attempt.

        From now on no question about an earlier attempt of the run is answered. Raises ShareKeyError naming a client
        whose statement is missing or not valid, CipherError for an attempt that was begun before, or may have been
        before this node was restored from a backup."""
        require_new(self.folder, self.keys.site, binding.nonce, self.clock())
        binding, seeds = self._seeds(binding, statements)
        attempt = _name(binding)
        with self._locked():
            attempts = self._read(_ATTEMPTS)
            if attempt in attempts:
                raise CipherError("shares were dealt for this attempt already; two payloads of one attempt never leave")
            self._write(_ATTEMPTS, attempts | {attempt: [_cohort(binding), ""]})
            self._write(OPEN, self._read(OPEN) | {binding.run_key: attempt})
        return binding, seeds

    def close(self, run_key: str) -> None:
        """Answer no more questions about attempts of this run so far: the server has gone on."""
        with self._locked():
            opened = self._read(OPEN)
            if opened.pop(run_key, None) is not None:
                self._write(OPEN, opened)

    def answer(
        self,
        binding: Binding,
        statements: Iterable[str],
        clients: Sequence[str],
        question: bytes,
        share_sum: Callable[[Binding, Mapping[str, bytes]], bytes],
    ) -> bytes:
        """`share_sum` of binding and seeds, for the one question of an attempt.

        Raises CipherError for an attempt that this node dealt nothing for, one that is over, or another question than
        the one before: sums over two sets would open the difference."""
        binding, seeds = self._seeds(binding, statements)
        attempt, digest = _name(binding), _question(clients, question)
        with self._locked():
            attempts: dict[str, Any] = self._read(_ATTEMPTS)
            cohort, answered = attempts.get(attempt, ("", ""))
            if cohort != _cohort(binding):
                raise CipherError(f"{self.keys.site} dealt no shares for this attempt with this cohort")
            if self._read(OPEN).get(binding.run_key) != attempt:
                raise CipherError("shares of an attempt are not summed once the server has gone on")
            if answered not in ("", digest):
                raise CipherError(f"{self.keys.site} has answered another question about this attempt")
            self._write(_ATTEMPTS, attempts | {attempt: [cohort, digest]})
        return share_sum(binding, seeds)

    def _seeds(self, binding: Binding, statements: Iterable[str]) -> tuple[Binding, dict[str, bytes]]:
        members = self.keys.members(binding.cohort, statements)
        bound = replace(binding, members=members.digest)
        return bound, self.keys.seeds(members, _about(bound))

    def _locked(self) -> FileLock:
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        return FileLock(self.folder / ".share.lock", fallback_to_soft=False)

    def _read(self, name: str) -> Any:
        path = self.folder / name
        try:
            return json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return {}
        except ValueError as error:
            raise CipherError(f"{path} is damaged, and no share is used without it: {error}") from error

    def _write(self, name: str, content: Any) -> None:
        with replacing(self.folder / name) as temporary:
            temporary.write_text(json.dumps(content, indent=1), encoding="utf-8")


def _name(binding: Binding) -> str:
    """Of an attempt in the records."""
    return f"{binding.run_key}/{binding.server_round}/{binding.attempt}/{binding.nonce}"


def _about(binding: Binding) -> bytes:
    """The cohort, its share keys, and everything else that identifies the attempt."""
    return json.dumps([binding.fields(), sorted(binding.cohort)], sort_keys=True).encode()


def _cohort(binding: Binding) -> str:
    return hashlib.sha256(_about(binding)).hexdigest()


def _question(clients: Sequence[str], question: bytes) -> str:
    about = hashlib.sha256(json.dumps(sorted(clients)).encode())
    about.update(hashlib.sha256(question).digest())
    return about.hexdigest()
