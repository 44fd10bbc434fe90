"""Plates of Argentina cut out of photographs (ankandrew/cnn-ocr-lp, benchmark)."""

from app.core.sample import Sample
from app.data.readers.name_lists import read_labels
from app.data.readers.plate_crops import crops
from app.data.readers.plate_splits import PlatePhotographs


class PlatesAr(PlatePhotographs):
    """Reader of the crops.

    102 grey crops by day and by night, 97 plates: 53 crops of old plates with six characters, white on black, and 49
    of Mercosur ones with seven, black on white.

    Layout:

        benchmark/imgs/{time of day}_{number}_{number}.png
        benchmark/anotaciones.txt       benchmark/imgs/night_24354_47.png, text, with a tab between

    No split of its own: see `app.data.readers.plate_splits`. pid is the plate; every image has a camid of its own.
    """

    about = "the Argentine set"

    def _read(self) -> list[Sample]:
        rows = read_labels(self.root / "benchmark" / "anotaciones.txt", ("file", "text"), folder=self.root)
        return crops((path, text, "ar") for path, (text,) in rows)
