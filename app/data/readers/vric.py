"""VRIC, Vehicle Re-Identification in Context (Kanaci et al., GCPR 2018): crops of the UA-DETRAC tracking videos."""

from pathlib import Path

from app.core.sample import Sample
from app.data.readers.errors import DataSetError
from app.data.readers.name_lists import no_such_split, read_list, require_images
from app.data.readers.reader import Direction, each_against_all

_SPLITS = ("train", "test", "all")


class Vric:
    """Reader of VRIC.

    54,808 training images of 2,811 vehicles; one query and one gallery image of each of 2,811 others, never from
    the same camera. The crops vary much in size and sharpness. There is no validation split.

    Layout:

        train_images/  probe_images/  gallery_images/
        vric_train.txt  vric_probe.txt  vric_gallery.txt      lines "<image> <vehicle> <camera>"

    camid is the camera as the lists number it.
    """

    def __init__(self, root: Path, *, seed: int = 0) -> None:
        self.root = Path(root)
        self.seed = seed

    def train(self) -> list[Sample]:
        """The images of vric_train.txt in its order.

        Raises FileNotFoundError naming a missing list, folder or image, ValueError for a line of another form or an
        image listed twice."""
        return self._read("train")

    def evaluation(self, split: str) -> list[Direction]:
        """ "test": probes against the gallery; "train", "all": every image against all.

        Raises ValueError for another split, and the errors of `train`."""
        if split not in _SPLITS:
            raise no_such_split("VRIC", split, _SPLITS)
        if split == "train":
            return [each_against_all("each_against_all", self.train())]
        query, gallery = self._read("probe"), self._read("gallery")
        if split == "test":
            return [Direction("query_to_gallery", tuple(query), tuple(gallery))]
        return [each_against_all("each_against_all", [*self.train(), *query, *gallery])]

    def _read(self, part: str) -> list[Sample]:
        path, folder = self.root / f"vric_{part}.txt", self.root / f"{part}_images"
        samples = []
        for words in read_list(path):
            if len(words) != 3 or not (words[1].isdecimal() and words[2].isdecimal()):
                raise DataSetError(f"{path}: not '<image> <vehicle> <camera>': {' '.join(words)!r}")
            samples.append(Sample(folder / words[0], pid=int(words[1]), camid=int(words[2])))
        require_images(folder, (sample.path.name for sample in samples))
        return samples
