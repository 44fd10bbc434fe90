"""Recognition of the plates in images with a trained reader.

Run: python -m scripts.read_plates run=outputs/plates_countries/<time> crops/ one.jpg
     python -m scripts.read_plates run=... detector=outputs/detector refuse=0.5 photographs/

Each image is the crop of a plate; with `detector=`, a file or folder of `scripts.train_detector`, it is a whole
photograph in which plates are detected, best first. Folders are searched recursively in name order. `model=global` (or
`central` if there is no global one) is any checkpoint of the run, `device=auto` the device.

One JSON object a plate: "file", "text", "confidence" of the whole plate in [0, 1], "box" as left, top, width and height
in pixels of the upright image (null for all of it), "confidences" of the characters. "text" is null if the confidence
is below the threshold `refuse=` (0, which refuses nothing). A line that the terminal cannot print is escaped as JSON.
Counts are printed on standard error; the exit status is 1 if a file could not be read.
"""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from app.core.printing import json_line, shown
from app.detection.plates import PlateFinder
from app.experiment.plate_files import FilePlate, PlateFiles
from app.experiment.plate_run import PlateRun
from app.images.files import images_of
from app.settings.load import SettingsError, absolute
from scripts.command import command, decimal_number, split_words

_OWN = {"run": "", "model": "", "detector": "", "refuse": "0", "device": "auto"}


def main(argv: Sequence[str]) -> None:
    """Print one JSON object a plate. Ends with exit status 1 if a file could not be read."""
    own, places = split_words(argv, _OWN)
    if not own["run"]:
        raise SettingsError("run=RUN_FOLDER is missing")
    if not places:
        raise SettingsError("no images given: name files or folders")
    least = decimal_number("refuse", own["refuse"], 0, 1)
    run = PlateRun.open(own["run"], own["model"], [f"device={own['device']}"])
    finder = PlateFinder(absolute(own["detector"])) if own["detector"] else None
    reader = PlateFiles(
        run.read_images,
        run.size,
        run.settings.evaluation.batch_size,
        finder.find if finder else None,
        on_bad=lambda file, reason: print(shown(f"{file}: {reason}"), file=sys.stderr, flush=True),
    )
    plates = refused = 0
    for plate in reader.plates(images_of(map(Path, places))):
        plates += 1
        refused += plate.reading.confidence < least
        print(json_line(line_of(plate, least)), flush=True)
    if not reader.files:
        raise SettingsError(f"there are no images in {', '.join(places)}")
    counts = [f"{plates} plates in {reader.files} files"]
    counts += [f"{refused} refused"] if least else []
    counts += [f"{reader.without} without a plate"] if finder else []
    counts += [f"{reader.bad} could not be read"] if reader.bad else []
    print(", ".join(counts), file=sys.stderr)
    if reader.bad:
        sys.exit(1)


def line_of(plate: FilePlate, least: float = 0.0) -> dict[str, Any]:
    """JSON object of a plate; without text if its confidence is below `least`."""
    reading = plate.reading
    return {
        "file": str(plate.file),
        "text": reading.text if reading.confidence >= least else None,
        "confidence": round(reading.confidence, 4),
        "box": None if plate.box is None else [round(value, 1) for value in plate.box],
        "confidences": [round(confidence, 4) for confidence in reading.confidences],
    }


if __name__ == "__main__":
    command(main, sys.argv[1:])
