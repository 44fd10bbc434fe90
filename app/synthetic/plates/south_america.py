"""Plates of Argentina and Brazil: the national ones and those of Mercosur, with two lines on motorcycles."""

import numpy as np

from app.synthetic.plates.design import Colour, Design, Legend, Line, Point, box
from app.synthetic.plates.grammar import invented, one_of, shade, spelled

_WHITE, _BLACK, _BLUE = (238, 238, 236), (24, 24, 26), (20, 60, 150)
_MERCOSUR_FACES = ("thin", "thin", "angular", "din_bold", "square", "strokes")
_STATES = ("BA", "SP", "RJ", "MG", "ES", "PR", "RS", "SC", "GO", "DF", "PE", "CE", "AM", "PA", "MT", "MS")


def argentina(rng: np.random.Generator) -> Design:
    """The black one of 1995 (AAA 999), or AA 999 AA of Mercosur; A999AAA in two lines on motorcycles."""
    style = one_of(rng, ("black", "mercosur", "motorcycle"), (55, 39, 6))
    if style == "mercosur":
        face = one_of(rng, _MERCOSUR_FACES)
        return _mercosur(
            one_of(rng, ("A", spelled(rng, "?")), (7, 3)) + spelled(rng, "? ### ??"),
            face,
            _weight(rng, face),
            "REPUBLICA ARGENTINA",
            rng,
        )
    if style == "motorcycle":
        face = one_of(rng, _MERCOSUR_FACES)
        return _motorcycle(
            one_of(rng, ("A", spelled(rng, "?")), (7, 3)) + spelled(rng, "##"),
            spelled(rng, "#???"),
            face,
            _weight(rng, face),
            "ARGENTINA",
            rng,
        )
    place = (0.055, 0.28, 0.945, 0.77)
    line = Line(
        spelled(rng, "???  ###"), place, one_of(rng, ("tall", "square", "roboto", "grotesque", "strokes", "angular")),
        _WHITE, gap=rng.uniform(0.08, 0.13), weight=one_of(rng, (0, 2, 4)), footed=rng.random() < 0.75,
    )  # fmt: skip
    legends = [Legend("ARGENTINA", (0.3, 0.09, 0.7, 0.19), "din_bold", _BLACK)]
    if rng.random() < 0.2:
        legends.append(Legend(one_of(rng, "DT"), (0.49, 0.46, 0.52, 0.56), "din", _WHITE))
    return Design(
        (294, 129), (_WHITE,), (line,), tuple(legends), under=(box(0.035, 0.24, 0.965, 0.81, shade(rng, _BLACK, 8)),),
        border=(200, 200, 200), corner=0.14, screws=_slots(0.06, 0.94),
    )  # fmt: skip


def brazil(rng: np.random.Generator) -> Design:
    """The grey one (AAA-9999) or AAA9A99 of Mercosur; each with two lines on motorcycles."""
    style = one_of(rng, ("grey", "grey_motorcycle", "mercosur", "motorcycle"), (60, 8, 24, 8))
    face = one_of(rng, _MERCOSUR_FACES)
    if style == "mercosur":
        return _mercosur(spelled(rng, "???#?##"), face, _weight(rng, face), "BRASIL", rng)
    if style == "motorcycle":
        return _motorcycle(spelled(rng, "???"), spelled(rng, "#?##"), face, _weight(rng, face), "BRASIL", rng)
    ground, ink = one_of(rng, (((196, 198, 200), _BLACK), ((175, 30, 35), _WHITE)), (93, 7))
    letters, digits = spelled(rng, "???"), spelled(rng, "####")
    face, weight = one_of(rng, ("highway", "din", "din_bold", "grotesque", "roboto")), one_of(rng, (0, 2, 4))
    town = _town(int(rng.integers(256)))
    ground = shade(rng, ground, 10)
    edge = shade(rng, (150, 150, 150), 15)
    if style == "grey_motorcycle":
        upper = Line(letters, (0.14, 0.2, 0.86, 0.54), face, ink, even=True, fill=rng.uniform(0.6, 0.75), weight=weight)
        lower = Line(digits, (0.08, 0.6, 0.92, 0.94), face, ink, even=True, fill=rng.uniform(0.65, 0.8), weight=weight)
        legends = (Legend(town, (0.2, 0.05, 0.8, 0.13), "din_bold", ink),)
        return Design((187, 136), (ground,), (upper, lower), legends, border=edge, screws=_slots(0.06, 0.94))
    line = Line(
        f"{letters}{one_of(rng, '·-', (8, 2))}{digits}", (0.04, 0.34 + rng.uniform(-0.02, 0.03), 0.96, 0.86), face, ink,
        even=rng.random() < 0.5, fill=rng.uniform(0.68, 0.8), gap=rng.uniform(0.12, 0.2), weight=weight,
    )  # fmt: skip
    over = [box(0.33, 0.92, 0.38, 0.96, _BLACK), box(0.62, 0.92, 0.67, 0.96, _BLACK)]
    if rng.random() < 0.5:
        seal = one_of(rng, ((190, 40, 40), (225, 225, 215), (200, 170, 60)))
        over.append(box(0.12, 0.12, 0.17, 0.25, shade(rng, seal, 20)))
    return Design(
        (400, 130), (ground,), (line,), (Legend(town, (0.3, 0.12, 0.7, 0.25), "din_bold", ink),),
        under=(box(0.22, 0.08, 0.78, 0.28, shade(rng, ground, 4)),), over=tuple(over), border=edge, border_inset=0.06,
        corner=0.12, screws=_slots(0.04, 0.96)[:2],
    )  # fmt: skip


def _town(number: int) -> str:
    return f"{_STATES[number % len(_STATES)]}-{invented(number)}"


def _weight(rng: np.random.Generator, face: str) -> int:
    return one_of(rng, (2, 4, 6) if face == "thin" else (-2, 0, 2))


def _slots(left: float, right: float) -> tuple[Point, ...]:
    inner = 0.27 * (right - left)
    return ((left + inner, left * 1.4 + 0.04), (right - inner, left * 1.4 + 0.04))


def _mercosur(text: str, face: str, weight: int, country: str, rng: np.random.Generator) -> Design:
    line = Line(
        text,
        (0.05, 0.34, 0.95, 0.88),
        face,
        _BLACK,
        gap=rng.uniform(0.1, 0.2),
        weight=weight,
        footed=rng.random() < 0.3,
    )
    blue = shade(rng, _BLUE, 10)
    return Design(
        (400, 130), (shade(rng, _WHITE, 6),), (line,), (Legend(country, (0.3, 0.07, 0.7, 0.18), "din_bold", _WHITE),),
        under=(box(0, 0, 1, 0.25, blue), box(0.9, 0.06, 0.96, 0.2, (200, 210, 200))), border=_edge(rng, blue),
        corner=0.08, screws=((0.2, 0.12), (0.8, 0.12)) if rng.random() < 0.4 else (),
    )  # fmt: skip


def _motorcycle(above: str, below: str, face: str, weight: int, country: str, rng: np.random.Generator) -> Design:
    footed = rng.random() < 0.3
    upper = Line(
        above, (0.15, 0.23, 0.85, 0.54), face, _BLACK, gap=rng.uniform(0.12, 0.2), weight=weight, footed=footed
    )
    lower = Line(
        below, (0.08, 0.61, 0.92, 0.92), face, _BLACK, gap=rng.uniform(0.12, 0.2), weight=weight, footed=footed
    )
    blue = shade(rng, _BLUE, 10)
    return Design(
        (200, 170), (shade(rng, _WHITE, 6),), (upper, lower),
        (Legend(country, (0.3, 0.05, 0.7, 0.12), "din_bold", _WHITE),), under=(box(0, 0, 1, 0.17, blue),),
        border=_edge(rng, blue), corner=0.08,
    )  # fmt: skip


def _edge(rng: np.random.Generator, blue: Colour) -> Colour | None:
    return one_of(rng, (blue, _BLACK, None))
