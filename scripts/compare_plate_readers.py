"""Comparison of a published text reader with ours, on the same plates.

Run: python -m scripts.compare_plate_readers run=outputs/plates_countries/<time>
     python -m scripts.compare_plate_readers data=plates_countries data.root=FOLDER

Without `run=` the published one is measured alone. It is RapidOCR, with the PP-OCR networks in its package (the extra
`compare`). Both get the same crops of the run's data set, ours scaled to its network's input, RapidOCR unscaled; texts
are compared without blanks, hyphens and dots. RapidOCR is measured in three ways: `recogniser`, its recogniser on the
whole crop; `pipeline`, all lines found in the crop, in reading order; `tall_lines`, the lines of the pipeline at least
half as high as the tallest, since states and slogans are no part of a plate's number.

`model=global` (or `central` where there is no global one) is any checkpoint of the run; `threads=1` of the processor.
The last line is one JSON object; seconds are the median of one plate.
"""

import json
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

import torch
from PIL import Image

from app.core.sample import Sample
from app.data.crops import cut_as_it_is, plate_place
from app.data.dataset import open_source
from app.data.readers.reader import Direction
from app.evaluation.plate_texts import PlateReading, measure_directions
from app.experiment.plate_run import PlateRun
from app.experiment.published_reader import Line, PublishedReader, one_text, tall_lines
from app.images.decode import open_image, upright_rgb
from app.settings.load import load_settings
from scripts.command import command, split_words, whole_number

_OWN = {"run": "", "model": "", "threads": "1"}
Read = Callable[[Sample], PlateReading | None]
Measures = dict[str, Any]


def main(argv: Sequence[str]) -> None:
    """Print a table of every reader and direction, and as the last line a JSON object."""
    own, words = split_words(argv, _OWN)
    threads = whole_number("threads", own["threads"], 1, 1024)
    published = PublishedReader(threads)
    ways = ways_of(published)
    if own["run"]:
        run = PlateRun.open(own["run"], own["model"], words)
        settings = run.settings
        ways = {"ours": lambda sample: run.read([sample])[0], **ways}
    else:
        settings = load_settings(["experiment=plates_countries", *words])
    torch.set_num_threads(threads)
    directions = open_source(settings.data, settings.seed).evaluation(settings.data.eval_split)
    readers = {}
    for name, read in ways.items():
        readers[name] = measured(read, directions)
        print(f"{name} is measured, {readers[name]['seconds']} s a plate", file=sys.stderr, flush=True)
    print(table(readers))
    about = {"data": settings.data.reader, "split": settings.data.eval_split, "threads": threads}
    print(json.dumps({"published": published.version, **about, "readers": readers}))


def ways_of(published: PublishedReader) -> dict[str, Read]:
    """The three uses of the published reader, by name."""
    found: dict[Sample, list[Line]] = {}

    def recogniser(sample: Sample) -> PlateReading | None:
        plate = crop(sample)
        return published.recognise(plate) if plate else None

    def pipeline(sample: Sample) -> PlateReading | None:
        if (plate := crop(sample)) is None:
            return None
        found[sample] = published.lines(plate)
        return one_text(found[sample])

    def tall(sample: Sample) -> PlateReading | None:
        if sample not in found and pipeline(sample) is None:
            return None
        return one_text(tall_lines(found[sample]))

    return {"recogniser": recogniser, "pipeline": pipeline, "tall_lines": tall}


def crop(sample: Sample) -> Image.Image | None:
    """The image of a sample's plate, unscaled; None if it cannot be read."""
    if (place := plate_place(sample, rectify=True)) is None:
        return None
    path, cut = place
    try:
        with open_image(path) as file:
            return cut_as_it_is(upright_rgb(file), cut)
    except (OSError, ValueError):  # as `app.data.crops.ImageReader`
        return None


def measured(read: Read, directions: Sequence[Direction]) -> Measures:
    """Measures, those of each direction among them, and the median seconds of a plate, decoding included."""
    seconds: list[float] = []

    def one_by_one(samples: Sequence[Sample]) -> list[PlateReading | None]:
        found = []
        for sample in samples:
            started = time.perf_counter()
            found.append(read(sample))
            seconds.append(time.perf_counter() - started)
        return found

    measures, rows = measure_directions(one_by_one, directions)
    return {**measures, "seconds": round(statistics.median(seconds), 5), "directions": rows}


def table(readers: dict[str, Measures]) -> str:
    """Accuracy of whole plates, and character error rate, in per cent: a line a direction, a column a reader."""
    rows = {name: {**measures["directions"], "all": measures} for name, measures in readers.items()}
    directions = list(next(iter(rows.values())))
    width = max(map(len, ["direction", *directions]))
    lines = ["  ".join([f"{'direction':<{width}}", "plates", *(f"{name:>15}" for name in rows)])]
    for direction in directions:
        cells = [row[direction] for row in rows.values()]
        shown = [f"{100 * cell['accuracy']:5.1f} / {100 * cell['character_error_rate']:5.1f}" for cell in cells]
        counted = f"{cells[0]['queries']:6.0f}"
        lines.append("  ".join([f"{direction:<{width}}", counted, *(f"{cell:>15}" for cell in shown)]))
    return "\n".join(lines)


if __name__ == "__main__":
    command(main, sys.argv[1:])
