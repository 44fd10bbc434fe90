"""Tracks of vehicles in frames: each is asked for once, by its best frames, and standing or lit ones are not."""

import numpy as np
import pytest
from camera_videos import FPS, drive

from app.cameras.motion import Motion
from app.cameras.shots import MOST, for_query, shot, with_shot
from app.cameras.tracks import Sight, Tracks
from app.cameras.watching import Watching
from app.core.sample import Box
from app.register.detect import Detections, Found

EVERYWHERE = [Box(0, 0, 1000, 1000)]


def watch(frames, watching=None, fps=FPS):
    """Queries by the time at which they were asked."""
    watching, asked = watching or Watching(None), []
    for number, frame in enumerate(frames):
        asked += [(number / fps, track) for track in watching.look(frame, number / fps)]
    return asked + [(len(frames) / fps, track) for track in watching.finish()]


@pytest.fixture(autouse=True)
def no_detector(monkeypatch):
    monkeypatch.setattr("app.cameras.watching.state_of", lambda _: ())


def test_each_vehicle_that_passes_is_asked_for_once_by_frames_that_show_all_of_it():
    rows = list(drive((1, 2, 3)))
    asked = watch([frame for frame, _ in rows])
    assert [round(at / 3.5) for at, _ in asked] == [1, 2, 3]
    for at, track in asked:
        assert 1 <= len(track.shots) <= MOST
        best = track.shots[0]
        box, truth = best.box, rows[round(best.time * FPS)][1]
        assert truth[0] > 0
        assert truth[0] + truth[2] < 640
        assert at - best.time <= 1.5
        left, top = max(box.left, truth[0]), max(box.top, truth[1])
        right, bottom = min(box.left + box.width, truth[0] + truth[2]), min(box.top + box.height, truth[1] + truth[3])
        assert (right - left) * (bottom - top) / (truth[2] * truth[3]) > 0.7
        photo = best.vehicle_photo
        assert photo.whole
        assert photo.photo.image.size < (640, 360)  # what is around it, not the whole scene
        assert abs(photo.vehicle_box.width - box.width) < 1


@pytest.mark.parametrize("fps", [4, 5])
def test_few_frames_a_second_are_enough(fps):
    assert len(watch([frame for frame, _ in drive((1, 2), fps=fps)], fps=fps)) == 2


def test_a_vehicle_that_stops_is_asked_for_as_it_stands_and_not_again_while_it_stands():
    rows = list(drive((1,)))
    way = [frame for frame, _ in rows][: round(2.6 * FPS)]
    rng = np.random.default_rng(1)
    stands = [np.clip(way[-1] + rng.integers(-3, 4, way[-1].shape), 0, 255).astype(np.uint8) for _ in range(80)]
    ((at, track),) = watch(way + stands)
    assert at - track.shots[0].time <= 1.0
    assert len(watch(way + stands + [frame for frame, _ in rows][round(2.6 * FPS) :])) == 1  # and drives on


def test_a_light_that_goes_on_and_an_empty_scene_are_no_vehicle():
    empty = [frame for frame, box in drive((1,)) if box is None]
    lit = [np.clip(frame.astype(int) * 2 + 60, 0, 255).astype(np.uint8) for frame in empty]
    assert watch(empty + lit + empty) == []


def test_a_camera_that_changes_its_resolution_goes_on():
    small = [frame for frame, _ in drive((1,), size=(480, 360))]
    assert len(watch([frame for frame, _ in drive((2,))] + small)) == 2


class Detector:
    """Finds the vehicle of each frame of a video where it is, and one that is parked."""

    state = (1,)
    parked = Box(400, 40, 120, 80)

    def __init__(self, rows):
        self.boxes = {frame.tobytes(): box for frame, box in rows}

    def find(self, photo):
        image = np.asarray(photo.image)[..., ::-1]
        box = self.boxes[np.ascontiguousarray(image).tobytes()]
        found = [Found(self.parked, 0.9, None)]
        if box is not None:
            place = Box(*map(float, box))
            found.insert(0, Found(place, 0.8, Box(place.left + 4, place.top + 4, 20, 8)))
        return Detections(tuple(found), (), False)


def test_a_detector_names_the_vehicle_and_its_plate_and_a_parked_one_is_not_asked_for(monkeypatch):
    rows = list(drive((1, 2)))
    monkeypatch.setattr("app.cameras.watching.state_of", lambda _: (1,))
    watching = Watching(None)
    watching._finder = Detector(rows)
    asked = watch([frame for frame, _ in rows], watching)
    assert len(asked) == 2
    for _, track in asked:
        assert track.shots[0].box == Box(*map(float, rows[round(track.shots[0].time * FPS)][1]))
        assert track.shots[0].vehicle_photo.plate_box is not None


def sight(left, *, width=100, moving=1.0, confidence=0.9):
    frame = np.random.default_rng(0).integers(0, 256, (300, 600, 3), dtype=np.uint8)
    box = Box(left, 100, width, 80)
    return Sight(box, confidence, moving, shot(0.0, frame, box, confidence, None))


def test_two_vehicles_keep_their_tracks_as_they_meet():
    tracks = Tracks()
    for step in range(6):
        tracks.see([sight(50 + 30 * step), sight(400 - 30 * step)], EVERYWHERE, step / 10)
    ends = sorted(track.box.left for track in tracks.tracks)
    assert (len(tracks.tracks), ends) == (2, [200, 250])
    assert sorted(track.first.left for track in tracks.tracks) == [50, 400]


def test_somebody_who_walks_before_a_parked_vehicle_makes_no_query():
    tracks = Tracks()
    for step in range(60):
        assert tracks.see([sight(100 + step % 2, moving=0.2)], EVERYWHERE, step / 10) == []


def test_a_flicker_is_no_vehicle():
    tracks = Tracks()
    asked = tracks.see([sight(100, confidence=0.4)], EVERYWHERE, 0.0)
    asked += [each for step in range(1, 40) for each in tracks.see([], EVERYWHERE, step / 10)]
    assert asked == []


def test_a_stream_that_stalls_does_not_keep_a_vehicle_waiting():
    tracks = Tracks()
    for step in range(4):
        assert tracks.see([sight(50 + 30 * step)], EVERYWHERE, step / 10) == []
    assert [len(tracks.wait(at)) for at in (0.5, 0.7, 2.0, 3.0)] == [0, 0, 1, 0]


def test_of_two_frames_at_nearly_the_same_time_the_better_one_counts():
    frame = np.random.default_rng(0).integers(0, 256, (300, 600, 3), dtype=np.uint8)
    shots = [shot(at / 10, frame, Box(100, 100, width, 80), 0.9, None) for at, width in enumerate((60, 70, 80, 20, 20))]
    best = []
    for each in shots:
        best = with_shot(best, each)
    assert [each.time for each in best] == [0.2, 0.4]
    assert [each.time for each in for_query(best)] == [0.2]  # the other one is much worse


def test_boxes_outside_of_the_frame_show_nothing():
    frame = np.zeros((100, 100, 3), np.uint8)
    assert shot(0.0, frame, Box(200, 0, 50, 50), 0.9, None) is None
    assert Motion().look(frame) == []
