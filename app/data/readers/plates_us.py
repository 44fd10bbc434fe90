"""Plates of the United States cut out of photographs (openalpr/benchmarks, seg_and_ocr)."""

from app.core.sample import Sample
from app.data.readers.name_lists import read_labels
from app.data.readers.plate_crops import crops
from app.data.readers.plate_splits import PlatePhotographs


class PlatesUs(PlatePhotographs):
    """Reader of the crops; the photographs of the same source are `plates_openalpr`.

    525 crops, at most 280 px a side, with 506 different texts from 49 states and the District of Columbia; frontal,
    with graphics behind the characters. Small stacked letters and apostrophes are not part of the text.

    Layout:

        seg_and_ocr/usimages/{name}.jpg
        seg_and_ocr/groundtruth.csv     file, state, text, with commas between

    No split of its own: see `app.data.readers.plate_splits`. pid is the text, whatever the state; site is the state, of
    which one (oh) is in the test alone; every image has a camid of its own.
    """

    about = "the set of the United States"

    def _read(self) -> list[Sample]:
        folder = self.root / "seg_and_ocr"
        table = folder / "groundtruth.csv"
        rows = read_labels(table, ("file", "state", "text"), folder=folder / "usimages", separator=",")
        return crops((path, text, state) for path, (state, text) in rows)
