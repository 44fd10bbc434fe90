"""Frontal rendering of a plate on a piece of its vehicle."""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from app.synthetic.plates.design import Colour, Design, Patch, Place
from app.synthetic.plates.faces import words
from app.synthetic.plates.grammar import invented, one_of, shade
from app.synthetic.plates.writing import blend, write

_BODIES: tuple[Colour, ...] = (
    (14, 14, 16), (20, 20, 22), (20, 20, 22), (26, 26, 34), (30, 30, 34), (38, 38, 40), (55, 57, 60), (60, 62, 66),
    (120, 122, 126), (180, 182, 185), (225, 226, 228), (120, 20, 25), (25, 40, 90), (60, 75, 70), (15, 15, 40),
)  # fmt: skip


@dataclass(frozen=True)
class RenderedPlate:
    """An image (H, W, 3), red-green-blue, and the places of plate and characters in it, in pixels.

    Args:
        centres: (L, 2), of each character of the text, in its order.
        lines: (L,), its line, from 0.
    """

    image: NDArray[np.uint8]
    plate: Place
    characters: Place
    character_height: float
    centres: NDArray[np.float64]
    lines: NDArray[np.int64]


def render_plate(rng: np.random.Generator, design: Design, height: int) -> RenderedPlate:
    """The plate of `design`, `height` pixels high, with a margin on all sides; a holder may frame it."""
    width = round(height * design.size[0] / design.size[1])
    beside, above = round(0.07 * width + 0.1 * height), round(0.3 * height + 0.04 * width)
    image = _surroundings(rng, width, height, beside, above)
    face = image[above : above + height, beside : beside + width]  # a view: the plate is rendered into the image
    corners = _corners_of(face, round(design.corner * height))
    _lay_ground(face, design.ground)
    for patch in design.under:
        _fill(face, patch)
    written = [write(face, line, design) for line in design.lines]
    places = [place for place, _ in written]
    for patch in design.over:
        _fill(face, patch)
    for legend in design.legends:
        _print(face, words(legend.face, legend.text), legend.place, legend.ink)
    if design.border is not None:
        _edge(face, design)
    for across, down in design.screws:
        centre = (round(across * width), round(down * height))
        grey = int(rng.integers(30, 190))
        cv2.circle(face, centre, max(1, round(0.028 * height)), (grey, grey, grey), -1, cv2.LINE_AA)
    for place, colours in corners:
        face[place] = colours
    characters = (
        beside + min(place[0] for place in places),
        above + min(place[1] for place in places),
        beside + max(place[2] for place in places),
        above + max(place[3] for place in places),
    )
    least = min(place[3] - place[1] for place in places)
    within = np.array([centre for _, row in written for centre in row], np.float64).reshape(-1, 2)
    centres = within + np.array([beside, above])
    lines = np.array([number for number, (_, row) in enumerate(written) for _ in row], np.int64)
    return RenderedPlate(image, (beside, above, beside + width, above + height), characters, least, centres, lines)


def _surroundings(rng: np.random.Generator, width: int, height: int, beside: int, above: int) -> NDArray[np.uint8]:
    body = shade(rng, one_of(rng, _BODIES), 12)
    image = np.empty((height + 2 * above, width + 2 * beside, 3), np.uint8)
    _paint(image, 0, 0, *image.shape[1::-1], body)
    for _ in range(int(rng.integers(0, 3))):  # a bumper's edge, a grille, a shadow
        y = int(rng.integers(0, len(image)))
        _paint(image, 0, y, image.shape[1], y + int(rng.integers(2, above + 3)), shade(rng, one_of(rng, _BODIES), 12))
    if rng.random() < 0.55:
        side, low = round(rng.uniform(0.01, 0.06) * height), round(rng.uniform(0.02, 0.2) * height)
        left, right, bottom = beside - side, beside + width + side, above + height + low
        holder = shade(rng, one_of(rng, ((25, 25, 27), (25, 25, 27), (60, 60, 64), (190, 190, 192))), 8)
        _paint(image, left, above - side, right, bottom, holder)
        if low > 0.09 * height and rng.random() < 0.6:
            text = words("din_bold", invented(int(rng.integers(256))))
            strip = image[above + height : bottom, beside : beside + width]
            _print(strip, text, (0.2, 0.2, 0.8, 0.85), (235, 235, 235) if sum(holder) < 300 else (30, 30, 30))
    return image


def _paint(image: NDArray[np.uint8], left: int, top: int, right: int, bottom: int, colour: Colour) -> None:
    """Fill a rectangle, right and bottom excluded; several times as fast as an assignment to a slice."""
    cv2.rectangle(image, (left, top), (right - 1, bottom - 1), colour, -1)


def _lay_ground(face: NDArray[np.uint8], stops: tuple[Colour, ...]) -> None:
    height, width = face.shape[:2]
    if len(stops) == 1:
        _paint(face, 0, 0, width, height, stops[0])
    else:
        column = np.array(stops, np.uint8)[:, None]  # (stops, 1, 3)
        face[:] = cv2.resize(column, (width, height), interpolation=cv2.INTER_LINEAR)


def _corners_of(face: NDArray[np.uint8], radius: int) -> list[tuple[tuple[slice, slice], NDArray[np.uint8]]]:
    """Pixels at the four corners before the plate is rendered: rows outside of a circle, to be restored."""
    height, width = face.shape[:2]
    saved = []
    for row in range(radius):
        out = round(radius - (radius**2 - (radius - row - 0.5) ** 2) ** 0.5)
        for y in (row, height - 1 - row):
            for columns in (slice(0, out), slice(width - out, width)):
                place = (slice(y, y + 1), columns)
                saved.append((place, face[place].copy()))
    return saved


def _fill(face: NDArray[np.uint8], patch: Patch) -> None:
    height, width = face.shape[:2]
    points = np.array([(x * width * 16, y * height * 16) for x, y in patch.points])
    cv2.fillPoly(face, [np.round(points).astype(np.int32)], patch.colour, cv2.LINE_AA, 4)


def _edge(face: NDArray[np.uint8], design: Design) -> None:
    height, width = face.shape[:2]
    inset, thick = round(design.border_inset * height), max(1, round(0.022 * height))
    corner = round(0.6 * design.corner * height)
    outline = np.array([
        (inset + corner, inset), (width - 1 - inset - corner, inset), (width - 1 - inset, inset + corner),
        (width - 1 - inset, height - 1 - inset - corner), (width - 1 - inset - corner, height - 1 - inset),
        (inset + corner, height - 1 - inset), (inset, height - 1 - inset - corner), (inset, inset + corner),
    ])  # fmt: skip
    assert design.border is not None
    cv2.polylines(face, [outline], True, design.border, thick, cv2.LINE_AA)


def _print(face: NDArray[np.uint8], mask: NDArray[np.uint8], place: Place, ink: Colour) -> None:
    height, width = face.shape[:2]
    x, y = round(place[0] * width), round(place[1] * height)
    size = (max(1, round((place[2] - place[0]) * width)), max(1, round((place[3] - place[1]) * height)))
    blend(face[y : y + size[1], x : x + size[0]], cv2.resize(mask, size, interpolation=cv2.INTER_AREA), ink)
