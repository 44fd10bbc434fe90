"""Files of the plate reader that comes with the package, from a run of `experiment=plates_package`.

Run: python -m scripts.bench.package_reader run=outputs/plates_package-central/<time> out=app/training/packaged

Matrices are stored in half precision. Plates that the run did not learn from, those of `data.eval_split` and
`rendered=300` new ones of each region, half of them as in photographs of whole vehicles, are read in float32 and in
half precision; if more than 0.5 % of the texts differ, nothing is written. The reader's errors are measured on the same
plates. The last line is one JSON object with the marks that `app.training.packaged_reader.MARKS` must hold, and whole
plates read without an error, of the sets and of each region.
"""

import json
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from app.core.arrays import load_arrays
from app.core.packaged_file import mark_of
from app.data.dataset import open_source
from app.data.plate_batches import sized
from app.evaluation.plate_texts import PlateReading, measure_readings
from app.evaluation.reading_errors import measure_errors
from app.experiment.plate_run import PlateRun
from app.settings.checks import SettingsError
from app.settings.load import absolute
from app.synthetic.plates import KINDS, placed_plate
from app.training.checkpoint import Checkpoint
from app.training.packaged_reader import ERRORS, READER, pack, pack_errors, without_places
from models.alphabet import plain
from scripts.bench.errors import BenchError
from scripts.command import command, split_words, whole_number

MOST_BYTES, MOST_DIFFERENT = 1_500_000, 0.005
_OWN = {"run": "", "model": "central", "out": "", "rendered": "300"}
_SEED = 1_000_003  # of plates that no training renders: batches are seeded by pairs of numbers
_PART = 64


def main(argv: Sequence[str]) -> None:
    """Write both files and print their marks and figures. Raises BenchError, without a file, if half precision reads
    other texts or the file is too large."""
    own, words = split_words(argv, _OWN)
    for key in ("run", "out"):
        if not own[key]:
            raise SettingsError(f"{key}=... is missing")
    run = PlateRun.open(own["run"], own["model"], ["device=cpu", "train.precision=float32", *words])
    checkpoint = without_places(Checkpoint.read(absolute(own["run"]), own["model"]))
    with tempfile.TemporaryDirectory() as folder:
        half = pack(checkpoint, Path(folder)).arrays
        if (size := mark_of(Path(folder) / READER).size) > MOST_BYTES:
            raise BenchError(f"the reader takes {size} bytes, more than {MOST_BYTES}")
    plates = list(_plates(run, whole_number("rendered", own["rendered"], 0, 100_000)))
    full = _read(run, plates)
    load_arrays(run.network, half)
    found = _read(run, plates)
    different = float(np.mean([one.text != other.text for one, other in zip(full, found, strict=True)]))
    if different > MOST_DIFFERENT:
        raise BenchError(f"half precision reads {100 * different:.2f} % of the plates otherwise")
    pairs = [(reading, text) for reading, (_, _, text) in zip(found, plates, strict=True)]
    out = absolute(own["out"])
    pack(checkpoint, out)
    pack_errors(measure_errors(pairs), out)
    groups: dict[str, list[tuple[PlateReading, str]]] = {}
    for pair, (group, _, _) in zip(pairs, plates, strict=True):
        groups.setdefault(group, []).append(pair)
    figures: dict[str, Any] = {group: measure_readings(own_pairs) for group, own_pairs in groups.items()}
    marks = {name: mark_of(out / name)._asdict() for name in (READER, ERRORS)}
    print(json.dumps({"marks": marks, "plates": len(pairs), "different": different, "figures": figures}))


def _plates(run: PlateRun, rendered: int) -> Iterator[tuple[str, Tensor, str]]:
    """Group, image (3, H, W) uint8 and text of plates that the run did not learn from."""
    data = run.settings.data
    for direction in open_source(data, run.settings.seed).evaluation(data.eval_split):
        for sample in direction.query:
            text, image = plain(sample.plate_text or ""), run.task.image_reader.plate(sample)
            if text and image is not None:
                yield direction.name, image, text
    for number, kind in enumerate(KINDS):
        rng = np.random.default_rng((_SEED, number))
        for _ in range(rendered):
            made = placed_plate(rng, (kind,), photographs=0.5)
            yield f"rendered {kind}", sized(made.image, run.size), made.text


def _read(run: PlateRun, plates: Sequence[tuple[str, Tensor, str]]) -> list[PlateReading]:
    found: list[PlateReading] = []
    for start in range(0, len(plates), _PART):
        found += run.read_images(torch.stack([image for _, image, _ in plates[start : start + _PART]]))
    return found


if __name__ == "__main__":
    command(main, sys.argv[1:])
