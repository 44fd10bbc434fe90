"""Plates of the United States: one size, with designs that vary as between states."""

from dataclasses import replace

import numpy as np

from app.synthetic.plates.design import SEAL, Colour, Design, Legend, Line, Patch, Point, box
from app.synthetic.plates.grammar import ALL_LETTERS, invented, one_of, shade, spelled, syllables
from app.synthetic.plates.us_words import MONTHS, SLOGANS, STATES, VANITY

_PATTERNS = (
    "#???###", "???~####", "???~###", "###~???", "??#~###", "??#~#??", "#??~###", "??##~??", "?##~####", "### ####",
    "#? ####", "####~??", "##?~???", "###?~??", "?## #?#", "??~####", "######", "#######", "###~###", "??????", "?####",
    "??#####", "##?#?#?", "#####??", "??###??", "##~####", "???#?", "#### ?", "##*?*?", "###???",
)  # fmt: skip
_WEIGHTS = (9, 12, 13, 13, 4, 4, 4, 4, 2, 4, 2, 3, 3, 1, 2, 4, 5, 3, 4, 1, 1, 3, 2, 2, 2, 2, 1, 1, 1, 3)
# Passenger plates, the states with most of them several times: California, Texas, Florida, New York, Missouri ...
_STATE_FORMATS = (
    "#???###", "#???###", "#???###", "??#~?###", "???~####", "???~####", "???~####", "???~####", "???~####", "???~####",
    "???~?##", "?##~#??", "??#~?#?", "??#~?#?", "?? #####", "?##~####", "###~???", "###~???", "###~???", "###~???",
    "???~###", "???~###", "???~###", "#??####", "?##~???", "#??~?##", "###~??#", "?##~##?", "##?###?", "?##~#??",
    "##?~###", "#??~###", "######", "#######", "#### ??", "?? ####", "#~#####", "#???##", "####~??", "??##~??",
)  # fmt: skip
_STATE_LETTERS = "ABCDEFGHJKLMNPRSTUVWXYZ"  # without I, O and Q
_INKS: tuple[Colour, ...] = (
    (20, 30, 80), (20, 30, 80), (25, 25, 30), (25, 25, 30), (25, 60, 140), (150, 25, 35), (20, 80, 60), (60, 50, 50),
    (60, 35, 110), (90, 30, 30),
)  # fmt: skip
_PALE: tuple[Colour, ...] = (
    (235, 235, 238), (235, 235, 238), (240, 238, 225), (200, 220, 240), (245, 215, 120), (210, 228, 210),
    (215, 218, 225), (170, 200, 235), (245, 205, 185), (225, 215, 235), (180, 200, 190),
)  # fmt: skip
_MOTIFS: tuple[Colour, ...] = (
    (120, 130, 140),
    (200, 120, 60),
    (60, 130, 110),
    (90, 110, 170),
    (60, 60, 70),
    (190, 60, 60),
)
_DARK: tuple[Colour, ...] = ((20, 40, 110), (20, 90, 60), (30, 30, 40), (110, 25, 35), (30, 80, 160))
_LIGHT_INKS: tuple[Colour, ...] = ((245, 245, 245), (245, 245, 245), (240, 205, 60), (235, 225, 190))
_FACES = ("tall", "square", "roboto", "grotesque", "thin", "angular", "din", "din_bold", "strokes", "highway")
_FACE_WEIGHTS = (4, 4, 3, 2, 3, 3, 4, 2, 2, 2)
_SMALL_FACES = ("din_bold", "dejavu", "highway", "grotesque", "serif", "serif", "italic", "italic")


def united_states(rng: np.random.Generator, *, by_state: bool = False) -> Design:
    """A plate of a state: ground, graphics, name, slogan and stickers sampled independently of each other.

    Args:
        by_state: whether its text has the format of a state, most often without the letters that look like digits.
    """
    dark = rng.random() < 0.14
    paper = shade(rng, one_of(rng, _DARK if dark else _PALE), 10)
    ink = shade(rng, one_of(rng, _LIGHT_INKS if dark else _INKS), 12)
    ground = _ground(rng, paper, dark)
    text = _text(rng, by_state)
    face = one_of(rng, _FACES, _FACE_WEIGHTS)
    top, bottom = rng.uniform(0.24, 0.31), rng.uniform(0.72, 0.79)
    line = Line(
        text, (rng.uniform(0.03, 0.09), top, rng.uniform(0.91, 0.97), bottom), face, ink, even=rng.random() < 0.45,
        fill=rng.uniform(0.7, 0.84), gap=rng.uniform(0.06, 0.17), footed=rng.random() < 0.3,
        weight=one_of(rng, (4, 6, 8) if face == "thin" else (-2, 0, 2)),
    )  # fmt: skip
    under: list[Patch] = []
    legends: list[Legend] = []
    over: list[Patch] = []
    accent = shade(rng, one_of(rng, _INKS), 15)
    top_ink = bottom_ink = one_of(rng, (ink, accent)) if not dark else ink
    if not dark and rng.random() < 0.45:
        under += _graphics(rng, paper)
    if rng.random() < 0.28:
        under.append(box(0, 0, 1, top - 0.06, accent))
        top_ink = one_of(rng, _LIGHT_INKS)
    if rng.random() < 0.2:
        under.append(box(0, bottom + 0.06, 1, 1, accent))
        bottom_ink = one_of(rng, _LIGHT_INKS)
    state = one_of(rng, STATES)
    small = one_of(rng, _SMALL_FACES)
    above, below = (state, one_of(rng, SLOGANS)) if rng.random() < 0.75 else (one_of(rng, SLOGANS), state)
    if rng.random() < 0.06:
        _stack(rng, line, legends)
        line = replace(line, place=(0.17, *line.place[1:]))
    legends.append(_legend(rng, above, 0.04, top - 0.06, small, top_ink, 0.56))
    if rng.random() < 0.88:
        legends.append(_legend(rng, below, bottom + 0.07, 0.96, small, bottom_ink, 0.5))
    for left, high in ((0.03, True), (0.85, True), (0.03, False), (0.85, False)):
        if rng.random() < (0.5 if high else 0.3):
            _sticker(rng, left, high, over, legends)
    if rng.random() < 0.22:
        _frame(rng, over, legends)
    return Design(
        (305, 152), ground, (line,), tuple(legends), tuple(under), tuple(over),
        border=one_of(rng, (ink, shade(rng, paper, 25), None)), border_inset=0.02, corner=0.12,
        seal=one_of(rng, ("star", "disc", "blot", "blot")), seal_ink=shade(rng, one_of(rng, _MOTIFS), 20),
        screws=_screws(rng), embossed=rng.random() < 0.7,
    )  # fmt: skip


def _text(rng: np.random.Generator, by_state: bool) -> str:
    if rng.random() < 0.2:
        words = [one_of(rng, VANITY) if rng.random() < 0.6 else syllables(rng, int(rng.integers(1, 4)))]
        if len(words[0]) < 5 and rng.random() < 0.6:
            words.append(one_of(rng, VANITY) if rng.random() < 0.6 else spelled(rng, one_of(rng, ("#", "##", "###"))))
        return one_of(rng, (" ", "", "-"), (3, 3, 1)).join(words)[:8].strip(" -")
    if by_state:
        pattern, letters = one_of(rng, _STATE_FORMATS), one_of(rng, (_STATE_LETTERS, ALL_LETTERS), (85, 15))
    else:
        pattern, letters = one_of(rng, _PATTERNS, _WEIGHTS), ALL_LETTERS
    pattern = pattern.replace("~", one_of(rng, (" ", "·", "-", SEAL, ""), (3, 2, 2, 4, 2)))
    return spelled(rng, pattern, letters)


def _ground(rng: np.random.Generator, paper: Colour, dark: bool) -> tuple[Colour, ...]:
    if dark or rng.random() < 0.5:
        return (paper,)
    if rng.random() < 0.5:
        return shade(rng, one_of(rng, _PALE), 20), paper, paper
    return shade(rng, one_of(rng, _PALE), 20), paper, shade(rng, one_of(rng, _PALE), 20)


def _graphics(rng: np.random.Generator, paper: Colour) -> list[Patch]:
    """Hills, a sun or a blot behind the characters, mostly pale."""
    strength = rng.uniform(0.12, 0.5)

    def tinted() -> Colour:
        ink = one_of(rng, _INKS + _PALE)
        r, g, b = (round(p + strength * (i - p)) for p, i in zip(paper, ink, strict=True))
        return r, g, b

    patches = []
    if rng.random() < 0.6:
        heights = rng.uniform(0.3, 0.9, 7)
        ridge: list[Point] = [(i / 6, float(height)) for i, height in enumerate(heights)]
        patches.append(Patch(((0.0, 1.0), *ridge, (1.0, 1.0)), tinted()))
    for _ in range(int(rng.integers(0, 3))):
        patches.append(blot(rng, (rng.uniform(0.1, 0.9), rng.uniform(0.3, 0.8)), rng.uniform(0.05, 0.16), tinted()))
    return patches


def blot(rng: np.random.Generator, centre: Point, radius: float, colour: Colour) -> Patch:
    """An irregular shape, twice as high as `radius` since plates are twice as wide as high."""
    corners = int(rng.integers(5, 12))
    reach = radius * rng.uniform(0.5, 1.3, corners)
    turn = 2 * np.pi * np.arange(corners) / corners
    points = tuple(
        (float(centre[0] + r * np.cos(t)), float(centre[1] + 2 * r * np.sin(t)))
        for r, t in zip(reach, turn, strict=True)
    )
    return Patch(points, colour)


def _legend(
    rng: np.random.Generator, text: str, top: float, bottom: float, face: str, ink: Colour, most: float
) -> Legend:
    text = text.upper() if rng.random() < 0.55 else text
    height = (bottom - top) * rng.uniform(0.7, 1.0)
    width = min(most, 0.032 * len(text) + 0.08) * rng.uniform(0.85, 1.1)
    middle = rng.uniform(0.46, 0.54)
    y = (top + bottom - height) / 2
    return Legend(text, (middle - width / 2, y, middle + width / 2, y + height), face, ink)


def _sticker(rng: np.random.Generator, left: float, high: bool, over: list[Patch], legends: list[Legend]) -> None:
    top = 0.05 if high else 0.82
    colour = shade(rng, one_of(rng, ((235, 235, 235), (190, 40, 50), (40, 80, 170), (40, 130, 80), (240, 200, 50))), 15)
    over.append(box(left, top, left + 0.12, top + 0.14, colour))
    ink: Colour = (30, 30, 40) if sum(colour) > 380 else (240, 240, 240)
    text = one_of(rng, MONTHS) if rng.random() < 0.5 else spelled(rng, "##")
    legends.append(Legend(text, (left + 0.02, top + 0.03, left + 0.1, top + 0.11), "din_bold", ink))


def _stack(rng: np.random.Generator, line: Line, legends: list[Legend]) -> None:
    """Two small letters, one above the other, before the number; they are not part of the text."""
    middle = (line.place[1] + line.place[3]) / 2
    for text, top in zip(spelled(rng, "??"), (line.place[1], middle + 0.01), strict=True):
        legends.append(Legend(text, (0.06, top, 0.12, top + 0.2), "din_bold", line.ink))


def _frame(rng: np.random.Generator, over: list[Patch], legends: list[Legend]) -> None:
    """A dealer's frame, which hides the edges and often the print on them."""
    colour = shade(rng, one_of(rng, ((25, 25, 28), (190, 190, 195), (60, 60, 65))), 10)
    ink: Colour = (235, 235, 235) if sum(colour) < 300 else (30, 30, 35)
    up, low, side = rng.uniform(0.04, 0.19), rng.uniform(0.81, 0.95), rng.uniform(0.015, 0.04)
    over += [
        box(0, 0, 1, up, colour),
        box(0, low, 1, 1, colour),
        box(0, 0, side, 1, colour),
        box(1 - side, 0, 1, 1, colour),
    ]
    for top, bottom in ((0.01, up - 0.01), (low + 0.01, 0.99)):
        if bottom - top > 0.08 and rng.random() < 0.7:
            legends.append(Legend(invented(int(rng.integers(256))), (0.2, top, 0.8, bottom), "din_bold", ink))


def _screws(rng: np.random.Generator) -> tuple[Point, ...]:
    upper: tuple[Point, ...] = ((0.22, 0.1), (0.78, 0.1))
    lower: tuple[Point, ...] = ((0.22, 0.9), (0.78, 0.9))
    return one_of(rng, (upper, upper + lower, ()), (5, 3, 2))
