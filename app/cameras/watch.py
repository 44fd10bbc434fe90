"""Watch over all cameras of a site: each in a thread of its own, their queries one after the other."""

import logging
import queue
import threading
from collections.abc import Callable

from filelock import FileLock, Timeout

from app.cameras.asking import Asking, Counts
from app.cameras.folder import FolderCamera
from app.cameras.push import PushCameras, PushServer
from app.cameras.settings import Cameras, Stream
from app.cameras.stream import StreamCamera
from app.cameras.tracks import Track
from app.core.printing import shown
from app.register.errors import RegisterError
from app.register.identification import Answer, Identification
from app.register.records import SeenBy
from models.errors import FedVehicleReidError

_log = logging.getLogger(__name__)
_MOST_WAITING = 16  # vehicles of streams that wait for their query
_AGAIN_SECONDS = 5.0
_END_SECONDS = 15.0  # a camera that does not answer is waited for so long


class Watch:
    """The watch, from now until `stop`, or until all its video files have ended.

    Args:
        first_pause: seconds after a failure of a camera or the register, doubled by each further one.
        answered: called with each vehicle of a stream and its answer.

    Raises RegisterError if another process watches for this register, NoModelError without a network, and
    CamerasFileError for an address that cannot be had."""

    def __init__(
        self,
        identification: Identification,
        cameras: Cameras,
        first_pause: float = 1.0,
        answered: Callable[[Track, Answer], None] | None = None,
    ) -> None:
        self.identification = identification
        self._answered = answered
        self._stopped = threading.Event()
        self._ended = threading.Event()  # no more vehicles come
        self._asking = Asking(identification, self._stopped, first_pause)
        self._waiting: queue.Queue[tuple[Stream, Track]] = queue.Queue(_MOST_WAITING)
        self._lock = FileLock(identification.folder / ".watch.lock", thread_local=False, fallback_to_soft=False)
        try:
            self._lock.acquire(timeout=0)
        except Timeout as error:
            raise RegisterError(f"another process watches cameras for {identification.folder}") from error
        try:
            identification.active_model.current()
            models = identification.folder / "models"
            folders = [FolderCamera(each, self._asking) for each in cameras.folder]
            self._streams = [StreamCamera(each, models, self._asker(each), first_pause) for each in cameras.stream]
            self._push = PushCameras(cameras.push, self._asking)
            self.server = PushServer(self._push, cameras.server) if cameras.push else None
        except BaseException:
            self._lock.release()
            raise
        self._cameras: list[FolderCamera | StreamCamera] = [*folders, *self._streams]
        runs = [(each.camera.name, each.run) for each in self._cameras]
        self._threads = [threading.Thread(target=self._run, args=run, name=run[0], daemon=True) for run in runs]
        self._queries = threading.Thread(target=self._answer, name="queries", daemon=True)
        for thread in (*self._threads, self._queries):
            thread.start()

    def is_over(self) -> bool:
        """Whether nothing is left to watch: there were video files alone, and they have ended."""
        return self.server is None and not any(thread.is_alive() for thread in self._threads)

    def join(self, seconds: float) -> None:
        """Wait until it is over, for so long at most."""
        for thread in self._threads:
            thread.join(seconds)

    def stop(self) -> None:
        """End it. Vehicles of video files that have ended are still asked for."""
        is_over = self.is_over()
        if not is_over:
            self._stopped.set()
        if self.server is not None:
            self.server.stop()
        for thread in self._threads:
            thread.join(_END_SECONDS)
        self._ended.set()
        self._queries.join()
        self._stopped.set()
        self._lock.release()

    def counts(self) -> dict[str, dict[str, int]]:
        """Counts of each camera."""
        own = {each.camera.name: each.counts for each in self._cameras}
        return {name: counts.as_dict() for name, counts in (own | self._push.counts).items()}

    def _run(self, name: str, run: Callable[[threading.Event], None]) -> None:
        """Run a camera. A bug that it meets is logged, and does not end it."""
        while True:
            try:
                run(self._stopped)
            except (FedVehicleReidError, OSError) as error:
                _log.error("camera %s: %s", name, shown(error))
            except Exception:
                _log.exception(
                    "camera %s: an unexpected error; it is watched again in %g seconds", name, _AGAIN_SECONDS
                )
                if not self._stopped.wait(_AGAIN_SECONDS):
                    continue
            return

    def _asker(self, camera: Stream) -> Callable[[Track, bool], None]:
        def ask(track: Track, wait: bool) -> None:
            while True:
                try:
                    self._waiting.put((camera, track), timeout=0.5 if wait else 0)
                    return
                except queue.Full:
                    if not wait or self._stopped.is_set():
                        break
            self._counts_of(camera).lost += 1
            _log.warning("camera %s: too many vehicles wait for their query; one was dropped", camera.name)

        return ask

    def _answer(self) -> None:
        """Ask for the vehicles of streams, one after the other."""
        while not (self._ended.is_set() and self._waiting.empty()):
            try:
                camera, track = self._waiting.get(timeout=0.2)
            except queue.Empty:
                continue
            counts = self._counts_of(camera)
            try:
                photos = [shot.vehicle_photo for shot in track.shots]
                since = None if camera.is_file else track.seen  # a file has its own time
                answer = self._asking.ask(photos, SeenBy(camera.name, camera.place, since=since))
                counts.queries += 1
                if self._answered is not None:
                    self._answered(track, answer)
            except (FedVehicleReidError, OSError) as error:
                counts.lost += 1
                _log.error("camera %s: a vehicle was not identified: %s", camera.name, shown(error))
            except Exception:  # of one vehicle; the others are asked for
                counts.lost += 1
                _log.exception("camera %s: a vehicle was not identified", camera.name)

    def _counts_of(self, camera: Stream) -> Counts:
        return next(each.counts for each in self._streams if each.camera is camera)
