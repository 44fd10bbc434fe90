"""Number plates: texts, layouts and images."""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from app.synthetic.plates.glyphs import draw_text

Colour = tuple[int, int, int]  # blue, green, red, as the drawing library orders them

_LETTERS = "ABCDEFGHJKLMNPRSTUVWXYZ"  # I, O and Q are left out, as most countries do
_DIGITS = "0123456789"
_PIXELS_PER_METRE = 520


@dataclass(frozen=True)
class Layout:
    """Layout of one kind of plate. In a pattern, L is a letter, D a digit, A either; blanks and dots are spacing."""

    name: str
    width: float  # metres
    height: float
    patterns: tuple[str, ...]
    ground: Colour
    ink: Colour
    band: str  # "left", "top", "bottom" or ""
    band_colour: Colour = (160, 60, 10)
    retro: float = 1.0  # how bright the ground is to an infrared flash, 0 to 1


LAYOUTS = (
    Layout("eu", 0.52, 0.112, ("LL DDD LL", "LL LL DDDD", "DDDD LLL"), (240, 242, 242), (24, 20, 20), "left"),
    Layout("eu_yellow", 0.52, 0.112, ("LL DDD L", "DD LLL D"), (40, 190, 245), (20, 20, 20), "left", retro=0.9),
    Layout(
        "china_blue", 0.44, 0.14, ("LL.AADDD", "LL.DAADD", "LL.DDDDA"), (165, 70, 15), (245, 245, 245), "", retro=0.3
    ),
    Layout("china_green", 0.48, 0.14, ("LL.LDDDDD",), (165, 225, 150), (20, 25, 20), "", retro=0.9),
    Layout("mercosur", 0.40, 0.13, ("LLLDLDD", "LLDDDLL"), (240, 240, 240), (25, 20, 20), "top"),
    Layout("us", 0.34, 0.17, ("DLLLDDD", "LLL DDDD"), (235, 228, 214), (120, 40, 30), "bottom", (60, 60, 200), 0.9),
)


@dataclass(frozen=True)
class Plate:
    """One vehicle's plate; `text` holds no blanks."""

    layout: Layout
    spaced: str

    @property
    def text(self) -> str:
        """Letters and digits only."""
        return self.spaced.replace(" ", "").replace(".", "")


def draw_plate(rng: np.random.Generator, layout: Layout) -> Plate:
    """A plate with a random text of `layout`."""
    pattern = layout.patterns[rng.integers(len(layout.patterns))]
    kinds = {"L": _LETTERS, "D": _DIGITS, "A": _LETTERS + _DIGITS}
    spaced = "".join(kinds[c][rng.integers(len(kinds[c]))] if c in kinds else c for c in pattern)
    return Plate(layout, spaced)


def plate_image(plate: Plate) -> NDArray[np.uint8]:
    """The plate seen straight on, (H, W, 3) blue-green-red, 520 pixels a metre."""
    layout = plate.layout
    width, height = round(layout.width * _PIXELS_PER_METRE), round(layout.height * _PIXELS_PER_METRE)
    image = np.full((height, width, 3), layout.ground, np.uint8)
    left, top, right, bottom = 0.035 * width, 0.15 * height, 0.965 * width, 0.85 * height
    if layout.band == "left":
        cv2.rectangle(image, (0, 0), (round(0.085 * width), height), layout.band_colour, -1)
        cv2.circle(image, (round(0.043 * width), round(0.3 * height)), round(0.1 * height), (40, 210, 240), 2)
        left = 0.11 * width
    elif layout.band == "top":
        cv2.rectangle(image, (0, 0), (width, round(0.24 * height)), layout.band_colour, -1)
        top = 0.31 * height
        bottom = 0.92 * height
    elif layout.band == "bottom":
        cv2.rectangle(image, (0, round(0.84 * height)), (width, height), layout.band_colour, -1)
        top, bottom = 0.14 * height, 0.76 * height
    draw_text(
        image,
        plate.spaced,
        left=left,
        top=top,
        width=right - left,
        height=bottom - top,
        colour=layout.ink,
        weight=0.14,
    )
    cv2.rectangle(image, (0, 0), (width - 1, height - 1), layout.ink, max(1, height // 32))
    return image


def infrared_plate_image(plate: Plate) -> NDArray[np.uint8]:
    """The plate under a near-infrared flash: the ground throws the light back, ink does not."""
    grey = cv2.cvtColor(plate_image(plate), cv2.COLOR_BGR2GRAY).astype(np.float32)
    dark_ground = sum(plate.layout.ground) < sum(plate.layout.ink)
    low, high = (0.35, 1.0) if dark_ground else (0.12, plate.layout.retro)
    stretched = (grey - grey.min()) / max(1.0, float(grey.max() - grey.min()))
    return cv2.cvtColor((255 * (low + (high - low) * stretched)).astype(np.uint8), cv2.COLOR_GRAY2BGR)
