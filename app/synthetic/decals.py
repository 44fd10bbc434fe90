"""Decals of a vehicle: plates, clean or soiled, and company names."""

import cv2
import numpy as np
from numpy.typing import NDArray

from app.synthetic.plates.glyphs import draw_text
from app.synthetic.vehicle import Vehicle

Image = NDArray[np.uint8]


def in_falling_sizes(image: Image) -> list[Image]:
    """The image, then halves of it down to 16 pixels across."""
    sizes = [image]
    while sizes[-1].shape[1] >= 32 and sizes[-1].shape[0] >= 4:
        h, w = sizes[-1].shape[:2]
        sizes.append(cv2.resize(sizes[-1], (w // 2, max(2, h // 2)), interpolation=cv2.INTER_AREA))  # type: ignore[arg-type]
    return sizes


def dim(sizes: list[Image], factor: float) -> list[Image]:
    """The images, darker by `factor`; unchanged from 1 up."""
    return sizes if factor >= 1 else [cv2.convertScaleAbs(p, alpha=factor) for p in sizes]  # type: ignore[misc]


def soil(image: Image, rng: np.random.Generator) -> Image:
    """A plate made unreadable by mud."""
    spots = 40
    soiled = image.copy()
    height, width = soiled.shape[:2]
    mud = (rng.uniform(0.6, 1.1) * np.array([62, 84, 104])).tolist()
    for x, y, r in zip(
        rng.uniform(0, width, spots), rng.uniform(0, height, spots), rng.uniform(0.12, 0.3, spots), strict=True
    ):
        cv2.circle(soiled, (int(x), int(y)), int(r * height), mud, -1)
    return soiled


def grey(image: Image) -> Image:
    """The image without colour, still with three channels."""
    return cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_BGR2GRAY), cv2.COLOR_GRAY2BGR)  # type: ignore[return-value]


def logo_image(vehicle: Vehicle) -> Image:
    """The name of the company that owns the vehicle."""
    ground, ink = vehicle.logo_colours
    image = np.full((72, 250, 3), ground, np.uint8)
    draw_text(image, vehicle.logo, left=10, top=11, width=230, height=50, colour=ink, weight=0.2)
    return image
