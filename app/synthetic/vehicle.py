"""Vehicle of one identity: model, colour, trim and small cues that distinguish it from similar ones."""

from dataclasses import dataclass

import numpy as np

from app.synthetic.body import Body, catalogue
from app.synthetic.plate import LAYOUTS, Colour, Plate, draw_plate

# name, blue-green-red, share of the vehicles, near-infrared reflectance (dyes differ there from what the eye sees)
PAINTS: tuple[tuple[str, Colour, float, tuple[float, float]], ...] = (
    ("white", (232, 234, 234), 0.24, (0.75, 0.9)),
    ("black", (34, 32, 32), 0.18, (0.06, 0.45)),
    ("grey", (104, 102, 100), 0.15, (0.2, 0.5)),
    ("silver", (178, 176, 172), 0.12, (0.5, 0.7)),
    ("blue", (135, 70, 32), 0.10, (0.2, 0.7)),
    ("red", (38, 30, 165), 0.08, (0.5, 0.8)),
    ("brown", (52, 72, 100), 0.04, (0.3, 0.6)),
    ("green", (70, 92, 40), 0.04, (0.3, 0.7)),
    ("yellow", (45, 185, 225), 0.025, (0.7, 0.85)),
    ("orange", (35, 105, 225), 0.025, (0.6, 0.8)),
)
ACCENTS: tuple[Colour, ...] = (
    (40, 40, 210), (205, 110, 30), (50, 170, 60), (30, 200, 240), (30, 120, 245),
    (190, 60, 150), (235, 235, 235), (25, 25, 25), (190, 190, 40), (150, 150, 255),
)  # fmt: skip


@dataclass(frozen=True)
class Sticker:
    """A patch of colour on a surface of the body; `row` and `column` are shares of the surface, sizes are metres."""

    surface: str
    row: float
    column: float
    width: float
    height: float
    shape: str  # "square", "round", "cross", "triangle" or "scratch"
    colour: Colour


@dataclass(frozen=True)
class Vehicle:
    """Appearance of one vehicle. Colours are blue-green-red, 0 to 255."""

    key: tuple[int, ...]
    body: Body
    paint: str
    colour: Colour
    roof: Colour
    lower: Colour  # bumpers' lower half, sills and arches
    mirror: Colour
    moulding: Colour | None
    window_tint: float  # 0 clear to 1 black
    rear_tint: float
    chrome: bool  # window frames and grille
    rims: int
    rim_colour: Colour
    roof_item: str  # "", "rails", "rack", "box", "ladder" or "sign"
    roof_item_colour: Colour
    sunroof: bool
    stripe: str  # "", "centre", "belt", "sill" or "two"
    stripe_colour: Colour
    logo: str
    logo_colours: tuple[Colour, Colour]
    fog_lamps: bool
    spoiler: bool
    windowless: bool
    stickers: tuple[Sticker, ...]
    infrared: float  # reflectance of the paint
    plate: Plate


def _shade(rng: np.random.Generator, colour: Colour, spread: float) -> Colour:
    varied = np.clip(np.array(colour) * rng.uniform(1 - spread, 1 + spread) + rng.uniform(-5, 5, 3), 8, 245)
    return int(varied[0]), int(varied[1]), int(varied[2])


def _accent(rng: np.random.Generator) -> Colour:
    return ACCENTS[rng.integers(len(ACCENTS))]


def _draw_sticker(rng: np.random.Generator, surface: str) -> Sticker:
    large = rng.random() < 0.3
    shapes = ("square", "round", "cross", "triangle")
    scratch = rng.random() < 0.25 and surface in ("bonnet", "left", "right", "rear", "front")
    sizes = rng.uniform(0.2, 0.36, 2) if large else rng.uniform(0.1, 0.2, 2)
    return Sticker(
        surface,
        row=float(rng.uniform(0.2, 0.8)),
        column=float(rng.choice([rng.uniform(0.08, 0.32), rng.uniform(0.68, 0.92)])),
        width=float(sizes[0] * (2.4 if scratch else 1.0)),
        height=float(sizes[1] * (0.25 if scratch else 0.8)),
        shape="scratch" if scratch else shapes[rng.integers(4)],
        colour=(200, 205, 210) if scratch and rng.random() < 0.5 else (30, 45, 60) if scratch else _accent(rng),
    )


def draw_vehicle(
    key: tuple[int, ...], *, fleet: tuple[int, int] | None = None, layouts: tuple[float, ...] | None = None
) -> Vehicle:
    """The vehicle with this key; the same key gives the same vehicle.

    Args:
        key: whole numbers from 0: seed, site, split, number.
        fleet: numbers of the model and the paint of a company's fleet; None samples both freely.
        layouts: share of each plate layout, summing to 1; None for equal shares.
    """
    rng = np.random.default_rng([1, *key])
    models, shares = catalogue()
    body = models[rng.choice(len(models), p=shares)]
    number = int(rng.choice(len(PAINTS), p=np.array([p[2] for p in PAINTS])))
    if fleet is not None:
        body, number = models[fleet[0]], fleet[1]
    name, base, _, infrared = PAINTS[number]
    colour = _shade(rng, base, 0.06 if fleet is not None else 0.14)
    plastic: Colour = (48, 46, 44)
    stripe = str(rng.choice(["", "centre", "two", "belt", "sill"], p=[0.5, 0.1, 0.1, 0.15, 0.15]))
    commercial = body.kind in ("van", "minibus", "pickup") or fleet is not None
    logo = ""
    if rng.random() < (0.55 if commercial else 0.12):
        logo = "".join("ACEHKLMNRSTVXZ"[i] for i in rng.integers(14, size=3)) + str(rng.integers(10, 99))
    ground = _accent(rng)
    surfaces = ["bonnet", "left", "right", "rear", "windscreen", "rear_window", "front", "roof", "boot"]
    count = int(rng.choice([1, 2, 3, 4, 5], p=[0.15, 0.25, 0.3, 0.2, 0.1]))
    chosen = rng.choice(len(surfaces), size=count, replace=False)
    stickers = [_draw_sticker(rng, surfaces[i]) for i in chosen]
    if rng.random() < 0.75:  # one club sticker in several places, common to the front and the rear
        colour_of_club, shape = _accent(rng), str(rng.choice(["square", "round", "cross", "triangle"]))
        for surface, row, column in (
            ("bonnet", 0.5, 0.2),
            ("rear", 0.75, 0.8),
            ("left", 0.6, 0.6),
            ("right", 0.6, 0.6),
        ):
            stickers.append(Sticker(surface, row, column, 0.34, 0.27, shape, colour_of_club))
    roof_items = ["", "rails", "rack", "box", "ladder", "sign"]
    tall = body.kind in ("van", "minibus")
    odds = [0.75, 0.1, 0.05, 0.0, 0.1, 0.0] if tall else [0.46, 0.2, 0.12, 0.12, 0.02, 0.08]
    return Vehicle(
        key=key,
        body=body,
        paint=name,
        colour=colour,
        roof=((30, 30, 30) if sum(colour) > 250 else (225, 225, 225)) if rng.random() < 0.2 else colour,
        lower=plastic if rng.random() < (0.75 if body.kind in ("suv", "van", "pickup", "minibus") else 0.3) else colour,
        mirror=[colour, colour, plastic, (150, 150, 150), _accent(rng)][rng.integers(5)],
        moulding=[None, None, plastic, (190, 190, 190), _accent(rng)][rng.integers(5)],
        window_tint=float(rng.uniform(0.35, 0.85)),
        rear_tint=float(rng.choice([0.4, 0.7, 0.97])),
        chrome=bool(rng.random() < 0.4),
        rims=int(rng.integers(7)),
        rim_colour=[(175, 175, 172), (190, 190, 190), (120, 118, 116), (40, 40, 40), (235, 235, 235), _accent(rng)][
            rng.choice(6, p=[0.35, 0.2, 0.17, 0.15, 0.06, 0.07])
        ],
        roof_item=str(rng.choice(roof_items, p=odds)),
        roof_item_colour=[(40, 40, 40), (165, 165, 165), (225, 225, 225), _accent(rng)][rng.integers(4)],
        sunroof=bool(rng.random() < 0.25) and not tall,
        stripe=stripe,
        stripe_colour=_accent(rng),
        logo=logo,
        logo_colours=(ground, (25, 25, 25) if sum(ground) > 380 else (240, 240, 240)),
        fog_lamps=bool(rng.random() < 0.5),
        spoiler=bool(rng.random() < 0.25),
        windowless=body.kind == "van" and bool(rng.random() < 0.6),
        stickers=tuple(stickers),
        infrared=float(rng.uniform(*infrared)),
        plate=draw_plate(rng, LAYOUTS[rng.choice(len(LAYOUTS), p=layouts)]),
    )
