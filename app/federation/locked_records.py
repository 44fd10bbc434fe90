"""Records of a node as JSON files, read and changed under one lock, across its processes and threads."""

import json
from pathlib import Path
from typing import Any

from filelock import FileLock

from app.core.files import replacing
from strategies.ciphers.binding import Binding
from strategies.ciphers.cipher import CipherError


class LockedRecords:
    """Base of the records that a node keeps of what it gave to other clients.

    Args:
        folder: of the node.
    """

    kind: str
    """Begin of the names of the files, and the name of their subject in messages."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

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


def attempt_name(binding: Binding) -> str:
    """Of an attempt in the records."""
    return f"{binding.run_key}/{binding.server_round}/{binding.attempt}/{binding.nonce}"
