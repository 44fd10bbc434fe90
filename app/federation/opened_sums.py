"""Record of the encrypted sums that a node opens, written before each is opened.

The reply to a training message reveals whether a sum could be used, and the answer depends on the secret key: a server
that forges sums learns one bit of the key from each. So a node opens one sum a version, and few unusable ones, over
restarts and over runs.
"""

import hashlib
import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock

from app.core.files import replacing
from models.errors import FedVehicleReidError

MOST_UNUSABLE_OF_A_RUN = 3
MOST_UNUSABLE_OF_A_KEY = 16
"""Over all runs; more than honest runs need, and far fewer than the 6,492 bits of a ternary secret of degree 4,096."""

_log = logging.getLogger("flwr")
_FILE = "opened_sums.json"
_OPENING, _USED, _UNUSABLE = "opening", "used", "unusable"
_Sums = dict[str, dict[str, str]]
"""Version of the global model -> digest of a sum -> its outcome."""


class RefusedSumError(FedVehicleReidError, RuntimeError):
    """A sum that this node does not open; the message gives the reason, for the site's own log."""


class OpenedSumsError(FedVehicleReidError, RuntimeError):
    """The record cannot be read; the message names the file and the remedy."""


class OpenedSums:
    """Sums of one run by version and digest, beside those of every other run under the same key.

    Args:
        folder: of the node, over all its runs; holds `opened_sums.json`.
        key_id: of the federation key.
        run_key: the run that sums are of.
    """

    def __init__(self, folder: Path, key_id: str, run_key: str) -> None:
        self.path = folder / _FILE
        self.key_id = key_id
        self.run_key = run_key

    def admit(self, version: int, digest: str) -> None:
        """Record that this sum is about to be opened; it counts as unusable until `used` is called.

        A sum that was being opened when the process ended, or that was used, may be opened again: the answer is the
        same. Raises RefusedSumError for a second sum of a version, for a sum that was unusable before, and for any sum
        after too many unusable ones; OpenedSumsError if the record cannot be read."""
        with self._changing() as runs:
            sums = runs.setdefault(self.run_key, {}).setdefault(str(version), {})
            if sums.get(digest) == _UNUSABLE:
                raise RefusedSumError(f"this sum of round {version} was unusable before")
            if digest in sums:
                return
            if _USED in sums.values():
                raise RefusedSumError(f"another sum of round {version} was used already; a version has one sum")
            self._raise_if_too_many(runs)
            sums[digest] = _OPENING

    def used(self, version: int, digest: str) -> None:
        """Record that the sum yields a model. Call it before the model is stored: a used sum may be opened again."""
        self._settle(version, digest, _USED)

    def unusable(self, version: int, digest: str) -> None:
        """Record that the sum yields no model; a sum that was used before stays used, whatever happened this time.

        From half of the limit on the site's log warns: one client that poisons sums exhausts it for all."""
        total = self._settle(version, digest, _UNUSABLE)
        if total >= MOST_UNUSABLE_OF_A_KEY // 2:
            _log.warning(
                "%d sums under the federation key %s could not be used, of at most %d over all runs; after that this "
                "node opens none under the key. Find out which site or server makes them before you rotate the key",
                total,
                self.key_id,
                MOST_UNUSABLE_OF_A_KEY,
            )

    def _settle(self, version: int, digest: str, outcome: str) -> int:
        """Number of unusable sums under this key so far."""
        with self._changing() as runs:
            sums = runs.setdefault(self.run_key, {}).setdefault(str(version), {})
            if sums.get(digest) != _USED:
                sums[digest] = outcome
            return sum(_unusable(sums) for sums in runs.values())

    def _raise_if_too_many(self, runs: dict[str, _Sums]) -> None:
        counts = {run_key: _unusable(sums) for run_key, sums in runs.items()}
        if counts[self.run_key] >= MOST_UNUSABLE_OF_A_RUN:
            raise RefusedSumError(
                f"{counts[self.run_key]} sums of run {self.run_key} could not be used; this node opens no more of it. "
                "Find out why (diverging training, another version of the program, a server that forges sums), and "
                "start a new run"
            )
        if (total := sum(counts.values())) >= MOST_UNUSABLE_OF_A_KEY:
            raise RefusedSumError(
                f"{total} sums under the federation key {self.key_id} could not be used, over all runs; this node "
                "opens no more of them, since each tells the server something about the key. Rotate the federation key "
                "(docs/deployment.md, key rotation)"
            )

    @contextmanager
    def _changing(self) -> Iterator[dict[str, _Sums]]:
        """The runs under this key; written and synced to disk if the block changes them and ends without an error."""
        self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with FileLock(self.path.with_name(f".{_FILE}.lock"), fallback_to_soft=False):
            before = self._read()
            keys = json.loads(before)
            yield keys.setdefault(self.key_id, {})
            after = json.dumps(keys, sort_keys=True)
            if after != before:
                with replacing(self.path) as temporary:
                    temporary.touch(mode=0o600)
                    temporary.write_text(after, encoding="utf-8")

    def _read(self) -> str:
        """The record as JSON. A damaged one does not count as empty: that would reset the count."""
        try:
            found = json.loads(self.path.read_text(encoding="utf-8"))
            if not _is_record(found):
                raise ValueError("it has another form")
        except FileNotFoundError:
            return "{}"
        except (OSError, ValueError, RecursionError) as error:
            raise OpenedSumsError(
                f"{self.path} cannot be read ({error}); it counts the sums that this node could not use. "
                "Restore it, or rotate the federation key and delete it"
            ) from error
        return json.dumps(found, sort_keys=True)


def sum_digest(payload: bytes | memoryview, coefficient_sum: float, before: str) -> str:
    """Digest of everything that decides whether a sum can be used: its bytes, the sum of coefficients that divides it,
    and the digest of the model `before` that it is added to."""
    total = hashlib.sha256(json.dumps([coefficient_sum.hex(), before]).encode())
    total.update(hashlib.sha256(payload).digest())
    return total.hexdigest()[:32]


def _unusable(sums: _Sums) -> int:
    return sum(outcome != _USED for outcomes in sums.values() for outcome in outcomes.values())


def _is_record(found: object) -> bool:
    """Whether it is key id -> run key -> version -> digest -> outcome."""
    level = [found]
    for _ in range(4):
        if not all(isinstance(each, dict) for each in level):
            return False
        level = [inner for each in level if isinstance(each, dict) for inner in each.values()]
    return all(outcome in (_OPENING, _USED, _UNUSABLE) for outcome in level)
