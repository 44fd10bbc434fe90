"""Frames of one camera to vehicles: motion first, then the register's detector, then tracks."""

from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from app.cameras.motion import Frame, Motion
from app.cameras.shots import shot
from app.cameras.tracks import Sight, Track, Tracks
from app.core.sample import Box
from app.register.detect import Finder, state_of
from app.register.photos import Photo

_BLOB = 0.4  # confidence of a region that moves, where no detector says that it is a vehicle
_LEAST_MOVING = 0.05  # share of a vehicle's box that moves, below which it stands
_LEAST_SIDE = 24.0  # pixels: what is smaller cannot be recognised


class Watching:
    """The vehicles of one camera.

    Args:
        models: folder of the register's detectors; without any, each region that moves is taken for a vehicle.
    """

    def __init__(self, models: Path) -> None:
        self._models = models
        self._motion, self._tracks = Motion(), Tracks()
        self._finder: Finder | None = None

    def look(self, frame: Frame, time: float) -> list[Track]:
        """Look at a frame; the vehicles that are to be asked for now."""
        motion = self._motion.look(frame)
        sights = self._sights(frame, motion, time) if motion else []
        return self._tracks.see(sights, motion, time)

    def wait(self, time: float) -> list[Track]:
        """The same without a frame."""
        return self._tracks.wait(time)

    def finish(self) -> list[Track]:
        """Vehicles that were not yet asked for, at the end of a video."""
        return self._tracks.finish()

    def _sights(self, frame: Frame, motion: list[Box], time: float) -> list[Sight]:
        state = state_of(self._models)
        found: list[tuple[Box, float, Box | None]] = [(box, _BLOB, None) for box in motion]
        if state:
            if self._finder is None or self._finder.state != state:
                self._finder = Finder(self._models)
            image = Image.fromarray(np.asarray(cv2.cvtColor(frame, cv2.COLOR_BGR2RGB)))
            found = [(each.box, each.score, each.plate) for each in self._finder.find(Photo(image, 1.0)).vehicles]
        sights = []
        for box, confidence, plate in found:
            moving = self._motion.share(box)
            if min(box.width, box.height) >= _LEAST_SIDE and moving >= _LEAST_MOVING:
                sights.append(Sight(box, confidence, moving, shot(time, frame, box, confidence, plate)))
        return sights
