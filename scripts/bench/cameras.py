"""Cameras that ask by themselves: from a vehicle's best frame to its answer, over a real stream on loopback.

Run: python -m scripts.bench.cameras run=outputs/two_cam/<time> detector=outputs/detector/detector.safetensors
     python -m scripts.bench.cameras run=RUN dual=../shared/data/vehicle-plate-dual-2cam
`vehicles=10` rendered ones drive by, one after the other, in a video of `width=1280` pixels (9/16 of that high) and
`fps=10` frames a second, sent as MJPEG. Without `detector=`, or `coco=FILE.pb graph=FILE.pbtxt` of SSD MobileNet V2,
each region that moves is a vehicle. With `dual=FOLDER`
the vehicles of its second camera drive by, after those of the first were enrolled from their crops: `right`, `wrong`,
`unsure` and `unknown` count the answers about those of both, with thresholds that are not calibrated, `nearest` those
whose nearest vehicle is right, `strangers` the matches of the others. Seconds are from the frame
that was taken as the best one to the sighting in the database. The last line is one JSON object.
"""

import json
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
import psutil

from app.cameras.settings import Cameras
from app.cameras.watch import Watch
from app.detection.described import read_foreign
from app.register.identification import Answer, Identification
from app.register.matcher import Outcome
from app.register.photos import VehiclePhoto, read_photo
from app.settings.checks import SettingsError
from app.settings.load import absolute
from scripts.bench.camera_video import EMPTY, Driver, MjpegServer, drive, of_crops, rendered
from scripts.command import command, decimal_number, split_words, whole_number

_OWN = {
    "run": "",
    "model": "global",
    "detector": "",
    "coco": "",
    "graph": "",
    "dual": "",
    "vehicles": "10",
    "width": "1280",
    "fps": "10",
}
_SECONDS = 2.0  # that a vehicle takes
_ACCOUNT = "bench"
_ENROLLED = 3  # crops of a vehicle


def main(argv: Sequence[str]) -> None:
    """Print the figures."""
    own, others = split_words(argv, _OWN)
    if others or not own["run"]:
        raise SettingsError(f"unknown argument {others[0]!r}" if others else "run=RUN_FOLDER is missing")
    with tempfile.TemporaryDirectory() as folder:
        print(json.dumps({"bench": "cameras"} | measure(Path(folder), own)))


class _Answered(NamedTuple):
    """An answer, its time, and that of the best frame, by time.monotonic()."""

    best: float
    at: float
    answer: Answer


def measure(folder: Path, own: dict[str, str]) -> dict[str, Any]:
    """The figures of one video."""
    width, fps = whole_number("width", own["width"], 128, 4096), decimal_number("fps", own["fps"], 1, 60)
    identification = Identification(folder, "", "cpu")
    identification.active_model.change_to_run(absolute(own["run"]), own["model"], _ACCOUNT)
    if own["detector"]:
        identification.framing.use(absolute(own["detector"]), _ACCOUNT)
    elif own["coco"]:
        graph = absolute(own["graph"]) if own["graph"] else None
        foreign = read_foreign(absolute(own["coco"]), graph, "ssd_mobilenet_v2_coco")
        identification.framing.use_foreign(foreign, _ACCOUNT)
    enrolled = _enrol(identification, absolute(own["dual"])) if own["dual"] else {}
    names, drivers = _drivers(own)
    video = drive(drivers, (width, width * 9 // 16), fps, _SECONDS)
    camera = MjpegServer((shown.image for shown in video), fps, once=True)
    answers: list[_Answered] = []
    watch = Watch(
        identification,
        _stream(camera.url, fps),
        answered=lambda track, answer: answers.append(_Answered(track.shots[0].time, time.monotonic(), answer)),
    )
    used, started = psutil.Process().cpu_times(), time.monotonic()
    while len(camera.sent) < len(camera.jpegs):
        time.sleep(0.1)
    after = psutil.Process().cpu_times()
    seconds = time.monotonic() - started
    time.sleep(5.0)  # the last answers
    begun = camera.sent[len(camera.jpegs) - 1] - (len(camera.jpegs) - 1) / fps
    watch.stop()
    camera.close()
    identification.close()
    waits = [each.at - each.best for each in answers]
    counts = watch.counts()["gate"]
    return {
        "detector": bool(own["detector"] or own["coco"]),
        "vehicles": len(names),
        "queries": counts["queries"],
        "frames": counts["frames"],
        "dropped": counts["dropped"],
        "median_seconds": float(np.median(waits)) if waits else None,
        "slowest_seconds": max(waits, default=None),
        "processors": round((after.user + after.system - used.user - used.system) / seconds, 2),
        **(_right(names, enrolled, answers, begun) if own["dual"] else {}),
    }


def _stream(url: str, fps: float) -> Cameras:
    return Cameras.model_validate({"stream": [{"name": "gate", "url": url, "most_fps": fps}]})


def _drivers(own: dict[str, str]) -> tuple[list[str], list[Driver]]:
    """Names of the vehicles that drive by, and what they look like."""
    if not own["dual"]:
        numbers = range(whole_number("vehicles", own["vehicles"], 1, 1000))
        return [str(number) for number in numbers], [rendered(number, 512) for number in numbers]
    crops = _crops(absolute(own["dual"]), "Cruzamento2")
    read = {name: [np.asarray(cv2.imread(str(path)), np.uint8) for path in paths] for name, paths in crops.items()}
    return list(read), [of_crops(images) for images in read.values()]


def _crops(folder: Path, camera: str) -> dict[str, list[Path]]:
    """Crops of each vehicle that a camera saw, in the order of their frames."""
    found: dict[str, list[Path]] = {}
    for path in sorted(folder.glob(f"{camera}/*/classes_carros/*/*.jpg")):
        found.setdefault(path.parent.name, []).append(path)
    if not found:
        raise SettingsError(f"dual={folder} has no folder {camera} with crops")
    return found


def _enrol(identification: Identification, folder: Path) -> dict[str, int]:
    """Vehicles of the first camera, by name."""
    enrolled = {}
    for name, paths in _crops(folder, "Cruzamento1").items():
        some = paths[:: max(1, len(paths) // _ENROLLED)][:_ENROLLED]
        photos = [VehiclePhoto(read_photo(path), whole=True) for path in some]
        enrolled[name] = identification.enrol(photos, account=_ACCOUNT)
    return enrolled


def _right(
    names: Sequence[str], enrolled: dict[str, int], answers: Sequence[_Answered], begun: float
) -> dict[str, int]:
    """Answers about vehicles of both cameras, and matches of those of the second alone."""
    counts: Counter[str] = Counter(right=0, wrong=0, unsure=0, unknown=0, strangers=0, nearest=0)
    for each in answers:
        place = int((each.best - begun) / (EMPTY + _SECONDS))
        name, decision = names[min(max(0, place), len(names) - 1)], each.answer.decision
        is_match = decision.outcome is Outcome.match
        if name not in enrolled:
            counts["strangers"] += is_match
            continue
        first = next((found[0].vehicle for found in decision.candidates.values() if found), None)
        counts["nearest"] += first == enrolled[name]
        if is_match:
            counts["right" if decision.vehicle == enrolled[name] else "wrong"] += 1
        else:
            counts["unsure" if decision.outcome is Outcome.unsure else "unknown"] += 1
    return dict(counts)


if __name__ == "__main__":
    command(main, sys.argv[1:])
