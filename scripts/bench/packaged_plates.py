"""Whole plates that the packaged reader reads, by set and country, and of rendered plates by condition.

Run: python -m scripts.bench.packaged_plates root=../shared/data
     python -m scripts.bench.packaged_plates rendered=200

With `root=`, the folder of the sets of plates, the quarter of each set that is kept for the test, cut out at the
labelled box with the margin that detectors' boxes get. Without it rendered plates alone, `rendered=100` of each region:
level, tilted (spread of 8 degrees), at night, of two lines. Each row is read without and with the formats of its
country.
`run=RUN_FOLDER` (`model=`) measures another reader.

The last line is one JSON object: accuracy and character error rate, free and with formats, in [0, 1].
"""

import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from app.core.sample import Sample
from app.data.plate_batches import sized
from app.data.readers.plates_countries import PlatesCountries
from app.data.readers.plates_openalpr import PlatesOpenAlpr
from app.evaluation.plate_texts import measure_readings
from app.experiment.plate_run import PlateRun
from app.synthetic.plates import KINDS, MadePlate
from app.synthetic.plates.made import plate_seen, region_of
from models.alphabet import plain
from scripts.command import command, split_words, whole_number

_OWN = {"root": "", "rendered": "100", "run": "", "model": ""}
_CONDITIONS: dict[str, dict[str, Any]] = {
    "level": {},
    "tilted": {"tilt": 8.0},
    "night": {"night": 1.0},
    "two lines": {},
}
_SEED, _PART, _TRIES = 2_000_003, 64, 40
Plates = list[tuple[Tensor, str]]


def main(argv: Sequence[str]) -> None:
    """Print a line for each row of the table, and all as one JSON object."""
    own, words = split_words(argv, _OWN)
    words = ["device=cpu", *words]
    run = PlateRun.open(own["run"], own["model"], words) if own["run"] else PlateRun.packaged(words)
    rows: dict[str, dict[str, float]] = {}
    for name, country, plates in _groups(run, own["root"], whole_number("rendered", own["rendered"], 0, 100_000)):
        row = {"plates": float(len(plates))}
        for way, used in (("free", ""), ("formats", country)):
            images, texts = zip(*plates, strict=True)
            found = []
            for start in range(0, len(images), _PART):
                found += run.read_images(torch.stack(images[start : start + _PART]), used)
            measures = measure_readings(list(zip(found, texts, strict=True)))
            row |= {f"{way}_{key}": measures[key] for key in ("accuracy", "character_error_rate")}
        rows[name] = row
        print(f"{name:<28} {len(plates):>5} plates  {100 * row['free_accuracy']:5.1f} %"
              f"  with formats {100 * row['formats_accuracy']:5.1f} %", flush=True)  # fmt: skip
    print(json.dumps(rows))


def _groups(run: PlateRun, root: str, rendered: int) -> Iterator[tuple[str, str, Plates]]:
    """Name, country and plates of each row."""
    if root:
        brazil = [
            s for s in PlatesOpenAlpr(Path(root) / "plates-openalpr").evaluation("test")[0].query if s.site == "br"
        ]
        for direction in PlatesCountries(Path(root)).evaluation("test"):
            yield direction.name, direction.name.split("_")[0], _of(run, direction.query)
        yield "br_photographs", "br", _of(run, brazil)
    for condition in _CONDITIONS if rendered else ():
        for number, kind in enumerate(KINDS):
            rng = np.random.default_rng((_SEED, number, list(_CONDITIONS).index(condition)))
            plates = _rendered(rng, kind, condition, rendered)
            if plates:
                yield f"rendered {kind}, {condition}", kind, [(sized(p.image, run.size), p.text) for p in plates]


def _of(run: PlateRun, samples: Sequence[Sample]) -> Plates:
    found = [(run.task.image_reader.plate(sample), plain(sample.plate_text or "")) for sample in samples]
    return [(image, text) for image, text in found if image is not None and text]


def _rendered(rng: np.random.Generator, kind: str, condition: str, count: int) -> list[MadePlate]:
    """Plates of a condition; none where the region has no plates of two lines."""
    design_of, camera = region_of(kind)
    camera = replace(camera, **_CONDITIONS[condition])
    plates: list[MadePlate] = []
    for tried in range(_TRIES * count):
        plate = plate_seen(rng, design_of(rng), camera)
        if condition != "two lines" or plate.lines.max() > 0:
            plates.append(plate)
        if len(plates) == count or (not plates and tried > _TRIES):
            break
    return plates


if __name__ == "__main__":
    command(main, sys.argv[1:])
