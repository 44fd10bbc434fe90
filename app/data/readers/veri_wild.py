"""VERI-Wild (Lou et al., CVPR 2019): vehicles of a large district over one month, seen by 174 cameras."""

import re
from collections.abc import Iterable
from pathlib import Path

from app.core.sample import Sample
from app.data.readers.errors import DataSetError
from app.data.readers.name_lists import no_such_split, read_list, require_images
from app.data.readers.reader import Direction, each_against_all
from app.images.files import image_stem
from models.errors import MissingFileError

_TEST_LISTS = {"test": "test_3000", "test_5000": "test_5000", "test_10000": "test_10000"}
_SPLITS = ("train", *_TEST_LISTS, "all")
_NAME = re.compile(r"(?P<pid>\d+)/(?P<image>[^/]+)", re.ASCII)  # 00001/000001.jpg


class VeriWild:
    """Reader of VERI-Wild.

    416,314 images of 40,671 vehicles: 277,797 of 30,671 for training, 138,517 of 10,000 in the largest of the three
    test sets, which hold 3,000 ("test"), 5,000 and 10,000 vehicles. 174 cameras; a query is not compared with its own
    vehicle in its own camera. There is no validation split.

    Layout:

        images/00001/000001.jpg
        train_test_split/train_list.txt  test_3000.txt  test_3000_query.txt  test_5000.txt  ...
        train_test_split/vehicle_info.txt        (or beside images/)

    The lists hold `<vehicle>/<image>.jpg`; further words on a line are passed over. The names under which the authors
    gave the lists out, train_list_start0.txt and test_3000_id[_query].txt, are read too. vehicle_info.txt has a header
    and lines `vehicle/image;camera;time;model;type;colour`: cameras, from 1, and times are taken from there.
    """

    def __init__(self, root: Path, *, seed: int = 0) -> None:
        self.root = Path(root)
        self.seed = seed

    def train(self) -> list[Sample]:
        """The images of train_list.txt in its order.

        Raises FileNotFoundError naming a missing list or image, ValueError for a line of another form, an image
        listed twice, or one that vehicle_info.txt does not know."""
        return self._read(self._info(), "train_list", "train_list_start0")

    def evaluation(self, split: str) -> list[Direction]:
        """ "test" (3,000 vehicles), "test_5000", "test_10000": queries against the gallery; "train", "all": every
        image against all.

        "all" is the training list and the largest test set. Raises ValueError for another split, and the errors of
        `train`."""
        if split not in _SPLITS:
            raise no_such_split("VERI-Wild", split, _SPLITS)
        if split == "train":
            return [each_against_all("each_against_all", self.train())]
        info = self._info()
        name = _TEST_LISTS.get(split, "test_10000")
        query = self._read(info, f"{name}_query", f"{name}_id_query")
        gallery = self._read(info, name, f"{name}_id")
        if split != "all":
            return [Direction("query_to_gallery", tuple(query), tuple(gallery))]
        train = self._read(info, "train_list", "train_list_start0")
        every = dict.fromkeys([*train, *gallery, *query])  # the gallery list may hold the queries
        return [each_against_all("each_against_all", list(every))]

    def _info(self) -> dict[str, tuple[int, str]]:
        """Camera, from 0, and time of each "vehicle/image"."""
        found = [path for path in (self.root / "train_test_split", self.root) if (path / "vehicle_info.txt").is_file()]
        if not found:
            raise MissingFileError(f"list not found: {self.root / 'train_test_split' / 'vehicle_info.txt'}")
        path = found[0] / "vehicle_info.txt"
        info = {}
        for number, line in enumerate(_decode(path.read_bytes()).splitlines(), start=1):
            if number == 1 or not line.strip():
                continue  # the header
            cells = [cell.strip() for cell in line.split(";")]
            if len(cells) < 3 or not cells[1].isdecimal() or int(cells[1]) < 1:
                raise DataSetError(f"{path}, line {number}: not 'vehicle/image;camera;time;...': {line!r}")
            info[image_stem(cells[0])] = (int(cells[1]) - 1, cells[2])
        return info

    def _read(self, info: dict[str, tuple[int, str]], *list_names: str) -> list[Sample]:
        paths = [self.root / "train_test_split" / f"{name}.txt" for name in list_names]
        path = next((path for path in paths if path.is_file()), paths[0])
        names = [words[0] for words in read_list(path)]
        samples = list(_samples(path, names, self.root / "images", info))
        require_images(self.root / "images", names)
        return samples


def _samples(path: Path, names: Iterable[str], folder: Path, info: dict[str, tuple[int, str]]) -> Iterable[Sample]:
    for name in names:
        if (match := _NAME.fullmatch(image_stem(name))) is None:
            raise DataSetError(f"{path}: not '<vehicle>/<image>.jpg': {name!r}")
        if (known := info.get(image_stem(name))) is None:
            raise DataSetError(f"{path}: {name} is not in vehicle_info.txt, so its camera is unknown")
        yield Sample(folder / name, pid=int(match["pid"]), camid=known[0], time=known[1] or None)


def _decode(content: bytes) -> str:
    """Text in UTF-8, or else in the Chinese encoding: the model names of some copies are Chinese."""
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        return content.decode("gb18030", errors="replace")  # only the model's and colour's names can suffer
