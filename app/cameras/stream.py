"""Video of a camera: the newest frame is looked at, others are dropped and counted; a video file is read whole."""

import logging
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np

from app.cameras.asking import Counts
from app.cameras.motion import Frame
from app.cameras.settings import Stream
from app.cameras.tracks import Track
from app.cameras.watching import Watching
from app.core.outage import Outage
from models.errors import FedVehicleReidError

_log = logging.getLogger(__name__)
_LEAST_SIDE, _MOST_SIDE = 64, 8192  # pixels of a frame
_OPEN_SECONDS, _READ_SECONDS = 10, 10
_WAIT = 0.2  # seconds after which tracks are looked at without a frame
_FPS_OF_FILE = (1.0, 240.0)
# Over TCP: lost packets of UDP are grey stripes. No lines about damaged frames: FFmpeg writes some each second.
os.environ.setdefault("OPENCV_FFMPEG_CAPTURE_OPTIONS", "rtsp_transport;tcp")
os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_ERROR)  # a line at each camera that does not answer


class CameraError(FedVehicleReidError, OSError):
    """A camera does not answer, or sends no video."""


class _Newest:
    """Place of one frame, the newest."""

    def __init__(self) -> None:
        self._held: tuple[Frame, float] | None = None
        self._changed = threading.Condition()

    def put(self, frame: Frame, at: float) -> None:
        with self._changed:
            self._held = frame, at
            self._changed.notify()

    def take(self, seconds: float) -> tuple[Frame, float] | None:
        with self._changed:
            if self._held is None:
                self._changed.wait(seconds)
            held, self._held = self._held, None
            return held


class StreamCamera:
    """A camera that sends video.

    Args:
        models: folder of the register's detectors.
        ask: takes a vehicle that is to be asked for, and whether to wait for its turn.
        first_pause: seconds before a camera that vanished is tried again.
    """

    def __init__(
        self, camera: Stream, models: Path, ask: Callable[[Track, bool], None], first_pause: float = 1.0
    ) -> None:
        self.camera = camera
        self.counts = Counts()
        self._watching = Watching(models)
        self._ask = ask
        self._first_pause = first_pause
        self._newest = _Newest()

    def run(self, stopped: threading.Event) -> None:
        """Watch until it is stopped, a file until its end. Raises CameraError for a file that is no video."""
        if self.camera.is_file:
            self._read_file(stopped)
            return
        ended = threading.Event()  # also by a bug, after which another thread takes its frames
        threading.Thread(target=self._grab, args=(ended,), name=f"camera {self.camera.name}", daemon=True).start()
        try:
            self._look_at_newest(stopped)
        finally:
            ended.set()

    def _look_at_newest(self, stopped: threading.Event) -> None:
        """Look at the frames that came, until it is stopped. A detector that cannot be used now is tried again."""
        outage = Outage(f"camera {self.camera.name}", _log, "its frames are not looked at", self._first_pause)
        pause, looked = 1 / self.camera.most_fps, -1.0
        while not stopped.wait(outage.pause):
            taken = self._newest.take(_WAIT)
            if taken is None:
                self._asked(self._watching.wait(time.monotonic()), wait=False)
                continue
            try:
                self._look(*taken, wait=False)
                outage.over()
            except (FedVehicleReidError, OSError) as error:
                outage.failed(error)
            stopped.wait(max(0.0, looked + pause - time.monotonic()))
            looked = time.monotonic()

    def _grab(self, ended: threading.Event) -> None:
        """Take frames as they come: those that nobody takes are replaced."""
        outage = Outage(f"camera {self.camera.name}", _log, "it is tried again", self._first_pause)
        while not ended.wait(outage.pause):
            try:
                with _opened(self.camera) as video:
                    while not ended.is_set():
                        self._newest.put(_read(video), time.monotonic())
                        self.counts.frames += 1
                        outage.over()
            except Exception as error:
                if not isinstance(error, CameraError):
                    _log.exception("camera %s: an unexpected error", self.camera.name)
                self.counts.outages += not outage.pause
                outage.failed(error)

    def _read_file(self, stopped: threading.Event) -> None:
        """All frames of a file, by its own time, as many a second as are to be looked at."""
        with _opened(self.camera) as video:
            fps = video.get(cv2.CAP_PROP_FPS)
            fps = fps if _FPS_OF_FILE[0] <= fps <= _FPS_OF_FILE[1] else 25.0
            every = max(1, round(fps / self.camera.most_fps))
            while not stopped.is_set():
                try:
                    frame = _read(video)
                except CameraError:
                    if not self.counts.frames:
                        raise
                    break
                self.counts.frames += 1
                if (self.counts.frames - 1) % every == 0:
                    self._look(frame, (self.counts.frames - 1) / fps, wait=True)
        self._asked(self._watching.finish(), wait=True)

    def _look(self, frame: Frame, at: float, *, wait: bool) -> None:
        self.counts.looked_at += 1
        self._asked(self._watching.look(frame, at), wait=wait)

    def _asked(self, tracks: list[Track], *, wait: bool) -> None:
        for track in tracks:
            self.counts.tracks += 1
            self._ask(track, wait)


@contextmanager
def _opened(camera: Stream) -> Iterator[cv2.VideoCapture]:
    """The video of a camera. Raises CameraError, which does not show the URL: it may hold a password."""
    if camera.is_file and not Path(camera.url).is_file():
        raise CameraError(f"no such file: {camera.url}")
    limits = [
        cv2.CAP_PROP_OPEN_TIMEOUT_MSEC,
        _OPEN_SECONDS * 1000,
        cv2.CAP_PROP_READ_TIMEOUT_MSEC,
        _READ_SECONDS * 1000,
    ]
    try:
        video = cv2.VideoCapture(camera.url, cv2.CAP_FFMPEG, [] if camera.is_file else limits)
    except cv2.error as error:
        raise CameraError("its video cannot be opened") from error
    try:
        if not video.isOpened():
            raise CameraError(f"{camera.url} is no video" if camera.is_file else "does not answer, or sends no video")
        yield video
    finally:
        video.release()


def _read(video: cv2.VideoCapture) -> Frame:
    """The next frame. Raises CameraError without one."""
    try:
        is_there, frame = video.read()
    except cv2.error as error:
        raise CameraError("sent a frame that cannot be decoded") from error
    if not is_there or frame is None:
        raise CameraError("sent no further frame")
    if frame.ndim != 3 or not all(_LEAST_SIDE <= side <= _MOST_SIDE for side in frame.shape[:2]):
        raise CameraError(f"sent a frame of shape {frame.shape}, which is none that can be used")
    return np.asarray(frame, np.uint8)
