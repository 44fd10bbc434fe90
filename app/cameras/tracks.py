"""Short tracks: each vehicle that moves before a camera is followed from frame to frame, and asked for once."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from app.cameras.shots import Shot, for_query, with_shot
from app.core.sample import Box
from app.detection.average_precision import iou_matrix

_SAME = 0.2  # intersection over union from which a box continues a track
_GONE = 0.6  # seconds unseen, while something moves there, after which a vehicle has left
_SETTLED = 0.8  # seconds without a better frame after which a vehicle is asked for
_LONGEST = 4.0  # seconds after which it is asked for with the frames so far
_MOVED = 0.15  # of its box's diagonal, by which a corner of a vehicle's box moves if it does
_MOVING = 0.4  # share of its box that moves if it does
_CONFIDENT = 0.5  # confidence from which one frame is enough
_FORGOTTEN = 600.0  # seconds after which a vehicle that stands there is no longer remembered
_MOST = 32


@dataclass(frozen=True)
class Sight:
    """A vehicle in one frame.

    Args:
        moving: share of its box that moves.
        shot: the frame; None if it cannot be used.
    """

    box: Box
    confidence: float
    moving: float
    shot: Shot | None


@dataclass
class Track:
    """One vehicle.

    Args:
        first: its box when it was first seen.
        speed: of its box's left, top, width and height, in pixels a second.
        asked: whether its query was made.
    """

    box: Box
    first: Box
    started: float
    seen: float
    speed: NDArray[np.float64] = field(default_factory=lambda: np.zeros(4))
    sights: int = 0
    confidence: float = 0.0
    moved: bool = False
    asked: bool = False
    shots: list[Shot] = field(default_factory=list)

    def at(self, time: float) -> Box:
        """Where its box is expected."""
        moved = np.array(self.box) + self.speed * min(1.0, time - self.seen)
        return Box(float(moved[0]), float(moved[1]), max(1.0, float(moved[2])), max(1.0, float(moved[3])))

    def see(self, sight: Sight, time: float) -> None:
        """Add a frame."""
        if (passed := time - self.seen) > 0:
            self.speed = 0.5 * self.speed + 0.5 * (np.array(sight.box) - np.array(self.box)) / passed
        self.box, self.seen, self.sights = sight.box, time, self.sights + 1
        self.confidence = max(self.confidence, sight.confidence)
        diagonal = float(np.hypot(self.first.width, self.first.height))
        shift = float(np.abs(_corners(self.first) - _corners(self.box)).max())
        self.moved = self.moved or shift >= _MOVED * diagonal or sight.moving >= _MOVING
        if sight.shot is not None and not self.asked:
            self.shots = with_shot(self.shots, sight.shot)

    def is_ready(self, time: float) -> bool:
        """Whether it is to be asked for now: it moved, and there is hardly a better frame to come."""
        if self.asked or not self.is_vehicle:
            return False
        return time - self.shots[0].time >= _SETTLED or time - self.started >= _LONGEST

    @property
    def is_vehicle(self) -> bool:
        """Whether it is more than a flicker, and moves."""
        return self.moved and bool(self.shots) and (self.sights >= 2 or self.confidence >= _CONFIDENT)


class Tracks:
    """The vehicles before one camera.

    Times are seconds of any clock that never jumps."""

    def __init__(self) -> None:
        self.tracks: list[Track] = []

    def see(self, sights: Sequence[Sight], motion: Sequence[Box], time: float) -> list[Track]:
        """Follow the vehicles of a frame; those that are to be asked for now.

        Args:
            motion: regions that move. A vehicle that was not found stays where nothing moves: it stands.
        """
        for track, sight in self._pairs(sights, time):
            track.see(sight, time)
        seen = {id(sight) for sight in sights} - self._used
        for sight in (each for each in sights if id(each) in seen):
            track = Track(sight.box, sight.box, time, time)
            track.see(sight, time)
            self.tracks.append(track)
        return self._ready(motion, time)

    def wait(self, time: float) -> list[Track]:
        """Those that are to be asked for although no frame comes."""
        return self._ready([], time)

    def finish(self) -> list[Track]:
        """Those that were not yet asked for, at the end of a video."""
        ready = [_asked(track) for track in self.tracks if track.is_vehicle and not track.asked]
        self.tracks = []
        return ready

    def _pairs(self, sights: Sequence[Sight], time: float) -> list[tuple[Track, Sight]]:
        """Tracks with the boxes that continue them, the likest first."""
        self._used: set[int] = set()
        if not self.tracks or not sights:
            return []
        expected = np.array([_corners(track.at(time)) for track in self.tracks])
        last = np.array([_corners(track.box) for track in self.tracks])
        found = np.array([_corners(sight.box) for sight in sights])
        likeness = np.maximum(iou_matrix(expected, found), iou_matrix(last, found))
        pairs, rows = [], set[int]()
        for row, column in sorted(np.ndindex(*likeness.shape), key=lambda place: -likeness[place]):
            if likeness[row, column] < _SAME:
                break
            if row not in rows and id(sights[column]) not in self._used:
                rows.add(row)
                self._used.add(id(sights[column]))
                pairs.append((self.tracks[row], sights[column]))
        return pairs

    def _ready(self, motion: Sequence[Box], time: float) -> list[Track]:
        ready, kept = [], []
        for track in self.tracks:
            has_left = time - track.seen >= _GONE and any(_touch(track.box, each) for each in motion)
            if track.is_ready(time) or (has_left and track.is_vehicle and not track.asked):
                ready.append(_asked(track))
            if not has_left and time - track.seen < _FORGOTTEN:
                kept.append(track)
        self.tracks = kept[-_MOST:]
        return ready


def _asked(track: Track) -> Track:
    """A copy with its frames, for the query; the track itself goes on without them."""
    asked = replace(track, shots=for_query(track.shots))
    track.asked, track.shots = True, []
    return asked


def _corners(box: Box) -> NDArray[np.float64]:
    return np.array([box.left, box.top, box.left + box.width, box.top + box.height])


def _touch(box: Box, other: Box) -> bool:
    first, second = _corners(box), _corners(other)
    return bool((first[:2] < second[2:]).all() and (second[:2] < first[2:]).all())
