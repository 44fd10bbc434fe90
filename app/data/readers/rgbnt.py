"""RGBNT100 and RGBN300 (Li et al., AAAI 2020): vehicles in visible light, near infrared and, the first, thermal."""

import re
from pathlib import Path

from app.core.sample import Box, Modality, Sample
from app.data.readers.errors import DataSetError
from app.data.readers.name_lists import no_such_split
from app.data.readers.reader import Direction, both_ways
from app.images.decode import upright_size
from app.images.files import image_stem, images_in

_FOLDERS = {"train": "bounding_box_train", "query": "query", "gallery": "bounding_box_test"}
_SPLITS = ("train", "test", "all")
_NAME = re.compile(r"(?P<pid>\d+)_c(?P<cam>\d+)_\d+", re.ASCII)  # 0561_c0001_006.jpg


class Rgbnt:
    """Reader of RGBNT100 and RGBN300; visible against near infrared.

    RGBNT100: 100 vehicles, 17,250 images of three spectra side by side (768 x 128 px: visible, near infrared,
    thermal). RGBN300: 300 vehicles, 50,125 images of two (512 x 128 px). Eight cameras.

    Layout, in `root` or in its folder rgbir:

        bounding_box_train/0561_c0001_006.jpg      query/...      bounding_box_test/...

    An image gives two samples, one of each modality, cut out by their box. The three parts were taken at once, by one
    camera: the rule that a vehicle is not compared with itself in one camera keeps them apart.
    """

    column = 1  # near infrared

    def __init__(self, root: Path, *, seed: int = 0) -> None:
        self.root = Path(root)
        self.seed = seed

    def train(self) -> list[Sample]:
        """The training images by name, the visible part of each before the infrared one.

        Raises FileNotFoundError naming a missing folder, ValueError naming a file of another name or form."""
        return self._read("train")

    def evaluation(self, split: str) -> list[Direction]:
        """ "infrared_to_visible" and "visible_to_infrared" on "train", "test" (query against gallery) or "all".

        Raises ValueError for another split, and the errors of `train`."""
        if split not in _SPLITS:
            raise no_such_split("RGBNT", split, _SPLITS)
        if split == "test":
            return both_ways(self._read("query"), self._read("gallery"))
        parts = ["train"] if split == "train" else list(_FOLDERS)
        # The gallery may hold the queries, under the same names.
        distinct = {(s.path.name, s.modality): s for part in parts for s in self._read(part)}
        return both_ways(list(distinct.values()), list(distinct.values()))

    def _read(self, part: str) -> list[Sample]:
        root = self.root / "rgbir" if (self.root / "rgbir").is_dir() else self.root
        folder = root / _FOLDERS[part]
        samples = []
        for path in images_in(folder):
            if (match := _NAME.fullmatch(image_stem(path.name))) is None:
                raise DataSetError(f"not '<vehicle>_c<camera>_<number>.jpg': {path}")
            pid, camid = int(match["pid"]), int(match["cam"]) - 1
            boxes = _boxes(path, self.column)
            samples += [Sample(path, pid, camid, vehicle_box=box, modality=m) for m, box in boxes.items()]
        return samples


class RgbntThermal(Rgbnt):
    """Reader of RGBNT100; visible against thermal. See `Rgbnt`."""

    column = 2


def _boxes(path: Path, column: int) -> dict[Modality, Box]:
    """Where the visible part and part `column` are, by the form of an image: parts are twice as wide as high.

    Only its header is read: 50,000 take some seconds."""
    try:
        width, height = upright_size(path)
    except OSError as error:
        raise DataSetError(f"cannot read the size of {path}: {error}") from error
    parts = round(width / (2 * height))
    if parts not in (2, 3) or width % parts:
        raise DataSetError(f"{path} is {width} x {height} px: neither two nor three parts of two to one")
    if column >= parts:
        raise DataSetError(f"{path} has {parts} parts, and so no thermal one")
    side = width / parts
    return {"visible": Box(0, 0, side, height), "infrared": Box(column * side, 0, side, height)}
