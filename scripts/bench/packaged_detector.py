"""Plates that the packaged detector finds in whole photographs, and the packaged reader reads there.

Run: python -m scripts.bench.packaged_detector plates_easypr=../shared/data/plates-easypr-cn \\
         plates_openalpr=../shared/data/plates-openalpr

The photographs of `split=test` (or `all`) of each set, by region, as `scripts.read_plates` takes them.
`detector=` (a file or folder) measures another detector. A plate is found by a box with an intersection over union of
at least 0.5, each box finds one. Where a set marks one plate of a photograph, others that are found count as wrong.

The last line is one JSON object: plates, recall, precision, texts without an error of all plates, in [0, 1], and
seconds of one core a photograph, without decoding: medians, to find, and to find and read.
"""

import json
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from app.core.sample import Box, Sample
from app.data.crops import cut_image, with_margin
from app.data.readers.reader import open_reader
from app.detection.average_precision import match_boxes
from app.detection.plates import PlateFinder
from app.experiment.plate_run import PlateRun
from app.images.decode import open_image, upright_rgb
from app.settings.checks import SettingsError, one_of
from app.settings.load import absolute
from models.alphabet import plain
from scripts.bench.one_core import one_core
from scripts.command import command, split_words

SETS = ("plates_easypr", "plates_openalpr")
_OWN = {"detector": "packaged", "split": "test", **dict.fromkeys(SETS, "")}
_IOU = 0.5


@dataclass(frozen=True)
class Photograph:
    """A photograph with its marked plates, a sample each."""

    path: Path
    plates: tuple[Sample, ...]

    @property
    def corners(self) -> np.ndarray:
        """Boxes (M, 4) as left, top, right, bottom."""
        return corners_of([sample.plate_boxes[0] for sample in self.plates])

    def image(self) -> Image.Image:
        """The photograph, upright."""
        with open_image(self.path) as file:
            return upright_rgb(file)


def corners_of(boxes: Sequence[Box]) -> np.ndarray:
    """Boxes (N, 4) as left, top, right, bottom."""
    rows = [[box.left, box.top, box.left + box.width, box.top + box.height] for box in boxes]
    return np.array(rows, np.float64).reshape(-1, 4)


def photographs_of(own: dict[str, str]) -> dict[str, list[Photograph]]:
    """The photographs of the sets that are named, by set and region."""
    one_of("split", own["split"], ("test", "all"))
    if not any(own[name] for name in SETS):
        raise SettingsError(f"give a set of photographs: {', '.join(f'{name}=FOLDER' for name in SETS)}")
    groups: dict[str, dict[Path, list[Sample]]] = {}
    for name in SETS:
        reader = open_reader(name, absolute(own[name]), seed=0) if own[name] else None
        for sample in reader.evaluation(own["split"])[0].query if reader else ():
            groups.setdefault(f"{name} {sample.site}", {}).setdefault(sample.path, []).append(sample)
    return {
        name: [Photograph(path, tuple(samples)) for path, samples in group.items()] for name, group in groups.items()
    }


def main(argv: Sequence[str]) -> None:
    """Print a line for each set and region, and all as one JSON object."""
    own, words = split_words(argv, _OWN)
    if words:
        raise SettingsError(f"{words[0]}: not a word of this bench")
    groups = photographs_of(own)
    finder = PlateFinder(None if own["detector"] == "packaged" else absolute(own["detector"]))
    reader = PlateRun.packaged(["device=cpu"])
    rows: dict[str, dict[str, Any]] = {}
    with one_core():
        for name, photographs in groups.items():
            rows[name] = row = measured(finder, reader, photographs)
            print(f"{name}: " + "  ".join(f"{key} {value}" for key, value in row.items()), flush=True)
    print(json.dumps(rows))


def measured(finder: PlateFinder, reader: PlateRun, photographs: Sequence[Photograph]) -> dict[str, Any]:
    """Figures of a group of photographs."""
    plates = boxes = right = exact = 0
    seconds: list[tuple[float, float]] = []
    for photograph in photographs:
        image = photograph.image()
        begun = time.process_time()
        found = finder.find(image)
        after = time.process_time()
        texts = list(_texts(reader, image, found))
        seconds.append((after - begun, time.process_time() - begun))
        matched, text_right = _right(photograph, found, texts)
        plates, boxes = plates + len(photograph.plates), boxes + len(found)
        right, exact = right + matched, exact + text_right
    find, both = np.median(np.array(seconds), axis=0)
    return {
        "photographs": len(photographs),
        "plates": plates,
        "recall": round(right / max(1, plates), 4),
        "precision": round(right / max(1, boxes), 4),
        "text_exact": round(exact / max(1, plates), 4),
        "find_s": round(float(find), 3),
        "find_and_read_s": round(float(both), 3),
    }


def _right(photograph: Photograph, found: Sequence[Box], texts: Sequence[str]) -> tuple[int, int]:
    """How many boxes are right, and how many of the plates in them were read without an error."""
    shown = corners_of(found)
    falling = -np.arange(len(found), dtype=np.float64)  # best first
    matched = exact = 0
    for row in np.flatnonzero(match_boxes(shown, falling, photograph.corners, _IOU)).tolist():
        box = shown[row : row + 1]
        matched += 1
        exact += any(
            plain(sample.plate_text or "") == texts[row]
            for sample in photograph.plates
            if match_boxes(box, np.ones(1), corners_of(sample.plate_boxes[:1]), _IOU)[0]
        )
    return matched, exact


def _texts(reader: PlateRun, image: Image.Image, found: Sequence[Box]) -> Iterator[str]:
    if found:
        crops = [cut_image(image, with_margin(box), reader.size) for box in found]
        yield from (reading.text for reading in reader.read_images(torch.stack(crops)))


if __name__ == "__main__":
    command(main, sys.argv[1:])
