"""Plates of China: blue, yellow of one and two lines, green, and the rare white and black ones (GA 36-2018)."""

import numpy as np

from app.synthetic.plates.design import Colour, Design, Line
from app.synthetic.plates.grammar import CLEAR_LETTERS, one_of, shade, spelled
from models.alphabet import PROVINCES

_WHITE, _BLACK, _RED = (238, 240, 242), (22, 22, 24), (205, 30, 30)
_BLUES = ((10, 60, 190), (20, 90, 215), (5, 30, 150), (30, 80, 170))
_YELLOW = (240, 190, 25)
_FACES = ("din", "din", "din", "highway", "highway", "square", "grotesque", "roboto")
_STROKES = (-2, 0, 0, 2)  # growth of the strokes, see `glyph`
_NUMBERS = ("#####", "?####", "#?###", "##?##", "###?#", "####?", "??###", "#??##", "?#?##", "?###?", "?##?#", "*****")
_NUMBER_WEIGHTS = (5, 4, 4, 1, 1, 2, 3, 2, 1, 1, 1, 2)


def china(rng: np.random.Generator) -> Design:
    """A plate of one of the kinds seen in China, blue ones most."""
    kind = one_of(rng, ("blue", "yellow", "yellow_rear", "green", "white", "black"), (68, 9, 8, 11, 2, 2))
    area = one_of(rng, PROVINCES) + (one_of(rng, "ABCD", (6, 2, 1, 1)) if rng.random() < 0.6 else _letter(rng))
    number = spelled(rng, one_of(rng, _NUMBERS, _NUMBER_WEIGHTS), CLEAR_LETTERS)
    if kind == "green":
        return _green(rng, area)
    if kind == "yellow_rear":
        last = "挂" if rng.random() < 0.25 else ""
        return _two_lines(rng, area, (number[:4] if last else number) + last)
    if kind == "yellow":
        if rng.random() < 0.3:
            number = number[:4] + "学"
        return _one_line(rng, area, number, shade(rng, _YELLOW), _BLACK)
    if kind == "white":
        return _one_line(rng, area, number[:4] + "警", _WHITE, _BLACK)
    if kind == "black":
        if rng.random() < 0.5:
            return _one_line(rng, "粤Z", number[:4] + one_of(rng, "港澳"), (20, 22, 26), _WHITE)
        if rng.random() < 0.5:
            return _one_line(rng, area, number[:4] + "领", (20, 22, 26), _WHITE)
        digits = spelled(rng, "######")
        return _one_line(rng, "使" + digits[:3], digits[3:], (20, 22, 26), _WHITE)
    return _one_line(rng, area, number, shade(rng, one_of(rng, _BLUES), 14), _WHITE)


def _letter(rng: np.random.Generator) -> str:
    return one_of(rng, CLEAR_LETTERS)


def _one_line(rng: np.random.Generator, area: str, number: str, ground: Colour, ink: Colour) -> Design:
    line = Line(
        f"{area}·{number}" if rng.random() < 0.8 else f"{area} {number}",
        (0.035, 0.17 + rng.uniform(-0.02, 0.02), 0.965, 0.82),
        one_of(rng, _FACES),
        ink,
        even=True,
        fill=rng.uniform(0.72, 0.84),
        weight=one_of(rng, _STROKES),
        special_ink=_RED if ground == _WHITE else None,
    )
    return Design(
        (440, 140), (ground,), (line,), border=ink if rng.random() < 0.9 else None, border_inset=0.035, corner=0.07,
        screws=((0.26, 0.08), (0.74, 0.08)) if rng.random() < 0.7 else (),
    )  # fmt: skip


def _green(rng: np.random.Generator, area: str) -> Design:
    face, weight = one_of(rng, _FACES), one_of(rng, _STROKES)
    large = rng.random() < 0.2
    number = spelled(rng, "#####", CLEAR_LETTERS) + one_of(rng, "DF") if large else (
        one_of(rng, "DDDDFABCEGHJK") + spelled(rng, "*####" if rng.random() < 0.3 else "#####", CLEAR_LETTERS)
    )  # fmt: skip
    green = shade(rng, (105, 205, 130), 14)
    line = Line(
        f"{area} {number}", (0.03, 0.16, 0.97, 0.84), face, (18, 24, 20), even=True, fill=rng.uniform(0.74, 0.86),
        weight=weight,
    )  # fmt: skip
    ground = (shade(rng, _YELLOW), green) if large else (shade(rng, (225, 240, 228), 8), green)
    return Design((480, 140), ground, (line,), border=(18, 24, 20), border_inset=0.04, corner=0.07, embossed=False)


def _two_lines(rng: np.random.Generator, area: str, number: str) -> Design:
    face, weight = one_of(rng, _FACES), one_of(rng, _STROKES)
    upper = Line(
        f"{area[0]}·{area[1]}", (0.24, 0.09, 0.76, 0.37), face, _BLACK, even=True, fill=rng.uniform(0.5, 0.75),
        weight=weight,
    )  # fmt: skip
    lower = Line(number, (0.05, 0.43, 0.95, 0.92), face, _BLACK, even=True, fill=rng.uniform(0.74, 0.85), weight=weight)
    return Design((440, 220), (shade(rng, _YELLOW),), (upper, lower), border=_BLACK, border_inset=0.025, corner=0.05)
