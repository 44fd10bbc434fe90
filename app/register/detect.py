"""Vehicles and plates in whole photographs, as a register uses a detector, and the vehicle that counts in each."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from app.core.sample import Box, Modality
from app.data.crops import VehicleImage
from app.detection.average_precision import iou_matrix
from app.detection.described import ForeignNetwork
from app.detection.detector_file import (
    onnx_detector,
    open_detector,
    read_detector,
    write_detector,
    write_foreign,
    write_onnx_detector,
)
from app.detection.found import Detection, ImageDetector
from app.detection.own import OwnDetector
from app.detection.packaged_detector import packaged_detector
from app.detection.trial import try_apart
from app.images.decode import is_grey
from app.register.photos import Photo, VehiclePhoto
from app.register.sightings import Journal
from app.settings.detection import DetectorSettings
from app.settings.detector_description import DetectorDescription
from app.training.onnx_file import sealed_content
from models.detector import Detector
from models.errors import MissingFileError

DETECTOR, VEHICLES = "detector.safetensors", "vehicles.safetensors"
_FILLS = 0.7  # share of the image from which its largest vehicle is the image
_SAME = 0.5  # intersection over union from which a box by hand is the vehicle that was found
_LEAST = 4.0  # pixels of the shorter side: what is smaller cannot be compared
_AROUND = 0.05  # of a vehicle's box, by which a plate's centre may lie outside


@dataclass(frozen=True)
class Found:
    """A vehicle in a photograph; boxes in pixels of the file it came from.

    Args:
        plate: where its plate is; None if none was found.
        kind: car, motorcycle, bus or truck; None if the detector does not tell.
    """

    box: Box
    score: float
    plate: Box | None
    kind: str | None = None


@dataclass(frozen=True)
class Detections:
    """Vehicles and plates that a detector found in a photograph.

    Args:
        vehicles: largest first.
        plates: those that belong to none of them, best first.
        fills: whether the largest vehicle is as good as the whole image.
    """

    vehicles: tuple[Found, ...]
    plates: tuple[Box, ...]
    fills: bool

    def plate_of(self, box: Box | None) -> Box | None:
        """The plate of the vehicle in `box`; for None, of the one that fills the image, or of no vehicle at all.

        A plate that belongs to another vehicle is never given away: it would find that one's owner."""
        if box is None and (self.fills or not self.vehicles):
            own = self.vehicles[0].plate if self.vehicles else None
            return own or next(iter(self.plates), None)
        if box is None:
            return None
        overlaps = [_overlap(box, found.box) for found in self.vehicles]
        if overlaps and max(overlaps) >= _SAME:
            return self.vehicles[overlaps.index(max(overlaps))].plate
        return next((plate for plate in self.plates if _holds(box, plate)), None)

    def kind_of(self, box: Box | None) -> str | None:
        """The kind of the vehicle in `box`; for None, of the one that fills the image. None if it is not known."""
        if box is None:
            return self.vehicles[0].kind if self.fills else None
        overlaps = [_overlap(box, found.box) for found in self.vehicles]
        best = max(overlaps, default=0.0)
        return self.vehicles[overlaps.index(best)].kind if best >= _SAME else None


class Finder:
    """A detector of vehicles and plates, and optionally another one for vehicles, whose boxes then count.

    Args:
        folder: holds `DETECTOR` or `VEHICLES`, or both.

    Raises FileNotFoundError if it holds neither, ValueError for a file of another kind."""

    def __init__(self, folder: Path) -> None:
        self.state = state_of(folder)
        paths = [folder / name for name in (DETECTOR, VEHICLES) if (folder / name).is_file()]
        if not paths:
            raise MissingFileError(f"no detector in {folder}")
        self._detectors = [open_detector(path) for path in paths]

    def find(self, photo: Photo) -> Detections:
        """Vehicles and plates of a photograph."""
        image = np.asarray(photo.image)
        vehicles: list[Detection] = []
        plates: list[Box] = []
        for detector in self._detectors:  # the one for vehicles comes last
            found = [each for each in detector.find(image) if min(each.box.width, each.box.height) >= _LEAST]
            vehicles = [each for each in found if not each.plate]
            plates += [each.box for each in found if each.plate]
        return _grouped(vehicles, plates, photo)


def state_of(folder: Path) -> tuple[int, ...]:
    """Changes when a detector in the folder does; empty without one."""
    paths = [folder / name for name in (DETECTOR, VEHICLES)]
    return tuple(path.stat().st_mtime_ns for path in paths if path.is_file())


def _grouped(vehicles: Sequence[Detection], plates: Sequence[Box], photo: Photo) -> Detections:
    """Vehicles with their plates: each plate goes to the smallest vehicle that holds its centre."""
    ordered = sorted(vehicles, key=lambda each: -_area(each.box))
    owners: dict[int, Box] = {}
    free = []
    for plate in plates:
        holding = [index for index, each in enumerate(ordered) if _holds(each.box, plate)]
        if not holding:
            free.append(plate)
        elif holding[-1] not in owners:
            owners[holding[-1]] = plate
    of_file = 1 / photo.scale
    found = [
        Found(
            _scaled(each.box, of_file),
            each.score,
            _scaled(owners[index], of_file) if index in owners else None,
            each.kind,
        )
        for index, each in enumerate(ordered)
    ]
    fills = bool(ordered) and _area(ordered[0].box) >= _FILLS * photo.image.width * photo.image.height
    return Detections(tuple(found), tuple(_scaled(plate, of_file) for plate in free), fills)


def _overlap(first: Box, second: Box) -> float:
    """Intersection over union."""
    corners = [np.array([[b.left, b.top, b.left + b.width, b.top + b.height]]) for b in (first, second)]
    return float(iou_matrix(*corners)[0, 0])


def _area(box: Box) -> float:
    return box.width * box.height


def _holds(box: Box, plate: Box) -> bool:
    """Whether the plate's centre lies in the box, or nearly so."""
    x, y = plate.left + plate.width / 2 - box.left, plate.top + plate.height / 2 - box.top
    dx, dy = _AROUND * box.width, _AROUND * box.height
    return -dx <= x <= box.width + dx and -dy <= y <= box.height + dy


def _scaled(box: Box, scale: float) -> Box:
    return Box(*(value * scale for value in box))


@dataclass(frozen=True)
class Framed:
    """A photograph with the vehicle in it that counts, and what else a detector found; None without a detector."""

    vehicle_photo: VehiclePhoto
    detections: Detections | None

    @property
    def modality(self) -> Modality:
        """The given modality, or else that of the image: infrared if the vehicle in it has no colour."""
        if self.vehicle_photo.modality is not None:
            return self.vehicle_photo.modality
        photo, box = self.vehicle_photo.photo, self.vehicle_photo.photo.box(self.vehicle_photo.vehicle_box)
        vehicle = photo.image if box is None else photo.image.crop(_corners(box))
        return "infrared" if is_grey(vehicle) else "visible"

    @property
    def kind(self) -> str | None:
        """Kind of the vehicle: car, motorcycle, bus or truck; None if no detector tells."""
        return None if self.detections is None else self.detections.kind_of(self.vehicle_photo.vehicle_box)

    @property
    def image(self) -> VehicleImage:
        """The photograph as networks take it. Raises BoxError for a box outside it."""
        vehicle_photo, photo = self.vehicle_photo, self.vehicle_photo.photo
        boxes = {"vehicle_box": photo.box(vehicle_photo.vehicle_box), "plate_box": photo.box(vehicle_photo.plate_box)}
        return VehicleImage(
            photo.image,
            plate=vehicle_photo.plate.image if vehicle_photo.plate else None,
            modality=self.modality,
            **boxes,
        )


class Framing:
    """A register's detectors, if it has any. They may be changed while a service uses them.

    Args:
        folder: where their files are.
        turn: held while a detector computes.
    """

    def __init__(self, folder: Path, journal: Journal, turn: AbstractContextManager[object]) -> None:
        self.folder = folder
        self.journal = journal
        self._turn = turn
        self._finder: Finder | None = None

    def use(self, path: Path, account: str) -> str:
        """Use a detector for vehicles and plates in photographs; returns what it finds.

        Args:
            path: .safetensors of `scripts.train_detector`, or .onnx of `scripts.export`.

        Raises FileNotFoundError, ValueError for a file of another kind, and MissingPackageError without ONNX Runtime
        where that is needed."""
        if path.suffix != ".onnx":
            return self.use_made(*read_detector(path), account)
        content = sealed_content(path)
        return self._put(onnx_detector(content, str(path)), account, lambda place: write_onnx_detector(place, content))

    def use_made(self, detector: Detector, settings: DetectorSettings, account: str) -> str:
        """The same for a detector in memory."""
        return self._put(
            OwnDetector(detector, settings), account, lambda place: write_detector(place, detector, settings)
        )

    def use_packaged(self, account: str) -> str:
        """The same for the detector of plates that comes with the package.

        Raises MissingFileError or StoredFileError where its file is not that of the package."""
        return self.use_made(*packaged_detector(), account)

    def use_foreign(self, foreign: ForeignNetwork, account: str) -> str:
        """The same for a network of another program, which a child process tries on a blank image before.

        Raises StoredFileError if it cannot be computed or does not give what its description says."""
        try_apart(foreign)
        return self._put(foreign.description, account, lambda place: write_foreign(place, foreign))

    def _put(self, made: ImageDetector | DetectorDescription, account: str, write: Callable[[Path], None]) -> str:
        name = DETECTOR if made.finds_plates else VEHICLES
        write(self.folder / name)
        self.journal.write(account, "detector", name)
        return " and ".join(
            word for word, there in (("vehicles", made.finds_vehicles), ("plates", made.finds_plates)) if there
        )

    @property
    def finds_plates(self) -> bool:
        """Whether any detector finds plates."""
        return (self.folder / DETECTOR).is_file()

    def forget(self, account: str) -> None:
        """Take photographs as they are from now on."""
        for name in (DETECTOR, VEHICLES):
            (self.folder / name).unlink(missing_ok=True)
        self.journal.write(account, "detector", "none")

    def frame(self, vehicle_photo: VehiclePhoto) -> Framed:
        """A photograph with the vehicle that counts: the one in the given box, or the largest one that is found.

        One that shows no vehicle, or hardly anything else, is taken whole. Plates that are given count before those
        that are found."""
        state = state_of(self.folder)
        if not state or vehicle_photo.whole:
            return Framed(vehicle_photo, None)
        with self._turn:
            if self._finder is None or self._finder.state != state:
                self._finder = Finder(self.folder)
            detections = self._finder.find(vehicle_photo.photo)
        box = vehicle_photo.vehicle_box
        if box is None and detections.vehicles and not detections.fills:
            box = detections.vehicles[0].box
        plate = vehicle_photo.plate_box if vehicle_photo.plate_box or vehicle_photo.plate else detections.plate_of(box)
        return Framed(replace(vehicle_photo, vehicle_box=box, plate_box=plate), detections)


def _corners(box: Box) -> tuple[int, int, int, int]:
    left, top = max(0, round(box.left)), max(0, round(box.top))
    return left, top, max(left + 1, round(box.left + box.width)), max(top + 1, round(box.top + box.height))
