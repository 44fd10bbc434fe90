"""Photographs of vehicles with their plates in China (liuruoze/EasyPR, general_test)."""

from app.core.sample import Box, Sample
from app.data.readers.errors import DataSetError
from app.data.readers.name_lists import utf8_text
from app.data.readers.plate_splits import PlatePhotographs, numbered
from app.images.files import NoImagesError
from models.errors import MissingFileError


class PlatesEasyPr(PlatePhotographs):
    """Reader of the labelled photographs.

    177 photographs, day and night, with 205 plates, 201 of them different. Where the vehicles are was not labelled.

    Layout:

        general_test/{name}.jpg
        general_test/plates.tsv     a header, then file, x, y, w, h, colour, text with tabs between; (x, y) is top left

    No split of its own: see `app.data.readers.plate_splits`. pid is the plate; every image has a camid of its own.
    """

    about = "the EasyPR set"

    def _read(self) -> list[Sample]:
        table = self.root / "general_test" / "plates.tsv"
        if not table.is_file():
            raise MissingFileError(f"table not found: {table}")
        rows = []
        for line in utf8_text(table).splitlines()[1:]:
            try:
                name, left, top, width, height, _, text = line.split("\t")
                box = Box(float(left), float(top), float(width), float(height))
            except ValueError as error:
                raise DataSetError(f"{table}: not 'file x y w h colour text': {line!r}") from error
            path = table.parent / name
            if not path.is_file():
                raise MissingFileError(f"{table}: image not found: {path}")
            rows.append((path, box, text))
        if not rows:
            raise NoImagesError(f"{table} lists no images: looked for lines of 'file x y w h colour text'")
        pids = numbered([text for *_, text in rows])
        camids = {path: camid for camid, path in enumerate(dict.fromkeys(path for path, *_ in rows))}
        return [
            Sample(path, pids[text], camids[path], plate_boxes=(box,), plate_text=text, site="cn")
            for path, box, text in rows
        ]
