"""Plates of Vietnam: two lines on motorcycles and on the rear of many cars, one line on the front."""

import numpy as np

from app.synthetic.plates.design import Colour, Design, Line
from app.synthetic.plates.grammar import one_of, shade, spelled

_SERIES = "ABCDEFGHKLMNPRSTUVXYZ"
_GROUNDS: tuple[tuple[Colour, Colour], ...] = (
    ((232, 234, 238), (30, 28, 40)),
    ((240, 190, 30), (25, 25, 25)),
    ((25, 70, 180), (240, 240, 240)),
)
_FACES = ("din", "din", "din_bold", "highway", "roboto", "square")


def vietnam(rng: np.random.Generator) -> Design:
    """A plate of a motorcycle (two lines, a series letter with a digit) or of a car."""
    ground, ink = one_of(rng, _GROUNDS, (92, 4, 4))
    ground = shade(rng, ground, 8)
    province = str(int(rng.integers(11, 100)))
    number = spelled(rng, "###.##" if rng.random() < 0.68 else "####")
    style = one_of(rng, ("motorcycle", "car_front", "car_rear"), (58, 34, 8))
    face, weight = one_of(rng, _FACES), one_of(rng, (-2, 0, 0, 2))
    if style == "car_front":
        line = Line(
            f"{province}{one_of(rng, _SERIES)}{one_of(rng, '-·', (9, 1))}{number}", (0.03, 0.15, 0.97, 0.85), face, ink,
            gap=rng.uniform(0.1, 0.18), weight=weight,
        )  # fmt: skip
        return Design((470, 110), (ground,), (line,), border=ink, border_inset=0.05, corner=0.12)
    if style == "car_rear":
        series = f"{province}{one_of(rng, _SERIES)}"
    elif rng.random() < 0.06:
        series = f"{province}-{spelled(rng, '??', _SERIES)}"
    else:
        series = f"{province}{one_of(rng, '-·', (9, 1))}{one_of(rng, _SERIES)}{rng.integers(1, 10)}"
    upper = Line(series, (0.18, 0.08, 0.82, 0.46), face, ink, gap=rng.uniform(0.12, 0.2), weight=weight)
    lower = Line(number, (0.06, 0.53, 0.94, 0.92), face, ink, gap=rng.uniform(0.12, 0.24), weight=weight)
    size = (190, 140) if style != "car_rear" else (280, 200)
    return Design(
        size, (ground,), (upper, lower), border=ink if rng.random() < 0.6 else shade(rng, (200, 200, 205)),
        border_inset=0.03, corner=0.09, screws=((0.2, 0.05), (0.8, 0.05)) if rng.random() < 0.3 else (),
    )  # fmt: skip
