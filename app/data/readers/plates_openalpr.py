"""Photographs of vehicles with their plates from three regions (openalpr/benchmarks, endtoend)."""

from pathlib import Path

from app.core.sample import Box, Sample
from app.data.readers.errors import DataSetError
from app.data.readers.name_lists import utf8_text
from app.data.readers.plate_splits import PlatePhotographs, numbered
from app.images.files import labels_in
from models.errors import MissingFileError

REGIONS = ("us", "eu", "br")


class PlatesOpenAlpr(PlatePhotographs):
    """Reader of the end-to-end photographs.

    312 photographs, 157 of the United States, 75 of Europe, 80 of Brazil; 302 different plates; one plate is labelled
    in each. Where the vehicle is was not labelled.

    Layout:

        endtoend/us/{name}.jpg  endtoend/us/{name}.txt      file, left, top, width, height, text, with tabs between
        endtoend/eu/...         endtoend/br/...

    No split of its own: see `app.data.readers.plate_splits`. pid is the plate, camid the region, site its name.
    """

    about = "the openalpr set"

    def _read(self) -> list[Sample]:
        rows = []
        for camid, region in enumerate(REGIONS):
            for label in labels_in(self.root / "endtoend" / region, ".txt"):
                for line in utf8_text(label).splitlines():
                    if line.strip():
                        rows.append((camid, *_parse(label, line)))
        pids = numbered([text for *_, text in rows])
        return [
            Sample(path, pids[text], camid, plate_boxes=(box,), plate_text=text, site=REGIONS[camid])
            for camid, path, box, text in rows
        ]


def _parse(label: Path, line: str) -> tuple[Path, Box, str]:
    cells = line.split("\t")
    try:
        name, left, top, width, height, text = cells
        box = Box(float(left), float(top), float(width), float(height))
    except ValueError as error:
        raise DataSetError(f"{label}: not 'file left top width height text': {line!r}") from error
    path = label.parent / name
    if not path.is_file():
        raise MissingFileError(f"{label}: image not found: {path}")
    return path, box, text
