"""Reader of images in folders: ROOT/SPLIT/VEHICLE/CAMERA_anything.jpg."""

from pathlib import Path

from app.core.sample import Sample
from app.data.readers.errors import DataSetError
from app.data.readers.reader import Direction, each_against_all

_SPLITS = ("train", "val", "test")


class Folders:
    """One folder a vehicle. Vehicles of different splits are different ones, whatever their folders are called."""

    def __init__(self, root: Path, *, seed: int) -> None:  # noqa: ARG002 - the contract; nothing is left to chance here
        self.root = root

    def train(self) -> list[Sample]:
        """The images of ROOT/train. Raises FileNotFoundError, and DataSetError naming a file without a camera."""
        return self._samples("train")

    def evaluation(self, split: str) -> list[Direction]:
        """Each image against all others of its split. Raises DataSetError for another split."""
        if split not in _SPLITS:
            raise DataSetError(f"{self.root} has no split {split}; it has {', '.join(_SPLITS)}")
        return [each_against_all("all", self._samples(split))]

    def _samples(self, split: str) -> list[Sample]:
        vehicles = sorted(path for path in (self.root / split).iterdir() if path.is_dir())
        return [
            Sample(path=path, pid=pid, camid=_camera(path))
            for pid, folder in enumerate(vehicles, 1_000_000 * _SPLITS.index(split))
            for path in sorted(folder.iterdir())
        ]


def _camera(path: Path) -> int:
    number = path.name.partition("_")[0]
    if not (number.isascii() and number.isdecimal()):
        raise DataSetError(f"{path}: the name must begin with the number of the camera, as 2_{path.name}")
    return int(number)
