"""Node store: private arrays, optimiser moments, and global models of a node.

One safetensors file a kind and round, written to a temporary name and renamed: a crash at any moment leaves the old or
the new state. The two latest rounds are kept, so that a round can be run again after the server was resumed.
"""

import contextlib
import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from app.core.files import replacing, saving
from app.core.shared_files import SharedFiles
from models.errors import FedVehicleReidError

Arrays = Mapping[str, NDArray[Any]]
Order = tuple[int, int]
"""Start of the server, counted over resumes, and message since then."""
KEPT_ROUNDS = 2
_ATTEMPT = "attempt.json"
_NAME = re.compile(r"(?P<kind>[a-z]+)-(?P<round>\d{6})\.safetensors")


class NodeStoreError(FedVehicleReidError, RuntimeError):
    """A file of the store cannot be used; the message names it."""


class OutdatedAttemptError(NodeStoreError):
    """A later attempt has begun on this node; the result of an earlier one is dropped."""


class NodeStore:
    """Arrays by kind ("global", "private", "local", "carried", "personalised", "alone") and round.

    Args:
        folder: created at the first write, readable by its owner only: private arrays reveal information about
            vehicles.
        shared: one copy of files with a "digest" that other nodes hold as well; for a simulation.
    """

    def __init__(self, folder: Path, shared: SharedFiles | None = None) -> None:
        self.folder = folder
        self.shared = shared

    def rounds(self, kind: str) -> list[int]:
        """Stored rounds of this kind, ascending."""
        if not self.folder.is_dir():
            return []
        found = (_NAME.fullmatch(path.name) for path in self.folder.iterdir())
        return sorted(int(match["round"]) for match in found if match and match["kind"] == kind)

    def write(self, kind: str, server_round: int, arrays: Arrays, metadata: Mapping[str, str]) -> None:
        """Keep `arrays`; older rounds than the last two go. Raises OSError, leaving the old state, on a full disk."""
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        path = self._path(kind, server_round)
        shared = self.shared if "digest" in metadata else None
        name = hashlib.sha256(json.dumps([path.name, sorted(metadata.items())]).encode()).hexdigest()[:32]
        if shared is None or not shared.link(name, path):
            with saving(path) as temporary:
                temporary.touch(mode=0o600)
                contiguous = {each: np.asarray(array, order="C") for each, array in arrays.items()}
                save_file(contiguous, temporary, dict(metadata))
            if shared is not None:
                shared.add(name, path)
        self.drop_after(kind, server_round)
        self.drop_before(kind, KEPT_ROUNDS)
        if shared is not None:
            shared.prune()

    def read(self, kind: str, server_round: int) -> tuple[dict[str, NDArray[Any]], dict[str, str]]:
        """Arrays and metadata. Raises NodeStoreError naming the file if it is missing or damaged."""
        path = self._path(kind, server_round)
        try:
            with safe_open(path, framework="numpy") as file:
                return {name: file.get_tensor(name) for name in file.keys()}, dict(file.metadata() or {})  # noqa: SIM118
        except (OSError, SafetensorError) as error:
            raise NodeStoreError(f"cannot read {path}: {error}") from error

    def metadata(self, kind: str, server_round: int) -> dict[str, str]:
        """Metadata alone, without reading the arrays. Raises NodeStoreError as `read` does."""
        path = self._path(kind, server_round)
        try:
            with safe_open(path, framework="numpy") as file:
                return dict(file.metadata() or {})
        except (OSError, SafetensorError) as error:
            raise NodeStoreError(f"cannot read {path}: {error}") from error

    def file_number(self, kind: str, server_round: int) -> tuple[int, int]:
        """Device and number of the file, equal for nodes that share it. Raises FileNotFoundError without one."""
        about = self._path(kind, server_round).stat()
        return about.st_dev, about.st_ino

    def begin(self, attempt: str, order: Order) -> None:
        """Allow this attempt at a round to write, and no earlier one: a process that hung beyond its deadline would
        write its arrays beside those of a later round.

        Args:
            order: of the server's message, by its own count and no clock.

        Raises OutdatedAttemptError if a later one has begun."""
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        with self._locked():
            latest = self._attempt()
            if latest and order < latest[1]:
                raise OutdatedAttemptError(f"{self.folder}: attempt {latest[0]} is later than {attempt}")
            with replacing(self.folder / _ATTEMPT) as temporary:
                temporary.write_text(json.dumps([attempt, order]), encoding="utf-8")

    @contextlib.contextmanager
    def keeping(self, attempt: str) -> Iterator[None]:
        """Block in which an attempt writes its results. Raises OutdatedAttemptError if another one has begun since."""
        with self._locked():
            latest = self._attempt()
            if latest is None or latest[0] != attempt:
                raise OutdatedAttemptError(f"{self.folder}: attempt {latest and latest[0]} has begun since {attempt}")
            yield

    def _attempt(self) -> tuple[str, Order] | None:
        """The latest attempt begun, and its order."""
        try:
            attempt, (start, number) = json.loads((self.folder / _ATTEMPT).read_text(encoding="utf-8"))
            return str(attempt), (int(start), int(number))
        except (OSError, ValueError, TypeError):  # none, a file left empty by a power cut, or one of an older version
            return None

    def _locked(self) -> FileLock:
        return FileLock(self.folder / ".lock", fallback_to_soft=False)  # released with the process, however it ends

    def drop(self, kind: str, server_round: int) -> None:
        """Delete one round."""
        self._path(kind, server_round).unlink(missing_ok=True)

    def drop_damaged(self, kind: str, server_round: int) -> None:
        """Delete one round whose file is damaged, so that no node takes this file again."""
        if self.shared is not None:
            self.shared.forget(self._path(kind, server_round))
        self.drop(kind, server_round)

    def drop_before(self, kind: str, kept: int) -> None:
        """Delete all but the latest rounds of a kind."""
        for old in self.rounds(kind)[:-kept]:
            self.drop(kind, old)

    def drop_after(self, kind: str, server_round: int) -> None:
        """Delete later rounds: they belong to a run that was cut off and is repeated."""
        for later in self.rounds(kind):
            if later > server_round:
                self.drop(kind, later)

    def _path(self, kind: str, server_round: int) -> Path:
        return self.folder / f"{kind}-{server_round:06d}.safetensors"


def digest_of(arrays: Arrays) -> str:
    """Sixteen hexadecimal digits over names, shapes and values."""
    total = hashlib.sha256()
    for name in sorted(arrays):
        array = np.ascontiguousarray(arrays[name])
        total.update(json.dumps([name, array.dtype.str, array.shape]).encode())
        total.update(array.data)
    return total.hexdigest()[:16]
