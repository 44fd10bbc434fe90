"""Two-camera set of a multi-lane road in Vietnam (Khoa-Nguyen-Truong/Vehicle-Re-ID-Dataset)."""

import re
from pathlib import Path

from app.core.sample import Sample
from app.data.readers.errors import DataSetError
from app.data.readers.name_lists import no_such_split, read_list, require_images
from app.data.readers.reader import Direction
from app.images.files import image_stem

_FOLDER = {"train": "train", "val": "train", "test": "test"}  # split -> folder under images/
_SPLITS = (*_FOLDER, "all")
_NAME = re.compile(r"(?P<type>[a-z]+)_(?P<number>\d+)_cam(?P<cam>[12])", re.ASCII)  # car_0001_cam1.jpg


class TwoCam:
    """Reader of the two-camera set.

    792 images of 396 vehicles (cars, motorcycles, trucks, buses), one in each camera: 283 vehicles to train, 71 to
    validate, 42 to test. In `train` the two views are alike; in `test` the second camera is nearer, at another angle.

    Layout:

        images/train/car_0001_cam1.jpg  images/test/car_0001_cam2.jpg
        train.txt  val.txt  test.txt         train and val list images of images/train, test those of images/test

    A vehicle is its folder, type and number: car_0001 of images/test is another one than that of images/train. pids
    count from 0 over all three lists, in the order of (folder, type, number). camid 0 is cam1.
    """

    def __init__(self, root: Path, *, seed: int = 0) -> None:
        self.root = Path(root)
        self.seed = seed

    def train(self) -> list[Sample]:
        """The images of train.txt in its order.

        Raises FileNotFoundError naming a missing list, folder or image, ValueError for a file name of another form,
        an image listed twice, or a vehicle in two lists."""
        return self._read()["train"]

    def evaluation(self, split: str) -> list[Direction]:
        """ "cam1_to_cam2" and "cam2_to_cam1" on "train", "val", "test" or "all".

        Raises ValueError for another split, and the errors of `train`."""
        if split not in _SPLITS:
            raise no_such_split("the two-camera set", split, _SPLITS)
        lists = self._read()
        samples = [sample for name in _FOLDER for sample in lists[name]] if split == "all" else lists[split]
        first = tuple(sample for sample in samples if sample.camid == 0)
        second = tuple(sample for sample in samples if sample.camid == 1)
        return [Direction("cam1_to_cam2", first, second), Direction("cam2_to_cam1", second, first)]

    def _read(self) -> dict[str, list[Sample]]:
        """All three splits: a pid must not depend on which of them is asked for."""
        keys: dict[str, list[tuple[Path, tuple[str, str, int], int]]] = {}
        split_of: dict[tuple[str, str, int], str] = {}
        for split, folder_name in _FOLDER.items():
            folder = self.root / "images" / folder_name
            names = [words[0] for words in read_list(self.root / f"{split}.txt")]
            keys[split] = []
            for name in names:
                if (match := _NAME.fullmatch(image_stem(name))) is None:
                    raise DataSetError(f"{self.root / split}.txt: not '<type>_<number>_cam<1|2>.jpg': {name!r}")
                key = (folder_name, match["type"], int(match["number"]))
                if split_of.setdefault(key, split) != split:
                    raise DataSetError(f"{split_of[key]}.txt and {split}.txt of {self.root} share a vehicle: {name}")
                keys[split].append((folder / name, key, int(match["cam"]) - 1))
            require_images(folder, names)
        pids = {key: pid for pid, key in enumerate(sorted(split_of, key=lambda key: (key[0] == "test", *key)))}
        return {split: [Sample(path, pids[key], camid) for path, key, camid in rows] for split, rows in keys.items()}
