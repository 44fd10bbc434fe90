"""Framing of a photo: the vehicle in it that counts, given by a user or found by a detector."""

from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path

from app.core.sample import Box, Modality
from app.data.crops import VehicleImage
from app.detection.detector_file import read_detector, write_detector
from app.images.decode import is_grey
from app.register.detect import DETECTOR, VEHICLES, Detections, Finder, state_of
from app.register.sightings import Journal
from app.register.vehicle_photos import VehiclePhoto
from app.settings.detection import DetectorSettings
from models.detector import Detector


@dataclass(frozen=True)
class Framed:
    """A photograph with the vehicle in it that counts, and what else a detector found; None without a detector."""

    vehicle_photo: VehiclePhoto
    detections: Detections | None

    @property
    def modality(self) -> Modality:
        """What the photograph was said to be, or else was taken for: infrared if the vehicle in it has no colour."""
        if self.vehicle_photo.modality is not None:
            return self.vehicle_photo.modality
        photo, box = self.vehicle_photo.photo, self.vehicle_photo.photo.box(self.vehicle_photo.vehicle_box)
        vehicle = photo.image if box is None else photo.image.crop(_corners(box))
        return "infrared" if is_grey(vehicle) else "visible"

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
        """Let a detector find vehicles and plates in photographs; what it is used for.

        Raises FileNotFoundError, and ValueError for a file of another kind."""
        return self.use_made(*read_detector(path), account)

    def use_made(self, detector: Detector, settings: DetectorSettings, account: str) -> str:
        """The same for a detector in memory."""
        name = VEHICLES if settings.kind == "coco" else DETECTOR
        write_detector(self.folder / name, detector, settings)
        self.journal.write(account, "detector", name)
        return "vehicles" if name == VEHICLES else "vehicles and plates"

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
