"""Photographs with what is marked in them, from the samples of any reader."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from app.core.sample import Box, Sample
from app.data.readers.errors import DataSetError


@dataclass(frozen=True)
class Labelled:
    """One photograph. None for a class that nobody marked in this set; an empty tuple if there is none to see."""

    path: Path
    vehicles: tuple[Box, ...] | None
    plates: tuple[Box, ...] | None


def labelled(samples: Sequence[Sample]) -> list[Labelled]:
    """The photographs of one set, in the order of their first sample.

    A class that is marked anywhere in the set is taken to be marked wherever it can be seen; vehicles in a photograph
    that has a row without a box, as one that fills it has, are not known.

    Raises ValueError for a set in which nothing is marked."""
    has_vehicles = any(sample.vehicle_box is not None for sample in samples)
    has_plates = any(sample.plate_boxes for sample in samples)
    if not has_vehicles and not has_plates:
        raise DataSetError("neither vehicles nor plates are marked in these images")
    of: dict[Path, list[Sample]] = {}
    for sample in samples:
        of.setdefault(sample.path, []).append(sample)
    return [
        Labelled(
            path,
            _vehicles(group) if has_vehicles else None,
            tuple(dict.fromkeys(box for s in group for box in s.plate_boxes)) if has_plates else None,
        )
        for path, group in of.items()
    ]


def _vehicles(group: Sequence[Sample]) -> tuple[Box, ...] | None:
    boxes = [sample.vehicle_box for sample in group]
    return None if None in boxes else tuple(dict.fromkeys(box for box in boxes if box is not None))
