"""Synthetic plates of six regions as input of a reader, with their texts."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from app.synthetic.plates.china import china
from app.synthetic.plates.design import Design
from app.synthetic.plates.drawing import render_plate
from app.synthetic.plates.europe import europe
from app.synthetic.plates.grammar import one_of
from app.synthetic.plates.photograph import Camera, photographed
from app.synthetic.plates.south_america import argentina, brazil
from app.synthetic.plates.united_states import united_states
from app.synthetic.plates.vietnam import vietnam

_KINDS: dict[str, tuple[Callable[[np.random.Generator], Design], Camera]] = {
    "cn": (china, Camera((18, 60), tilt=2.6, margin=(-0.06, 0.08), grey=0.03, harsh=0.35, tint=0.11)),
    "us": (united_states, Camera((28, 110), tilt=1.6, margin=(-0.05, 0.06), grey=0.02, night=0.1, harsh=0.15)),
    "ar": (argentina, Camera((36, 90), tilt=2.4, margin=(-0.1, 0.14), grey=0.9, night=0.35)),
    "vn": (vietnam, Camera((24, 80), tilt=2.6, margin=(-0.08, 0.1), grey=0.02, night=0.12, harsh=0.35)),
    "europe": (europe, Camera((18, 64), tilt=2.2, margin=(-0.06, 0.25), grey=0.04)),
    "br": (brazil, Camera((24, 96), tilt=1.8, margin=(-0.04, 0.08), grey=0.03, night=0.3, harsh=0.2)),
}
KINDS = tuple(_KINDS)
"""Regions: China, the United States, Argentina, Vietnam, Europe, Brazil."""

_DESIGNS_IN_PHOTOGRAPHS = {"us": partial(united_states, by_state=True)}
_FEWEST = 14  # pixels a row of characters


class MadePlate(NamedTuple):
    """A synthetic plate, and the places of its characters."""

    image: NDArray[np.uint8]  # (H, W, 3), red-green-blue
    text: str  # in plain form
    centres: NDArray[np.float64]  # (L, 2), of each character, across and down, shares of the image's sides
    lines: NDArray[np.int64]  # (L,), the line of each character, from 0


def placed_plate(rng: np.random.Generator, kinds: Sequence[str] = KINDS, *, photographs: float = 0.0) -> MadePlate:
    """A crop with a plate of one of `kinds`, its text, and the place of each character.

    Plates of two lines are about as high as wide, or half as high; their text is the upper line, then the lower one.
    The same generator gives the same plate on one machine. Raises ValueError for an unknown kind or none, RuntimeError
    naming the extra `plates` if a Chinese plate lacks its font.

    Args:
        photographs: share of the plates that are cut out of the photograph of a whole vehicle: more of the vehicle
            around them, steeper angles, fewer pixels, more blur and darkness.
    """
    if unknown := sorted(set(kinds) - set(KINDS)):
        raise ValueError(f"unknown kind of plate: {', '.join(unknown)}; there are {', '.join(KINDS)}")
    if not kinds:
        raise ValueError(f"no kind of plate was named; there are {', '.join(KINDS)}")
    kind = one_of(rng, kinds)
    design_of, camera = _KINDS[kind]
    if photographs and rng.random() < photographs:
        design_of, camera = _DESIGNS_IN_PHOTOGRAPHS.get(kind, design_of), _in_photograph(camera)
    return plate_seen(rng, design_of(rng), camera)


def region_of(kind: str) -> tuple[Callable[[np.random.Generator], Design], Camera]:
    """The designer of a region's plates, and how they are seen in crops."""
    return _KINDS[kind]


def plate_seen(rng: np.random.Generator, design: Design, camera: Camera) -> MadePlate:
    """A plate as `camera` sees it, with a text, and the places of its characters."""
    rows = len(design.lines)
    low, high = (np.log(h * (1 if rows == 1 else 1.6)) for h in camera.heights)
    height = float(np.exp(rng.uniform(low, high)))
    few = (
        rng.uniform(0.5, 0.85) if height > 2 * _FEWEST * rows and rng.random() < 0.3 else 1.0
    )  # taken with fewer pixels, then enlarged
    seen = max(_FEWEST * rows, round(few * height))
    plate = render_plate(rng, design, seen)
    image, centres = photographed(rng, plate, camera, seen, 1 / few)
    return MadePlate(image, design.text, centres, plate.lines)


def _in_photograph(camera: Camera) -> Camera:
    """The conditions under which a plate is seen that was cut out of the photograph of a whole vehicle."""
    return replace(
        camera,
        heights=(16, camera.heights[1]),
        tilt=max(camera.tilt, 3.5),
        margin=(-0.04, 0.18),
        grey=min(camera.grey, 0.3),
        night=max(camera.night, 0.2),
        harsh=0.3,
        tint=max(camera.tint, 0.08),
        beside=0.16,
        angle=1.4,
    )
