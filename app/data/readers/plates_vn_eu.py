"""Plates of Vietnam, Croatia and Czechia cut out of photographs (vitocolerole/label_plate_number)."""

from app.core.sample import Sample
from app.data.readers.errors import DataSetError
from app.data.readers.name_lists import read_labels
from app.data.readers.plate_crops import crops
from app.data.readers.plate_splits import PlatePhotographs

VIETNAM = ("vn-one-line", "vn-two-line")
EUROPE = ("hr", "cz")


class PlatesVnEu(PlatePhotographs):
    """Reader of the crops.

    1489 crops, at most 220 px a side, of 1009 plates: 970 of Vietnam in two lines, 293 in one, 122 of Czechia, 104 of
    Croatia. The texts were read by a program and about 3 % are wrong, most often a 4 read as 7: 97 % is about the
    ceiling.

    Layout:

        images/{name}.jpg
        labels.tsv      a header, then file, text, format, with tabs between

    The text of a plate in two lines is the upper one, then the lower one. No split of its own: see
    `app.data.readers.plate_splits`. pid is the plate, site the format; every image has a camid of its own.
    """

    about = "the set of Vietnam and Europe"

    def _read(self) -> list[Sample]:
        table = self.root / "labels.tsv"
        rows = read_labels(table, ("file", "text", "format"), folder=self.root, header=True)
        for path, (_, kind) in rows:
            if kind not in VIETNAM + EUROPE:
                raise DataSetError(f"{table}: unknown format {kind!r} of {path.name}")
        return crops((path, text, kind) for path, (text, kind) in rows)
