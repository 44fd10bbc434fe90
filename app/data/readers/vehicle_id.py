"""PKU VehicleID (Liu et al., CVPR 2016): vehicles of a small Chinese city by day, seen from the front or the rear."""

from dataclasses import replace
from pathlib import Path

import numpy as np

from app.core.sample import Sample
from app.data.readers.errors import DataSetError
from app.data.readers.name_lists import no_such_split, read_list, require_images
from app.data.readers.reader import Direction
from app.images.files import images_in

_TEST_LISTS = {
    "test": "test_list_800.txt",
    "test_1600": "test_list_1600.txt",
    "test_2400": "test_list_2400.txt",
    "test_3200": "test_list_3200.txt",
    "test_6000": "test_list_6000.txt",
    "test_13164": "test_list_13164.txt",
}
_SPLITS = ("train", *_TEST_LISTS, "all")
_DRAWS = 10


class VehicleID:
    """Reader of VehicleID.

    113,346 training images of 13,164 vehicles; test lists of 800, 1,600 and 2,400 vehicles hold 6,493, 13,377 and
    19,777 images. There are larger lists of 3,200, 6,000 and 13,164 vehicles.

    Layout:

        image/0000001.jpg
        train_test_split/train_list.txt  test_list_800.txt  ...     lines "<image without .jpg> <vehicle>"

    One random image of each vehicle is the gallery and the others are queries: ten seeded draws, ten directions
    "draw-0" to "draw-9", whose mean is the result. The set names no cameras, so every gallery image counts: queries
    have camid 0 and the gallery has camid 1. Training images have camid 0.
    """

    def __init__(self, root: Path, *, seed: int = 0) -> None:
        self.root = Path(root)
        self.seed = seed

    def train(self) -> list[Sample]:
        """The images of train_list.txt in its order.

        Raises FileNotFoundError naming a missing list, folder or image, ValueError for a line of another form or an
        image listed twice."""
        return self._read("train_list.txt")

    def evaluation(self, split: str) -> list[Direction]:
        """ "test" (800 vehicles), "test_1600", "test_2400", ...: ten draws; "train", "all": one draw.

        "all" is the training list and every test list in the folder. Raises ValueError for another split or if two
        lists give an image to two vehicles, and the errors of `train`."""
        if split in _TEST_LISTS:
            samples = self._read(_TEST_LISTS[split])
            return [self._draw(samples, draw) for draw in range(_DRAWS)]
        if split == "train":
            return [self._draw(self.train(), 0)]
        if split == "all":
            return [self._draw(self._all(), 0)]
        raise no_such_split("VehicleID", split, _SPLITS)

    def _all(self) -> list[Sample]:
        by_path = {sample.path: sample for sample in self.train()}
        for name in _TEST_LISTS.values():  # the smaller lists are parts of the larger ones
            if not (self.root / "train_test_split" / name).is_file():
                continue
            for sample in self._read(name):
                if by_path.setdefault(sample.path, sample) != sample:
                    raise DataSetError(f"the lists give two vehicles for {sample.path}; one of them stands in {name}")
        return list(by_path.values())

    def _read(self, list_name: str) -> list[Sample]:
        path, folder = self.root / "train_test_split" / list_name, self.root / "image"
        # The lists leave the ending out; copies of the set differ in it.
        named = {image.stem: image.name for image in images_in(folder)}
        samples = []
        for words in read_list(path):
            if len(words) != 2 or not words[1].isdecimal():
                raise DataSetError(f"{path}: not '<image> <vehicle>': {' '.join(words)!r}")
            samples.append(Sample(folder / named.get(words[0], f"{words[0]}.jpg"), pid=int(words[1]), camid=0))
        require_images(folder, (sample.path.name for sample in samples))
        return samples

    def _draw(self, samples: list[Sample], draw: int) -> Direction:
        places: dict[int, list[int]] = {}
        for place, sample in enumerate(samples):
            places.setdefault(sample.pid, []).append(place)
        rng = np.random.default_rng((self.seed, draw))
        chosen = {places[pid][rng.integers(len(places[pid]))] for pid in sorted(places)}
        query = tuple(sample for place, sample in enumerate(samples) if place not in chosen)
        gallery = tuple(replace(samples[place], camid=1) for place in sorted(chosen))
        return Direction(f"draw-{draw}", query, gallery)
