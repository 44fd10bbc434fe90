"""Photographs with what is marked in them, from the samples of any reader."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from app.core.sample import Box, Sample
from app.data.readers.errors import DataSetError
from app.images.decode import UnreadableImageError, open_image, upright_rgb

_CUT_OUT = 0.9  # correlation from which a crop of a plate was cut out of a photograph; re-encoded ones have 0.99
_SEARCHED = 640  # pixels of the longer side of a photograph in which it is looked for


@dataclass(frozen=True)
class Labelled:
    """One photograph. None for a class that nobody marked in this set; an empty tuple if there is none to see."""

    path: Path
    vehicles: tuple[Box, ...] | None
    plates: tuple[Box, ...] | None


def labelled(samples: Sequence[Sample]) -> list[Labelled]:
    """The photographs of one set, in the order of their first sample.

    A class that is marked anywhere in the set is taken to be marked wherever it can be seen; vehicles in a photograph
    that has a row without a box, as one that fills it has, are not known. A plate that was cut out of its photograph
    (`plate_path`) is marked where the photograph shows the same; where it does not, plates are not known.

    Raises ValueError for a set in which nothing is marked, OSError naming an image that cannot be read."""
    has_vehicles = any(sample.vehicle_box is not None for sample in samples)
    marked = {id(sample): _plates(sample) for sample in samples}
    has_plates = any(marked.values())
    if not has_vehicles and not has_plates:
        raise DataSetError("neither vehicles nor plates are marked in these images")
    of: dict[Path, list[Sample]] = {}
    for sample in samples:
        of.setdefault(sample.path, []).append(sample)
    return [
        Labelled(
            path,
            _vehicles(group) if has_vehicles else None,
            _together([marked[id(sample)] for sample in group]) if has_plates else None,
        )
        for path, group in of.items()
    ]


def _vehicles(group: Sequence[Sample]) -> tuple[Box, ...] | None:
    boxes = [sample.vehicle_box for sample in group]
    return None if None in boxes else tuple(dict.fromkeys(box for box in boxes if box is not None))


def _together(groups: Sequence[tuple[Box, ...] | None]) -> tuple[Box, ...] | None:
    known = [group for group in groups if group is not None]
    return tuple(dict.fromkeys(box for group in known for box in group)) if len(known) == len(groups) else None


def _plates(sample: Sample) -> tuple[Box, ...] | None:
    """The plates of a sample; None if there is an image of one, and its place is not known."""
    if sample.plate_boxes or sample.plate_path is None:
        return sample.plate_boxes
    if sample.plate_path == sample.path:  # a crop of a plate
        return None
    photograph, plate = _grey(sample.path), _grey(sample.plate_path)
    scale = min(1.0, _SEARCHED / max(photograph.shape))
    if scale < 1:
        photograph, plate = (_smaller(each, scale) for each in (photograph, plate))
    if plate.shape[0] > photograph.shape[0] or plate.shape[1] > photograph.shape[1]:
        return None
    _, best, _, (left, top) = cv2.minMaxLoc(cv2.matchTemplate(photograph, plate, cv2.TM_CCOEFF_NORMED))
    height, width = plate.shape
    return (Box(left / scale, top / scale, width / scale, height / scale),) if best >= _CUT_OUT else None


def _smaller(image: NDArray[np.uint8], scale: float) -> NDArray[np.uint8]:
    height, width = (max(1, round(scale * side)) for side in image.shape)
    return np.asarray(cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA), np.uint8)


def _grey(path: Path) -> NDArray[np.uint8]:
    try:
        with open_image(path) as file:
            return np.asarray(upright_rgb(file).convert("L"))
    except OSError as error:
        raise UnreadableImageError(f"{path} cannot be read: {error}") from error
