"""Letters and digits as strokes, so that a plate looks the same under every version of the drawing library."""

import cv2
import numpy as np
from numpy.typing import NDArray

# One glyph: strokes separated by "|", each a run of points "xy" on a grid of 5 columns (0-4) by 7 rows (0-6).
_STROKES = {
    "A": "06 20 46|14 34",
    "B": "00 06 36 45 44 33 03|33 42 41 30 00",
    "C": "41 30 10 01 05 16 36 45",
    "D": "00 06 26 44 42 20 00",
    "E": "40 00 06 46|03 33",
    "F": "40 00 06|03 33",
    "G": "41 30 10 01 05 16 36 45 43 23",
    "H": "00 06|40 46|03 43",
    "I": "20 26|10 30|16 36",
    "J": "40 45 36 16 05",
    "K": "00 06|40 03 46",
    "L": "00 06 46",
    "M": "06 00 23 40 46",
    "N": "06 00 46 40",
    "O": "10 30 41 45 36 16 05 01 10",
    "P": "06 00 30 41 42 33 03",
    "Q": "10 30 41 45 36 16 05 01 10|34 46",
    "R": "06 00 30 41 42 33 03|23 46",
    "S": "41 30 10 01 02 13 33 44 45 36 16 05",
    "T": "00 40|20 26",
    "U": "00 05 16 36 45 40",
    "V": "00 26 40",
    "W": "00 16 22 36 40",
    "X": "00 46|40 06",
    "Y": "00 23 40|23 26",
    "Z": "00 40 06 46",
    "0": "10 30 41 45 36 16 05 01 10",
    "1": "11 20 26",
    "2": "01 10 30 41 42 06 46",
    "3": "01 10 30 41 42 33 44 45 36 16 05|33 13",
    "4": "36 30 04 44",
    "5": "40 00 03 33 44 45 36 16 05",
    "6": "41 30 10 01 05 16 36 45 44 33 03",
    "7": "00 40 16",
    "8": "10 30 41 42 33 13 02 01 10|13 04 05 16 36 45 44 33",
    "9": "05 16 36 45 41 30 10 01 02 13 43",
}
_SHIFT = 4  # sub-pixel bits of the drawing library's coordinates


def draw_text(
    image: NDArray[np.uint8],
    text: str,
    *,
    left: float,
    top: float,
    width: float,
    height: float,
    colour: tuple[int, int, int],
    weight: float = 0.15,
) -> None:
    """Draw `text` into a rectangle of `image` (pixels); a blank or a dot takes half a place.

    `weight` is the thickness of a stroke as a share of `height`. Raises KeyError for any other character."""
    places = [0.5 if char in " ." else 1.0 for char in text]
    pitch = width / sum(places)
    thickness = max(1, round(weight * height))
    glyph_width = pitch * 0.82 - thickness
    x = left
    for char, place in zip(text, places, strict=True):
        if char == ".":
            centre = (round((x + pitch * 0.2) * 16), round((top + height / 2) * 16))
            cv2.circle(image, centre, thickness * 10, colour, -1, cv2.LINE_AA, _SHIFT)
        elif char != " ":
            for stroke in _STROKES[char].split("|"):
                points = np.array([(int(p[0]) / 4, int(p[1]) / 6) for p in stroke.split()])
                scaled = points * (glyph_width, height - thickness) + (
                    x + pitch * 0.09 + thickness / 2,
                    top + thickness / 2,
                )
                fixed = np.round(scaled * (1 << _SHIFT)).astype(np.int32)
                cv2.polylines(image, [fixed], False, colour, thickness, cv2.LINE_AA, _SHIFT)
        x += pitch * place
