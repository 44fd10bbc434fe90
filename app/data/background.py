"""Patches of photographs beside their vehicles, as further identities for training.

Where a visible and an infrared photograph are aligned pixel to pixel, every patch shows one thing in both modalities:
what the two have in common can be learnt from far more than the vehicles of a small site.
"""

import math
import zlib
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from app.core.sample import Box, Modality, Sample
from app.images.decode import upright_size

_TRIES = 20  # places that are tried for a patch
_SHARED = 0.2  # of the smaller one, at most, where a patch meets a vehicle or another patch
_SCALE = (0.7, 1.3)  # of a vehicle's box
_LEAST = 8.0  # pixels, of a side


def background(samples: Sequence[Sample], others: Sequence[Sample], number: int) -> list[Sample]:
    """Both images of up to `number` patches of each aligned pair of photographs; a patch is an identity of its own.

    Two images of one vehicle, one visible and one infrared, of one size and with the same box, tell that their
    photographs are aligned. A patch is as large as the box of some vehicle, times 0.7 to 1.3. Which patches a
    photograph gives depends on its name, on the boxes in it and on the sizes of all boxes. A photograph that cannot be
    opened gives none.

    Args:
        samples: in whose photographs patches are placed.
        others: all samples whose boxes are avoided and whose pids are taken, `samples` among them."""
    boxes = defaultdict[Path, list[Box]](list)
    for sample in others:
        if sample.vehicle_box is not None:
            boxes[sample.path].append(sample.vehicle_box)
    sides = sorted({(box.width, box.height) for found in boxes.values() for box in found})
    pid = max((sample.pid for sample in others), default=-1) + 1
    patches: list[Sample] = []
    for pair in sorted(aligned_pairs(samples), key=lambda pair: str(pair[0].path)):
        if (size := _common_size(pair)) is None:
            continue
        rng = np.random.default_rng(zlib.crc32(pair[0].path.name.encode("utf-8", "surrogateescape")))
        taken = [box for sample in pair for box in boxes[sample.path]]
        for box in _placed(number, sides, size, taken, rng):
            patches += [
                replace(
                    each, pid=pid, vehicle_box=box, plate_boxes=(), plate_corners=None, plate_path=None, plate_text=None
                )
                for each in pair
            ]
            pid += 1
    return patches


def aligned_pairs(samples: Sequence[Sample]) -> list[tuple[Sample, Sample]]:
    """One visible and one infrared sample of each pair of photographs with a vehicle at the same box of both; each
    photograph is in one pair."""
    seen: dict[tuple[int, Box], dict[Modality, Sample]] = {}
    for sample in samples:
        if sample.vehicle_box is not None and not sample.enhanced:
            seen.setdefault((sample.pid, sample.vehicle_box), {}).setdefault(sample.modality, sample)
    pairs = [(each["visible"], each["infrared"]) for each in seen.values() if len(each) == 2]
    found: dict[Path, tuple[Sample, Sample]] = {}
    infrared_seen: set[Path] = set()
    for visible, infrared in pairs:
        if visible.path not in found and infrared.path not in infrared_seen:  # else one thing would be two identities
            found[visible.path] = visible, infrared
            infrared_seen.add(infrared.path)
    return list(found.values())


def _common_size(pair: tuple[Sample, Sample]) -> tuple[int, int] | None:
    """Width and height of both photographs; None if they differ or one cannot be opened, which training reports."""
    try:
        sizes = {upright_size(sample.path) for sample in pair}
    except (OSError, ValueError):
        return None
    return sizes.pop() if len(sizes) == 1 else None


def _placed(
    number: int, sides: Sequence[tuple[float, float]], size: tuple[int, int], taken: list[Box], rng: np.random.Generator
) -> Iterator[Box]:
    """Up to `number` boxes in an image that hardly meet those of `taken` or each other."""
    for _ in range(number):
        for _ in range(_TRIES):
            box = _random_box(sides, size, rng)
            if min(box.width, box.height) >= _LEAST and all(_shared(box, other) <= _SHARED for other in taken):
                taken.append(box)
                yield box
                break


def _random_box(sides: Sequence[tuple[float, float]], size: tuple[int, int], rng: np.random.Generator) -> Box:
    scale = rng.uniform(*_SCALE)
    chosen = sides[int(rng.integers(len(sides)))]
    width, height = (min(float(side * scale), float(limit)) for side, limit in zip(chosen, size, strict=True))
    return Box(rng.uniform(0, size[0] - width), rng.uniform(0, size[1] - height), width, height)


def _shared(one: Box, other: Box) -> float:
    """Area that both cover, as a share of the smaller one."""
    across = min(one.left + one.width, other.left + other.width) - max(one.left, other.left)
    down = min(one.top + one.height, other.top + other.height) - max(one.top, other.top)
    smaller = min(one.width * one.height, other.width * other.height)
    return max(across, 0.0) * max(down, 0.0) / smaller if smaller > 0 and math.isfinite(smaller) else 0.0
