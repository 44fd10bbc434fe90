"""Folder into which photographs are dropped: each is identified once, also over restarts, when it is whole."""

import logging
import threading
import time
from pathlib import Path

from app.cameras.asking import Asking, Counts, digest_of
from app.cameras.settings import WatchedFolder
from app.core.outage import Outage
from app.core.printing import shown
from app.images.decode import UnreadableImageError, file_content
from app.register.errors import ImageRefusedError, RegisterError
from app.register.photos import VehiclePhoto, require_small, take_in
from app.register.records import SeenBy
from models.errors import FedVehicleReidError

_log = logging.getLogger(__name__)
_SUFFIXES = {".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff"}
_POLL, _SETTLED, _STALLED = 0.5, 1.0, 30.0
"""Seconds between looks; without a change until a file is whole; until one that is no image yet will be none."""
State = tuple[int, int, int]
"""Size, time and rights of a file."""


class FolderCamera:
    """A watched folder.

    Args:
        settled, stalled: see `_SETTLED` and `_STALLED`.
    """

    def __init__(
        self, camera: WatchedFolder, asking: Asking, *, settled: float = _SETTLED, stalled: float = _STALLED
    ) -> None:
        self.camera, self.asking = camera, asking
        self.counts = Counts()
        self._settled, self._stalled = settled, stalled
        self._changed: dict[Path, tuple[State, float]] = {}  # when a file last changed, by time.monotonic()
        self._done: dict[Path, State] = {}

    def run(self, stopped: threading.Event) -> None:
        """Watch until it is stopped."""
        outage = Outage(f"camera {self.camera.name}", _log, "it is tried again", 1.0)
        while not stopped.wait(outage.pause or _POLL):
            try:
                self.look(stopped)
                outage.over()
            except (FedVehicleReidError, OSError) as error:
                self.counts.outages += not outage.pause
                outage.failed(error)

    def look(self, stopped: threading.Event) -> None:
        """Identify the photographs that are whole and were not yet identified, the oldest first.

        Raises OSError if the folder is not there, and what hinders an identification for now."""
        files = self._files()
        for gone in self._done.keys() - files.keys():
            del self._done[gone]
        for gone in self._changed.keys() - files.keys():
            del self._changed[gone]
        for path, state in sorted(files.items(), key=lambda row: (row[1][1], row[0])):
            if stopped.is_set():
                return
            if self._done.get(path) != state and self._waited(path, state) >= self._settled and state[0]:
                self._take(path, state)

    def _files(self) -> dict[Path, State]:
        folder = Path(self.camera.path)
        _ = next(folder.iterdir(), None)  # raises OSError where rglob would find nothing
        found = {}
        for path in folder.rglob("*"):
            if path.suffix.lower() in _SUFFIXES and not path.name.startswith(".") and not path.is_symlink():
                try:
                    stat = path.stat()
                except FileNotFoundError:
                    continue
                if path.is_file():
                    found[path] = stat.st_size, stat.st_mtime_ns, stat.st_mode
        return found

    def _waited(self, path: Path, state: State) -> float:
        """Seconds since a file changed, as far as this process saw."""
        held = self._changed.get(path)
        if held is None or held[0] != state:
            held = self._changed[path] = state, time.monotonic()
        return time.monotonic() - held[1]

    def _take(self, path: Path, state: State) -> None:
        try:
            require_small(path)
            content = file_content(path)
            photo = take_in(content, path.name)
        except FileNotFoundError:
            return
        except (ImageRefusedError, UnreadableImageError, PermissionError) as error:
            if self._waited(path, state) >= self._stalled:  # no longer half of an image on its way
                self._refuse(path, state, error)
            return
        digest, name = digest_of(content), self.camera.name
        if self.asking.taken(name, digest)[0]:
            self.counts.again += 1
        else:
            age = max(0.0, time.time() - state[1] / 1e9)  # a photograph may have waited for this process
            seen_by = SeenBy(name, self.camera.place, since=time.monotonic() - age)
            try:
                self.asking.ask([VehiclePhoto(photo, modality=None)], seen_by, digest)
            except RegisterError as error:
                if error.retry_after is None:
                    self.counts.lost += 1
                    self._refuse(path, state, error)
                    return
                raise
            self.counts.photographs += 1
            self.counts.queries += 1
        self._done[path] = state
        if self.camera.after == "delete":
            path.unlink(missing_ok=True)
            self.asking.forget_taken(name, digest)

    def _refuse(self, path: Path, state: State, error: Exception) -> None:
        self._done[path] = state
        self.counts.refused += 1
        _log.warning("camera %s: %s is left as it is: %s", self.camera.name, shown(path), shown(error))
