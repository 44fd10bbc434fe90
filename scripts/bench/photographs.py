"""Whole photographs at the gate: detector, plate reader and recogniser, with nothing given by hand.

Run: python -m scripts.bench.photographs run=outputs/two_cam/<time> reader=outputs/plates_countries/<time> \\
         foreign=frozen_inference_graph.pb graph=ssd_mobilenet_v2_coco_2018_03_29.pbtxt \\
         plates_openalpr=../shared/data/plates-openalpr plates_easypr=../shared/data/plates-easypr-cn

The test quarter of each set is enrolled, each photograph with the text of its plate, and another rendition of it (other
cut, scale, light and JPEG quality, by `seed=0`) is the query. Then the vehicle is taken out, the same query is a
stranger's, and it is enrolled again. `run=` (`model=global`) or `onnx=FILE` recognises, `foreign=FILE` with
`description=ssd_mobilenet_v2_coco` or `vehicles=FILE` finds vehicles, `plates=` (a file or folder; by default packaged)
plates, `reader=` (`reader_model=global`; by default packaged) reads them from the confidence `sure=0.9` on.
`calibrate=100` photographs of the training part, and renditions of them, set thresholds and evidence; 0 leaves them as
they are. `limit=0` takes all photographs of the quarter. `speed=5` more identifications of 4000 x 3000 pixels are timed
on one core: `wall_s`, and `cpu_s` of all threads, which other work does not change. The last line is one JSON object.
"""

import io
import json
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageEnhance

from app.core.sample import Box, Sample
from app.data.readers.reader import Direction, open_reader
from app.detection.average_precision import iou_matrix
from app.detection.described import read_foreign
from app.detection.plates import DETECTOR
from app.images.decode import open_image, upright_rgb
from app.register import calibrate as calibration
from app.register.detect import Framed
from app.register.identification import Answer, Identification
from app.register.matcher import Outcome
from app.register.photos import VehiclePhoto, read_photo, take_in
from app.settings.checks import SettingsError
from app.settings.load import absolute
from models.alphabet import plain
from scripts.bench.errors import BenchError
from scripts.bench.one_core import one_core
from scripts.command import command, decimal_number, split_words, whole_number

SETS = ("plates_openalpr", "plates_easypr")
_OWN = {
    **{"run": "", "model": "global", "onnx": "", "vehicles": "", "foreign": "", "graph": "", "plates": "packaged"},
    **{"description": "ssd_mobilenet_v2_coco", "reader": "packaged", "reader_model": "global", "sure": "0.9"},
    **{"seed": "0", "calibrate": "100", "limit": "0", "speed": "0"},
    **dict.fromkeys(SETS, ""),
}
_FOUND = 0.5  # intersection over union from which a plate was found
_LARGE = (4000, 3000)
_RIGHT = ("right", "wrong", "unsure", "unknown", "not_registered")
_STRANGERS = ("named", "unsure", "unknown", "not_registered")


@dataclass(frozen=True)
class Rendition:
    """Another photograph of the same scene.

    Args:
        content: a JPEG file.
        plate: where the plate is in it.
    """

    content: bytes
    plate: Box


@dataclass(frozen=True)
class Scene:
    """A photograph of a set, with the plate that counts: the largest one that is labelled."""

    set: str
    path: Path
    plate: Box
    text: str


def rendition(image: Image.Image, plate: Box, rng: np.random.Generator) -> Rendition:
    """Cut up to six hundredths of each side, but not into the plate, scale by 0.8 to 1.1, change brightness and
    contrast by up to a quarter, and encode with a quality of 60 to 90."""
    width, height = image.size
    cuts = rng.uniform(0, 0.06, 4) * (width, height, width, height)
    left, top = (max(0, round(min(cut, side))) for cut, side in zip(cuts[:2], plate[:2], strict=True))
    right = round(max(width - cuts[2], plate.left + plate.width))
    bottom = round(max(height - cuts[3], plate.top + plate.height))
    scale = float(rng.uniform(0.8, 1.1))
    size = max(1, round((right - left) * scale)), max(1, round((bottom - top) * scale))
    shown = image.crop((left, top, right, bottom)).resize(size, Image.Resampling.BICUBIC)
    shown = ImageEnhance.Brightness(shown).enhance(float(rng.uniform(0.75, 1.25)))
    shown = ImageEnhance.Contrast(shown).enhance(float(rng.uniform(0.75, 1.25)))
    file = io.BytesIO()
    shown.save(file, "JPEG", quality=int(rng.integers(60, 91)))
    x, y = size[0] / (right - left), size[1] / (bottom - top)
    moved = Box((plate.left - left) * x, (plate.top - top) * y, plate.width * x, plate.height * y)
    return Rendition(file.getvalue(), moved)


def scenes_of(name: str, samples: Sequence[Sample]) -> list[Scene]:
    """The photographs of a set, each once."""
    of: dict[Path, Sample] = {}
    for sample in samples:
        of[sample.path] = max(of.get(sample.path, sample), sample, key=lambda each: _area(each.plate_boxes[0]))
    return [Scene(name, path, each.plate_boxes[0], plain(each.plate_text or "")) for path, each in of.items()]


def main(argv: Sequence[str]) -> None:
    """Print a line for each set, and the figures."""
    own, words = split_words(argv, _OWN)
    if words:
        raise SettingsError(f"{words[0]}: not a word of this bench")
    if not (own["run"] or own["onnx"]):
        raise SettingsError("run=RUN_FOLDER is missing, or onnx=FILE")
    named = {name: absolute(own[name]) for name in SETS if own[name]}
    if not named:
        raise SettingsError(f"give a set of photographs: {', '.join(f'{name}=FOLDER' for name in SETS)}")
    with tempfile.TemporaryDirectory() as folder, closing(Identification(Path(folder), device="cpu")) as gate:
        print(json.dumps(measure(gate, own, named)))


def measure(gate: Identification, own: dict[str, str], named: dict[str, Path]) -> dict[str, Any]:
    """Figures by set and of all of them together."""
    seed, limit = (whole_number(key, own[key], 0, 2**31) for key in ("seed", "limit"))
    speed = whole_number("speed", own["speed"], 0, 1000)
    equip(gate, own)
    readers = {name: open_reader(name, root, seed=0) for name, root in named.items()}
    if many := whole_number("calibrate", own["calibrate"], 0, 100_000):
        trained = [scene for name, reader in readers.items() for scene in scenes_of(name, reader.train())]
        chosen = np.random.default_rng(seed).permutation(len(trained))[:many]
        calibrate(gate, [trained[place] for place in sorted(chosen.tolist())], seed + 1)
    scenes = []
    for name, reader in readers.items():
        samples = [s for each in reader.evaluation("test") for s in (*each.query, *each.gallery)]
        scenes += scenes_of(name, samples)[: limit or None]
    counts = ask(gate, scenes, seed)
    figures = {name: _shares(row) for name, row in {**counts, "all": sum(counts.values(), Counter())}.items()}
    for name, row in figures.items():
        print(f"{name}: {row['photographs']} photographs")
        for kind in ("chain", "residents", "strangers"):
            print(f"  {kind:<10}" + "".join(f"  {key} {100 * value:.1f} %" for key, value in row[kind].items()))
    calibrated = gate.models.evidence(gate.active_model.current()[0]) is not None
    about = {"bench": "photographs", "seed": seed, "evidence_calibrated": calibrated, "sets": figures}
    return about | ({"speed": timed(gate, scenes[0], speed)} if speed else {})


def equip(gate: Identification, own: dict[str, str]) -> None:
    """Give the register its networks."""
    if own["onnx"]:
        gate.active_model.change_to_onnx(absolute(own["onnx"]), "bench")
    else:
        gate.active_model.change_to_run(absolute(own["run"]), own["model"], "bench")
    if own["foreign"]:
        graph = absolute(own["graph"]) if own["graph"] else None
        gate.framing.use_foreign(read_foreign(absolute(own["foreign"]), graph, own["description"]), "bench")
    if own["vehicles"]:
        gate.framing.use(absolute(own["vehicles"]), "bench")
    if own["plates"] == "packaged" and not gate.framing.finds_plates:
        gate.framing.use_packaged("bench")
    elif own["plates"] not in ("", "packaged"):
        place = absolute(own["plates"])
        gate.framing.use(place / DETECTOR if place.is_dir() else place, "bench")
    if own["reader"] == "packaged":
        gate.plate_reader.use_packaged("bench")
    else:
        gate.plate_reader.use(absolute(own["reader"]), own["reader_model"], "bench")
    gate.plate_reader.set_min_confidence(decimal_number("sure", own["sure"], 0, 1), "bench")


def calibrate(gate: Identification, scenes: Sequence[Scene], seed: int) -> None:
    """Thresholds and evidence by photographs of other vehicles, as the chain frames them, and renditions of them."""
    pids: dict[str, int] = {}
    query: list[Sample] = []
    gallery: list[Sample] = []
    with tempfile.TemporaryDirectory() as folder:
        for number, scene in enumerate(scenes):
            pid = pids.setdefault(scene.text, len(pids))
            content = rendition(_opened(scene.path), scene.plate, np.random.default_rng([seed, number])).content
            path = Path(folder) / f"{number}.jpg"
            path.write_bytes(content)
            for place, camera, samples in ((scene.path, 0, gallery), (path, 1, query)):
                framed = gate.framing.frame(VehiclePhoto(read_photo(place), modality=None))
                box, plate = framed.vehicle_photo.vehicle_box, framed.vehicle_photo.plate_box
                samples.append(Sample(place, pid, camera, vehicle_box=box, plate_boxes=(plate,) if plate else ()))
        direction = Direction("renditions", tuple(query), tuple(gallery))
        about = "renditions of other photographs"
        calibration.calibrate(gate, [direction], rate=0.001, unsure_rate=0.01, account="bench", about=about)


def ask(gate: Identification, scenes: Sequence[Scene], seed: int) -> dict[str, Counter[str]]:
    """Counts by set: what the chain found, how residents and strangers ended."""
    numbers: dict[str, int] = {}
    photos = {scene.path: VehiclePhoto(read_photo(scene.path), modality=None) for scene in scenes}
    own: dict[str, list[VehiclePhoto]] = {}
    for scene in scenes:
        own.setdefault(scene.text, []).append(photos[scene.path])
    for text, views in own.items():
        numbers[text] = gate.enrol(views, account="bench", plate=text)
    counts: dict[str, Counter[str]] = {}
    for number, scene in enumerate(scenes):
        row = counts.setdefault(scene.set, Counter())
        made = rendition(_opened(scene.path), scene.plate, np.random.default_rng([seed, number]))
        query = [VehiclePhoto(take_in(made.content, "query"), modality=None)]
        answer = gate.identify(query, account="bench")
        row.update(["photographs", *_chain(answer, made.plate, scene.text)])
        row.update([f"residents_{_outcome(answer, numbers[scene.text])}"])
        gate.register.forget(account="bench", vehicle_id=numbers[scene.text])
        row.update([f"strangers_{_outcome(gate.identify(query, account='bench'), None)}"])
        numbers[scene.text] = gate.enrol(own[scene.text], account="bench", plate=scene.text)
        print(f"{number + 1} of {len(scenes)}", end="\r", file=sys.stderr, flush=True)
    return counts


def _chain(answer: Answer, plate: Box, text: str) -> Iterator[str]:
    """What the chain found of a photograph."""
    [framed] = answer.framed
    if framed.detections is not None and any(_holds(found.box, plate) for found in framed.detections.vehicles):
        yield "vehicle_found"
        if framed.vehicle_photo.vehicle_box is None or _holds(framed.vehicle_photo.vehicle_box, plate):
            yield "vehicle_chosen"
    if _plate_found(framed, plate):
        yield "plate_found"
    if answer.plate is not None:
        yield "text_read"
        if answer.plate.reads[0].text == text:
            yield "text_exact"


def _plate_found(framed: Framed, plate: Box) -> bool:
    found = framed.vehicle_photo.plate_box
    if found is None:
        return False
    return bool(iou_matrix(*(np.array([[b[0], b[1], b[0] + b[2], b[1] + b[3]]]) for b in (found, plate))) >= _FOUND)


def _outcome(answer: Answer, own: int | None) -> str:
    """ "right" or "wrong" for a match, "named" for a stranger's, or else the outcome itself."""
    if answer.decision.outcome is not Outcome.match:
        return answer.decision.outcome.value
    if own is None:
        return "named"
    return "right" if answer.decision.vehicle == own else "wrong"


def _shares(row: Counter[str]) -> dict[str, Any]:
    count = row["photographs"]
    chain = ("vehicle_found", "vehicle_chosen", "plate_found", "text_read", "text_exact")
    return {
        "photographs": count,
        "chain": {name: round(row[name] / count, 4) for name in chain},
        "residents": {name: round(row[f"residents_{name}"] / count, 4) for name in _RIGHT},
        "strangers": {name: round(row[f"strangers_{name}"] / count, 4) for name in _STRANGERS},
    }


def timed(gate: Identification, scene: Scene, times: int) -> dict[str, Any]:
    """Seconds of one identification on one core, from the bytes of a large photograph to the answer; medians."""
    file = io.BytesIO()
    _opened(scene.path).resize(_LARGE, Image.Resampling.BICUBIC).save(file, "JPEG", quality=90)
    rows: list[dict[str, float]] = []
    with one_core():
        for _ in range(times + 1):
            wall, cpu = time.perf_counter(), time.process_time()
            photo = take_in(file.getvalue(), "large")
            taken = time.process_time()
            answer = gate.identify([VehiclePhoto(photo, modality=None)], account="bench")
            row = {
                "wall_s": time.perf_counter() - wall,
                "cpu_s": time.process_time() - cpu,
                "take_in_cpu_s": taken - cpu,
            }
            rows.append(row)
    if not answer.framed[0].detections:
        raise BenchError("nothing was searched for in the photograph: give a detector")
    medians = {name: round(float(np.median([row[name] for row in rows[1:]])), 3) for name in rows[0]}
    return {**medians, "read": answer.plate is not None, "aim": "under 0.6 s on one core"}


def _opened(path: Path) -> Image.Image:
    with open_image(path) as file:
        return upright_rgb(file)


def _holds(box: Box, plate: Box) -> bool:
    x, y = plate.left + plate.width / 2 - box.left, plate.top + plate.height / 2 - box.top
    return 0 <= x <= box.width and 0 <= y <= box.height


def _area(box: Box) -> float:
    return box.width * box.height


if __name__ == "__main__":
    command(main, sys.argv[1:])
