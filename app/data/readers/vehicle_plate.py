"""Vehicles and their plates at two crossings in Brazil (icarofua/siamese-two-stream; Oliveira et al., 2021)."""

from collections.abc import Iterator
from pathlib import Path

from app.core.sample import Sample
from app.data.readers.errors import DataSetError
from app.data.readers.name_lists import no_such_split
from app.data.readers.reader import Direction
from app.images.files import NoImagesError, folders_in, images_in
from models.errors import MissingFileError

_SPLITS = ("test", "all")
_CAMERAS = ("Cruzamento1", "Cruzamento2")


class VehiclePlate:
    """Reader of the vehicle-and-plate set.

    140 vehicle crops (300 to 550 px) and 140 plate crops (about 140 x 50 px), rear views: 11 vehicles, 10 frames per
    vehicle and camera; 3 vehicles pass both cameras, 4 only the first, 4 only the second. Made to try the whole
    network on, not to measure it by.

    Layout:

        Cruzamento1/2015-03-24-19-40-01/classes_carros/aaa-7756/28896.jpg     the vehicle
        Cruzamento1/2015-03-24-19-40-01/classes/aaa-7756/28896.jpg            its plate, paired by name
        Cruzamento2/...

    The folder's name is the vehicle and its plate: "aaa-7756" reads AAA7756. pids count from 0 by that name over both
    cameras; camid 0 is Cruzamento1. A vehicle crop without a plate crop has no `plate_path`; plate crops without a
    vehicle are passed over. `time` is the start of the recording.

    Vehicles that pass only one camera are for training, those that pass both for the test, so that the two share none.
    """

    def __init__(self, root: Path, *, seed: int = 0) -> None:
        self.root = Path(root)
        self.seed = seed

    def train(self) -> list[Sample]:
        """The vehicles that only one camera saw, by camera, recording, vehicle and frame.

        Raises FileNotFoundError naming a missing folder, ValueError for a frame whose name is not a number."""
        samples, both = self._read()
        return [sample for sample in samples if sample.pid not in both]

    def evaluation(self, split: str) -> list[Direction]:
        """ "cam1_to_cam2" and "cam2_to_cam1": the vehicles in both cameras are the queries.

        The gallery of "test" is the same vehicles in the other camera, that of "all" every image of the other camera.
        Raises ValueError for another split ("train" too: no training vehicle has an image in a second camera), and
        the errors of `train`."""
        if split not in _SPLITS:
            raise no_such_split("the vehicle-and-plate set", split, _SPLITS)
        samples, both = self._read()
        directions = []
        for name, query_camid in (("cam1_to_cam2", 0), ("cam2_to_cam1", 1)):
            query = tuple(s for s in samples if s.camid == query_camid and s.pid in both)
            gallery = tuple(s for s in samples if s.camid != query_camid and (split == "all" or s.pid in both))
            directions.append(Direction(name, query, gallery))
        return directions

    def _read(self) -> tuple[list[Sample], set[int]]:
        """Every image, and the pids that are in both cameras."""
        found = [(path, path.parent.name, camid) for camid in (0, 1) for path in self._vehicle_crops(_CAMERAS[camid])]
        if not found:
            raise NoImagesError(f"no images in {self.root}/<camera>/<recording>/classes_carros/<vehicle>")
        pids = {name: pid for pid, name in enumerate(sorted({name for _, name, _ in found}))}
        samples = []
        plates: dict[Path, dict[str, Path]] = {}  # by folder and frame
        for path, name, camid in found:
            recording = path.parents[2]
            folder = recording / "classes" / name
            if folder not in plates:
                crops = images_in(folder, required=False) if folder.is_dir() else []
                plates[folder] = {crop.stem: crop for crop in crops}
            samples.append(
                Sample(
                    path,
                    pids[name],
                    camid,
                    plate_path=plates[folder].get(path.stem),
                    plate_text=name.replace("-", "").upper(),
                    time=recording.name,
                )
            )
        return samples, set.intersection(*({s.pid for s in samples if s.camid == camid} for camid in (0, 1)))

    def _vehicle_crops(self, camera: str) -> Iterator[Path]:
        folder = self.root / camera
        recordings = folders_in(folder) if folder.is_dir() else []
        if not recordings:
            raise NoImagesError(f"no recordings of the vehicle-and-plate set in {folder}")
        for recording in recordings:
            for kind in ("classes_carros", "classes"):
                if not (recording / kind).is_dir():
                    raise MissingFileError(f"folder not found: {recording / kind}")
            for vehicle in folders_in(recording / "classes_carros"):
                frames = images_in(vehicle, required=False)
                for path in frames:
                    if not path.stem.isdecimal():
                        raise DataSetError(f"not a frame number: {path}")
                yield from sorted(frames, key=lambda path: (int(path.stem), path.name))
