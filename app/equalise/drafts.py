"""Candidate images of enhancement, as files, before some of them are kept."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from app.core.sample import Sample
from app.data.crops import cut_as_it_is, plate_place
from app.data.enhance import enhanced
from app.equalise.store import write_draft
from app.images.decode import open_image, upright_rgb

_SIDE = 256  # pixels of an enhanced image's longer side, at most
_PLATE_KINDS = ("colour", "blur", "night")  # enhancements that leave the text of a plate unchanged


def draw_drafts(
    folder: Path, samples: Sequence[Sample], kinds: Sequence[str], rng: np.random.Generator
) -> list[Sample | None]:
    """An enhanced image of each sample, in these kinds, as a file in `folder`; None for a sample that cannot be read.
    A sample may come several times. Its plate, if it has one, changes in light and sharpness alone.

    Raises OSError where a file cannot be written."""
    made: list[Sample | None] = []
    read: dict[Sample, tuple[Tensor, Tensor | None] | None] = {}
    of_plates = [kind for kind in kinds if kind in _PLATE_KINDS]
    for number, sample in enumerate(samples):
        if sample not in read:
            try:
                read[sample] = _cut(sample)
            except (OSError, ValueError):  # as `app.data.crops.ImageReader`
                read[sample] = None
        if (crops := read[sample]) is None:
            made.append(None)
            continue
        vehicle, plate = crops
        infrared = sample.modality == "infrared"
        path, plate_path = folder / f"{number}.jpg", None
        write_draft(enhanced(vehicle, kinds, rng, infrared=infrared), path)
        if plate is not None:
            plate_path = folder / f"{number}-plate.jpg"
            write_draft(enhanced(plate, of_plates, rng, infrared=infrared) if of_plates else plate, plate_path)
        made.append(as_enhanced(sample, path, plate_path))
    return made


def as_enhanced(source: Sample, path: Path, plate_path: Path | None) -> Sample:
    """The sample that an enhanced image of `source` is; all else of it stays."""
    return replace(
        source, path=path, vehicle_box=None, plate_boxes=(), plate_corners=None, plate_path=plate_path, enhanced=True
    )


def _cut(sample: Sample) -> tuple[Tensor, Tensor | None]:
    """The vehicle's and the plate's image, (3, H, W) uint8, no larger than an enhanced one."""
    with open_image(sample.path) as file:
        vehicle = cut_as_it_is(upright_rgb(file), sample.vehicle_box)
    plate = None
    if (place := plate_place(sample, rectify=False)) is not None:
        try:
            with open_image(place[0]) as file:
                plate = cut_as_it_is(upright_rgb(file), place[1])
        except (OSError, ValueError):  # the vehicle is still there
            plate = None
    crops = []
    for image in (vehicle, plate):
        if image is not None:
            image.thumbnail((_SIDE, _SIDE))
        crops.append(None if image is None else torch.from_numpy(np.asarray(image).transpose(2, 0, 1).copy()))
    assert crops[0] is not None
    return crops[0], crops[1]
