"""MSVR310 (Zheng et al., Information Fusion 2023): vehicles in visible light, near infrared and thermal infrared."""

import re
from pathlib import Path

from app.core.sample import Modality, Sample
from app.data.readers.errors import DataSetError
from app.data.readers.name_lists import no_such_split
from app.data.readers.reader import Direction, both_ways
from app.images.files import NoImagesError, folders_in, image_stem, images_in

_FOLDERS = {"train": "bounding_box_train", "query": "query3", "gallery": "bounding_box_test"}
_SPLITS = ("train", "test", "all")
_NAME = re.compile(r"(?P<pid>\d+)_s(?P<scene>\d+)_v(?P<view>\d+)_\d+", re.ASCII)  # 0019_s012_v0_000.jpg


class Msvr310:
    """Reader of MSVR310; visible against near infrared.

    310 vehicles, 2,087 triples of images: 1,032 of 155 vehicles to train, 1,055 of the others as gallery, 591 of
    these as queries.

    Layout:

        bounding_box_train/0019/vis/0019_s012_v0_000.jpg      ni/ and th/ beside vis/, same names
        query3/...      bounding_box_test/...

    The set's rule leaves out images of the query's vehicle in the query's scene, so camid is the scene.
    """

    spectrum = "ni"

    def __init__(self, root: Path, *, seed: int = 0) -> None:
        self.root = Path(root)
        self.seed = seed

    def train(self) -> list[Sample]:
        """The training images by vehicle, spectrum and name, visible first.

        Raises FileNotFoundError naming a missing folder, ValueError naming a file of another name."""
        return self._read("train")

    def evaluation(self, split: str) -> list[Direction]:
        """ "infrared_to_visible" and "visible_to_infrared" on "train", "test" (query against gallery) or "all".

        Raises ValueError for another split, and the errors of `train`."""
        if split not in _SPLITS:
            raise no_such_split("MSVR310", split, _SPLITS)
        if split == "test":
            return both_ways(self._read("query"), self._read("gallery"))
        parts = ["train"] if split == "train" else list(_FOLDERS)
        # The queries are in the gallery, too.
        distinct = {(s.path.name, s.modality): s for part in parts for s in self._read(part)}
        return both_ways(list(distinct.values()), list(distinct.values()))

    def _read(self, part: str) -> list[Sample]:
        folder = self.root / _FOLDERS[part]
        if not (vehicles := folders_in(folder)):
            raise NoImagesError(f"no vehicles in {folder}: looked for folders <vehicle>/vis/<image>")
        spectra: dict[str, Modality] = {"vis": "visible", self.spectrum: "infrared"}
        samples = []
        for vehicle in vehicles:
            for name, modality in spectra.items():
                for path in images_in(vehicle / name, required=False):  # all together are, below
                    if (match := _NAME.fullmatch(image_stem(path.name))) is None:
                        raise DataSetError(f"not '<vehicle>_s<scene>_v<view>_<number>.jpg': {path}")
                    pid, scene = int(match["pid"]), int(match["scene"])
                    samples.append(Sample(path, pid, scene, modality=modality, view=match["view"]))
        for name, modality in spectra.items():
            if not any(sample.modality == modality for sample in samples):
                raise NoImagesError(f"no images in {folder}/<vehicle>/{name}")
        return samples


class Msvr310Thermal(Msvr310):
    """Reader of MSVR310; visible against thermal. See `Msvr310`."""

    spectrum = "th"
