"""Recognition of the plates in images with a trained reader.

Run: python -m scripts.read_plates crops/ one.jpg
     python -m scripts.read_plates run=outputs/plates_countries/<time> crops/ one.jpg
     python -m scripts.read_plates detector=packaged photographs/
     python -m scripts.read_plates run=... detector=outputs/detector refuse=0.5 photographs/

Without `run=` the reader that comes with the package reads. Each image is the crop of a plate; with `detector=`, a file
or folder of `scripts.train_detector` or `packaged` for the one that comes with the package, it is a whole photograph in
which plates are detected, best first. Folders are searched recursively in name order. `model=global` (or `central` if
there is no global one) is any checkpoint of the run, `device=auto` the device.

With `country=` (cn, us, br, ar, vn, europe, or a country of Europe) the formats of its plates decide between characters
that look alike.

One JSON object a plate: "file", "text", "confidence" of the whole plate in [0, 1], "box" as left, top, width and height
in pixels of the upright image (null for all of it), "confidences" of the characters, "country" whose formats the text
has, and "region", a province of China; null where the text does not tell. "text" is null if the confidence is below the
threshold `refuse=` (0, which refuses nothing). A line that the terminal cannot print is escaped as JSON. Counts are
printed on standard error; the exit status is 1 if a file could not be read.
"""

import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from app.core.printing import json_line, shown
from app.detection.plates import PlateFinder
from app.experiment.plate_files import FilePlate, PlateFiles
from app.experiment.plate_run import PlateRun
from app.images.files import images_of
from app.settings.checks import one_of
from app.settings.load import SettingsError, absolute
from models.plate_formats import COUNTRIES, origin_of
from scripts.command import command, decimal_number, split_words

PACKAGED = "packaged"
_OWN = {"run": "", "model": "", "detector": "", "refuse": "0", "country": "", "device": "auto"}


def main(argv: Sequence[str]) -> None:
    """Print one JSON object a plate. Ends with exit status 1 if a file could not be read."""
    own, places = split_words(argv, _OWN)
    if own["model"] and not own["run"]:
        raise SettingsError("model= is a checkpoint of a run: give run=RUN_FOLDER")
    if not places:
        raise SettingsError("no images given: name files or folders")
    if own["country"]:
        one_of("country", own["country"], tuple(COUNTRIES))
    least = decimal_number("refuse", own["refuse"], 0, 1)
    words = [f"device={own['device']}"]
    run = PlateRun.open(own["run"], own["model"], words) if own["run"] else PlateRun.packaged(words)
    finder = _finder(own["detector"]) if own["detector"] else None
    reader = PlateFiles(
        partial(run.read_images, country=own["country"]),
        run.size,
        run.settings.evaluation.batch_size,
        finder.find if finder else None,
        on_bad=lambda file, reason: print(shown(f"{file}: {reason}"), file=sys.stderr, flush=True),
    )
    plates = refused = 0
    for plate in reader.plates(images_of(map(Path, places))):
        plates += 1
        refused += plate.reading.confidence < least
        print(json_line(line_of(plate, least, own["country"])), flush=True)
    if not reader.files:
        raise SettingsError(f"there are no images in {', '.join(places)}")
    counts = [f"{plates} plates in {reader.files} files"]
    counts += [f"{refused} refused"] if least else []
    counts += [f"{reader.without} without a plate"] if finder else []
    counts += [f"{reader.bad} could not be read"] if reader.bad else []
    print(", ".join(counts), file=sys.stderr)
    if reader.bad:
        sys.exit(1)


def _finder(word: str) -> PlateFinder:
    return PlateFinder(None if word == PACKAGED else absolute(word))


def line_of(plate: FilePlate, least: float = 0.0, country: str = "") -> dict[str, Any]:
    """JSON object of a plate; without text if its confidence is below `least`."""
    reading = plate.reading
    refused = reading.confidence < least
    origin = origin_of("" if refused else reading.text, country)
    return {
        "file": str(plate.file),
        "text": None if refused else reading.text,
        "confidence": round(reading.confidence, 4),
        "box": None if plate.box is None else [round(value, 1) for value in plate.box],
        "confidences": [round(confidence, 4) for confidence in reading.confidences],
        "country": origin.country,
        "region": origin.region,
    }


if __name__ == "__main__":
    command(main, sys.argv[1:])
