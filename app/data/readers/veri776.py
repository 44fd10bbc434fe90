"""VeRi-776 (Liu et al., 2016): vehicles on a Chinese road network, seen by 20 cameras."""

import re
from collections.abc import Iterable
from pathlib import Path
from xml.etree import ElementTree

from app.core.sample import Sample
from app.data.readers.errors import DataSetError
from app.data.readers.name_lists import no_such_split, read_list, require_images
from app.data.readers.reader import Direction, each_against_all
from app.images.files import image_stem, images_in
from models.errors import MissingFileError

_SPLITS = ("train", "test", "all")
_NAME = re.compile(r"(?P<pid>\d{4})_c(?P<cam>\d{3})_\d+_\d+", re.ASCII)  # 0002_c001_00030600_0.jpg
_DECLARATION = re.compile(r"^\s*<\?xml[^>]*\?>")


class Veri776:
    """Reader of VeRi-776.

    37,778 training images of 576 vehicles; 1,678 queries and 11,579 gallery images of 200 others; 20 cameras.
    A query is not compared with its own vehicle in its own camera. There is no validation split.

    Layout, where the lists and the labels may be missing:

        image_train/  image_query/  image_test/       0002_c001_00030600_0.jpg = vehicle 2, camera 1
        name_train.txt  name_query.txt  name_test.txt
        train_label.xml  test_label.xml               in gb2312

    A name list, where there is one, says which images belong to the split and in which order; otherwise it is every
    image of the folder by name. Label files must agree with the file names. The junk and ground-truth indices say
    the same as the leave-out rule and are not read.
    """

    def __init__(self, root: Path, *, seed: int = 0) -> None:
        self.root = Path(root)
        self.seed = seed

    def train(self) -> list[Sample]:
        """The training images in the order of name_train.txt, or by name.

        Raises FileNotFoundError naming a missing folder or listed image, ValueError for a name of another form, a
        name listed twice, or a label that contradicts it."""
        return self._read("image_train", "name_train.txt", "train_label.xml")

    def evaluation(self, split: str) -> list[Direction]:
        """ "test": queries against the gallery; "train", "all": every image against all.

        Raises ValueError for another split, and the errors of `train`."""
        if split not in _SPLITS:
            raise no_such_split("VeRi-776", split, _SPLITS)
        if split == "train":
            return [each_against_all("each_against_all", self.train())]
        query = self._read("image_query", "name_query.txt", "test_label.xml")
        gallery = self._read("image_test", "name_test.txt", "test_label.xml")
        if split == "test":
            return [Direction("query_to_gallery", tuple(query), tuple(gallery))]
        in_gallery = {sample.path.name for sample in gallery}  # the queries are copies of gallery images
        only_query = [sample for sample in query if sample.path.name not in in_gallery]
        return [each_against_all("each_against_all", [*self.train(), *gallery, *only_query])]

    def _read(self, folder_name: str, list_name: str, label_name: str) -> list[Sample]:
        folder = self.root / folder_name
        if not folder.is_dir():
            raise MissingFileError(f"VeRi-776 folder not found: {folder}")
        if (self.root / list_name).is_file():
            names = [words[0] for words in read_list(self.root / list_name)]
            require_images(folder, names)
        else:
            names = [path.name for path in images_in(folder)]
        samples = []
        for name in names:
            if (match := _NAME.fullmatch(image_stem(name))) is None:
                raise DataSetError(f"not a VeRi-776 file name: {folder / name}")
            samples.append(Sample(folder / name, pid=int(match["pid"]), camid=int(match["cam"]) - 1))
        if (self.root / label_name).is_file():
            _check_labels(self.root / label_name, samples)
        return samples


def _check_labels(path: Path, samples: Iterable[Sample]) -> None:
    """Check pids and cameras against a label file; images of only one of the two are passed over.

    Raises ValueError naming the file if it cannot be read, and the first image whose label is another one."""
    try:
        # The XML parser knows no gb2312, so the text is decoded here (gb18030 holds all of gb2312) and the
        # declaration, which would contradict that, is taken off.
        text = path.read_bytes().decode("gb18030")
        items = ElementTree.fromstring(_DECLARATION.sub("", text)).iter("Item")
        labels = {
            image_stem(item.attrib["imageName"]): (item.attrib["vehicleID"], item.attrib["cameraID"]) for item in items
        }
    except (UnicodeDecodeError, ElementTree.ParseError, KeyError) as error:
        raise DataSetError(f"{path} is not a VeRi-776 label file: {error!r}") from error
    for sample in samples:
        named = (f"{sample.pid:04d}", f"c{sample.camid + 1:03d}")
        if (label := labels.get(image_stem(sample.path.name), named)) != named:
            raise DataSetError(f"{path} says {label} for {sample.path.name}")
