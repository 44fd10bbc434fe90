"""SYSU-MM01 (Wu et al., ICCV 2017): persons in four visible and two near-infrared cameras, indoors and outdoors."""

from pathlib import Path

import numpy as np

from app.core.sample import Sample
from app.data.readers.errors import DataSetError
from app.data.readers.name_lists import no_such_split, utf8_text
from app.data.readers.reader import Direction, both_ways
from app.images.files import NoImagesError, images_in
from models.errors import MissingFileError

_INFRARED = (3, 6)
_ALL, _INDOOR = (1, 2, 4, 5), (1, 2)  # visible cameras of the two protocols
_PLACES = {1: 0, 2: 1, 3: 1, 4: 2, 5: 3, 6: 4}  # cameras 2 and 3 hang in one room
_TRIALS = 10
_SPLITS = ("train", "test", "indoor", "test_reverse", "indoor_reverse", "all")


class SysuMM01:
    """Reader of SYSU-MM01.

    491 persons: 296 to train, 99 to validate, 96 to test; 22,258 visible and 11,909 infrared images of the first two
    are for training, as published figures train on both.

    Layout:

        cam1/0001/0001.jpg  ...  cam6/...      cameras 1, 2, 4, 5 are visible, 3 and 6 infrared
        exp/train_id.txt  val_id.txt  test_id.txt      one line of numbers with commas between

    Queries are the infrared images of the test, the gallery one random visible image of each person and camera: of
    all four cameras ("test", all search) or of the two indoors ("indoor"). Ten draws by the seed, ten directions, whose
    mean is the result. "test_reverse" and "indoor_reverse" ask with visible images. camid is the place, from 0: as
    cameras 2 and 3 hang in one room, images of a person in these two are not compared, which is the set's rule.
    """

    def __init__(self, root: Path, *, seed: int = 0) -> None:
        self.root = Path(root)
        self.seed = seed

    def train(self) -> list[Sample]:
        """Every image of the persons to train and to validate, by camera, person and name.

        Raises FileNotFoundError naming a missing list or a camera without images, ValueError for a list of another
        form."""
        return self._images(self._persons("train") | self._persons("val"), tuple(_PLACES))

    def evaluation(self, split: str) -> list[Direction]:
        """Ten draws for "test", "indoor" and their reverses; for "train" and "all" every image of the one modality
        against all of the other.

        Raises ValueError for another split, and the errors of `train`."""
        if split not in _SPLITS:
            raise no_such_split("SYSU-MM01", split, _SPLITS)
        if split in ("train", "all"):
            persons = self._persons("train") | self._persons("val")
            samples = self._images(persons | self._persons("test") if split == "all" else persons, tuple(_PLACES))
            return both_ways(samples, samples)
        persons, cameras = self._persons("test"), _INDOOR if split.startswith("indoor") else _ALL
        infrared, visible = self._images(persons, _INFRARED), self._images(persons, cameras)
        if split.endswith("_reverse"):
            return self._draws("visible_to_infrared", visible, infrared)
        return self._draws("infrared_to_visible", infrared, visible)

    def _draws(self, name: str, query: list[Sample], gallery: list[Sample]) -> list[Direction]:
        """The gallery is one image of each person and camera, in ten draws."""
        places: dict[tuple[int, str], list[Sample]] = {}
        for sample in gallery:
            places.setdefault((sample.pid, sample.path.parts[-3]), []).append(sample)
        directions = []
        for trial in range(_TRIALS):
            rng = np.random.default_rng((self.seed, trial))
            drawn = tuple(own[rng.integers(len(own))] for _, own in sorted(places.items()))
            directions.append(Direction(f"{name}-{trial}", tuple(query), drawn))
        return directions

    def _persons(self, part: str) -> set[int]:
        path = self.root / "exp" / f"{part}_id.txt"
        if not path.is_file():
            raise MissingFileError(f"list not found: {path}")
        words = utf8_text(path).replace(",", " ").split()
        if not words or not all(word.isdecimal() for word in words):
            raise DataSetError(f"{path}: not numbers of persons with commas between")
        return {int(word) for word in words}

    def _images(self, persons: set[int], cameras: tuple[int, ...]) -> list[Sample]:
        samples: list[Sample] = []
        for camera in cameras:
            folder = self.root / f"cam{camera}"
            if not folder.is_dir():
                raise MissingFileError(f"folder not found: {folder}")
            before = len(samples)
            for person in sorted(persons):  # a person is not seen by every camera
                own = folder / f"{person:04d}"
                for path in images_in(own, required=False) if own.is_dir() else ():
                    modality = "infrared" if camera in _INFRARED else "visible"
                    samples.append(Sample(path, person, _PLACES[camera], modality=modality))  # type: ignore[arg-type]
            if len(samples) == before:
                raise NoImagesError(f"no images <person>/<image>.jpg of these persons in {folder}")
        return samples
