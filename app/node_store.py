"""What stays on a node: private arrays, optimiser moments, and the global models it holds.

One safetensors file a kind and round, written to a temporary name and renamed: a crash at any moment leaves the old or
the new state. The two latest rounds are kept, so that a round can be run again after the server was resumed.
"""

import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from app.results import replacing

Arrays = Mapping[str, NDArray[Any]]
KEPT_ROUNDS = 2
_NAME = re.compile(r"(?P<kind>[a-z]+)-(?P<round>\d{6})\.safetensors")


class NodeStoreError(RuntimeError):
    """A file of the store cannot be used; the message names it."""


class NodeStore:
    """Arrays by kind ("global", "private", "local") and round.

    Args:
        folder: made at the first write, readable by its owner only: private arrays tell about vehicles.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def rounds(self, kind: str) -> list[int]:
        """Rounds of which this kind is held, ascending."""
        if not self.folder.is_dir():
            return []
        found = (_NAME.fullmatch(path.name) for path in self.folder.iterdir())
        return sorted(int(match["round"]) for match in found if match and match["kind"] == kind)

    def write(self, kind: str, server_round: int, arrays: Arrays, metadata: Mapping[str, str]) -> None:
        """Keep `arrays`; older rounds than the last two go. Raises OSError, leaving the old state, on a full disk."""
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        data = save({name: np.asarray(array, order="C") for name, array in arrays.items()}, dict(metadata))
        with replacing(self._path(kind, server_round)) as temporary:
            temporary.write_bytes(data)
            temporary.chmod(0o600)
        self.drop_after(kind, server_round)
        for old in self.rounds(kind)[:-KEPT_ROUNDS]:
            self.drop(kind, old)

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

    def drop(self, kind: str, server_round: int) -> None:
        """Forget one round."""
        self._path(kind, server_round).unlink(missing_ok=True)

    def drop_after(self, kind: str, server_round: int) -> None:
        """Forget later rounds: they belong to a run that was cut off and is run again."""
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
