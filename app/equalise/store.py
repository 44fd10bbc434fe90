"""The folder of enhanced images: each written once under the hash of its bytes, with the records that name them."""

import contextlib
import hashlib
import json
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from torch import Tensor

from app.core.files import replacing

_QUALITY = 92  # of the JPEG files
_DIGITS = 32  # hexadecimal, of a file's name
_ABANDONED_SECONDS = 3600.0  # of drafts whose process was killed


class EnhancedFiles:
    """A folder for its owner only, created when it is first needed. It may be deleted at any time: its files are
    computed again.

    Raises OSError where it cannot be written."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @contextmanager
    def drafts(self) -> Iterator[Path]:
        """A folder for images of which some are kept; the others are gone afterwards."""
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        for old in self.folder.glob(".drafts-*"):
            with contextlib.suppress(OSError):  # another process's, which has just ended
                if time.time() - old.stat().st_mtime > _ABANDONED_SECONDS:
                    shutil.rmtree(old)
        with tempfile.TemporaryDirectory(prefix=".drafts-", dir=self.folder) as drafts:
            yield Path(drafts)

    def require_room(self) -> None:
        """Make the folder and write a file into it. Raises OSError where that cannot be done."""
        with self.drafts() as drafts:
            (drafts / "room").write_bytes(bytes(4096))

    def keep(self, draft: Path) -> str:
        """Move a draft to its place; the name of its file, relative to the folder."""
        name = f"{hashlib.sha256(draft.read_bytes()).hexdigest()[:_DIGITS]}.jpg"
        place = self.folder / name[:2]
        place.mkdir(exist_ok=True, mode=0o700)
        draft.replace(place / name)
        return f"{name[:2]}/{name}"

    def path(self, name: str) -> Path:
        """Where the file of this name lies."""
        return self.folder / name

    def record(self, key: str) -> dict[str, Any] | None:
        """The record under this key; None if it is missing or damaged, or a file that it names is missing."""
        try:
            found = json.loads((self.folder / key / "record.json").read_text(encoding="utf-8"))
            names = [row[part] for row in found["kept"] for part in ("file", "plate_file") if row[part]]
        except (OSError, ValueError, KeyError, TypeError):
            return None
        return found if all(self._is_whole(name) for name in names) else None

    def _is_whole(self, name: str) -> bool:
        """Whether a file's bytes are those of its name: a power cut may have left an empty one."""
        try:
            data = (self.folder / name).read_bytes()
        except OSError:
            return False
        return Path(name).stem == hashlib.sha256(data).hexdigest()[:_DIGITS]

    def write_record(self, key: str, record: dict[str, Any]) -> Path:
        """Write a record whole or not at all; its folder, which has room for more."""
        place = self.folder / key
        place.mkdir(parents=True, exist_ok=True, mode=0o700)
        with replacing(place / "record.json") as temporary:
            temporary.write_text(json.dumps(record, indent=1), encoding="utf-8")
        return place


def write_draft(image: Tensor, path: Path) -> None:
    """Write an image (3, H, W) uint8, R, G, B, as JPEG. Raises OSError where it cannot be written."""
    blue_first = np.ascontiguousarray(image.numpy().transpose(1, 2, 0)[:, :, ::-1])
    path.write_bytes(cv2.imencode(".jpg", blue_first, [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])[1].tobytes())
