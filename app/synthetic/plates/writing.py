"""Lines of characters on a plate: place, width and separators."""

import cv2
import numpy as np
from cv2.typing import MatLike
from numpy.typing import NDArray

from app.synthetic.plates.design import SEAL, Colour, Design, Line, Place
from app.synthetic.plates.faces import CHINESE, GLYPH_HEIGHT, glyph
from models.alphabet import PROVINCES, SPECIAL, plain

_SPACES = {" ": 0.32, "-": 0.3, "·": 0.3, ".": 0.14, SEAL: 0.62}  # widths, shares of the height
_CELLS = {" ": 0.45, "-": 0.55, "·": 0.45, ".": 0.3, SEAL: 0.8}  # shares of a cell
_CARONS, _DOTS = {"Š": "S", "Č": "C", "Ž": "Z"}, {"Ä": "A", "Ö": "O", "Ü": "U"}


def blend(face: NDArray[np.uint8], mask: MatLike, ink: Colour) -> None:
    """Apply ink at the mask to a view of the plate."""
    mask = mask[: face.shape[0], : face.shape[1]]
    rest = cv2.bitwise_not(mask)
    under = cv2.multiply(face, cv2.merge([rest, rest, rest]), scale=1 / 255)
    cv2.add(under, cv2.merge([cv2.convertScaleAbs(mask, alpha=value / 255) for value in ink]), dst=under)
    face[:] = under


def write(face: NDArray[np.uint8], line: Line, design: Design) -> tuple[Place, list[tuple[float, float]]]:
    """Render a line's characters; returns the place of the line, and the centres of its text's characters, in
    pixels."""
    tall, wide = face.shape[:2]
    left, top, right, bottom = line.place[0] * wide, line.place[1] * tall, line.place[2] * wide, line.place[3] * tall
    height = max(4, round(bottom - top))
    spans = _even(line, left, right, height) if line.even else _beside(line, left, right, height)
    y = min(round(top), tall - height)
    plane, special = np.zeros((height, wide), np.uint8), np.zeros((height, wide), np.uint8)
    for character, (x, width) in zip(line.text, spans, strict=True):
        into = special if character in SPECIAL and line.special_ink is not None else plane
        if character == SEAL:
            _seal(face, design.seal, (x, y, x + width, y + height), design.seal_ink or line.ink)
        elif character != " ":
            mask = _mask(line, character, width, height)
            x = min(max(0, x), wide - mask.shape[1])
            region = into[:, x : x + mask.shape[1]]
            np.maximum(region, mask, out=region)
    strip = face[y : y + height]
    if design.embossed and height > 14:
        strip[1:] = cv2.addWeighted(strip[1:], 1, cv2.merge([plane[:-1]] * 3), -0.16, 0)
        strip[:-1] = cv2.addWeighted(strip[:-1], 1, cv2.merge([plane[1:]] * 3), 0.12, 0)
    blend(strip, plane, line.ink)
    if line.special_ink is not None:
        blend(strip, special, line.special_ink)
    read = [(x + width / 2, y + height / 2) for c, (x, width) in zip(line.text, spans, strict=True) if plain(c)]
    return (spans[0][0], y, spans[-1][0] + spans[-1][1], y + height), read


def _mask(line: Line, character: str, width: int, height: int) -> NDArray[np.uint8]:
    """The character, (height, width)."""
    mask = np.zeros((height, width), np.uint8)
    thick = max(1, round(0.12 * height))
    if character == "-":
        mask[round(0.46 * height) : round(0.46 * height) + thick] = 255
        return mask
    if character in "·.":
        centre = (width // 2, height // 2 if character == "·" else height - 1 - thick // 2)
        cv2.circle(mask, centre, max(1, round((0.08 if character == "·" else 0.065) * height)), (255,), -1, cv2.LINE_AA)
        return mask
    base = _CARONS.get(character, _DOTS.get(character, character))
    room = 0 if base == character else round(0.2 * height)
    shape = _glyph(line, base)
    mask[room:] = cv2.resize(shape, (width, height - room), interpolation=cv2.INTER_AREA)
    if character in _CARONS:
        points = np.array([(width // 4, 0), (width // 2, max(1, room - 2)), (width - width // 4, 0)])
        cv2.polylines(mask, [points], False, (255,), max(1, thick // 2), cv2.LINE_AA)
    elif character in _DOTS:
        for x in (width // 3, width - width // 3):
            cv2.circle(mask, (x, room // 2 - 1), max(1, thick // 2), (255,), -1, cv2.LINE_AA)
    return mask


def _face(line: Line, character: str) -> str:
    return CHINESE if character in PROVINCES or character in SPECIAL else line.face


def _glyph(line: Line, character: str) -> NDArray[np.uint8]:
    face = _face(line, character)
    if face == CHINESE:  # its strokes are thick, and stand close
        return glyph(face, character, -2 if line.weight <= 0 else 0)
    return glyph(face, character, line.weight, line.footed and character in "1I")


def _aspect(line: Line, character: str) -> float:
    """Width over height as the face has it."""
    base = _CARONS.get(character, _DOTS.get(character, character))
    return _glyph(line, base).shape[1] / GLYPH_HEIGHT


def _even(line: Line, left: float, right: float, height: int) -> list[tuple[int, int]]:
    """Left edge and width of each character, every one in a cell."""
    cells = [_CELLS.get(character, 1.0) for character in line.text]
    cell = (right - left) / sum(cells)
    usual = line.fill * cell
    stretch = usual / (_aspect(line, "0") * height)
    spans = []
    x = left
    for character, share in zip(line.text, cells, strict=True):
        if character in _CELLS:
            width = share * cell if character == SEAL else 0.7 * share * cell
        elif _face(line, character) == CHINESE:
            width = usual
        else:
            width = min(stretch * _aspect(line, character) * height, 1.12 * usual)
        spans.append((round(x + (share * cell - width) / 2), max(2, round(width))))
        x += share * cell
    return spans


def _beside(line: Line, left: float, right: float, height: int) -> list[tuple[int, int]]:
    """Left edge and width of each character, one after the other, stretched a little to fill the line."""
    gaps = line.gap * height * (len(line.text) - 1)
    spaces = sum(_SPACES.get(character, 0.0) for character in line.text) * height
    natural = sum(_aspect(line, character) for character in line.text if character not in _SPACES) * height
    stretch = min(1.25, max(0.4, (right - left - gaps - spaces) / natural))
    shrink = min(1.0, (right - left) / (gaps + spaces + stretch * natural))
    x = left + (right - left - shrink * (gaps + spaces + stretch * natural)) / 2
    spans = []
    for character in line.text:
        space = _SPACES.get(character)
        width = shrink * height * (stretch * _aspect(line, character) if space is None else space)
        spans.append((round(x), max(2, round(width))))
        x += width + shrink * line.gap * height
    return spans


def _seal(face: NDArray[np.uint8], kind: str, place: Place, ink: Colour) -> None:
    left, top, right, bottom = place
    middle, width, height = (left + right) / 2, right - left, bottom - top
    if kind == "discs":
        for share, colour in ((0.28, (175, 75, 60)), (0.72, (90, 140, 110))):
            centre = (round(middle), round(top + share * height))
            cv2.circle(face, centre, max(1, round(0.14 * height)), colour, -1, cv2.LINE_AA)
            cv2.circle(face, centre, max(1, round(0.07 * height)), (205, 200, 195), -1, cv2.LINE_AA)
    elif kind in ("shield", "crest"):
        x, y = middle - 0.36 * width, top + 0.24 * height
        wide, high = 0.72 * width, 0.5 * height
        shape = [(x, y), (x + wide, y), (x + wide, y + 0.6 * high), (middle, y + high), (x, y + 0.6 * high)]
        colour = (200, 45, 50) if kind == "shield" else (215, 110, 110)
        cv2.fillPoly(face, [np.round(np.array(shape)).astype(np.int32)], colour, cv2.LINE_AA)
        if kind == "shield":
            low = (round(middle), round(y + 0.78 * high))
            cv2.circle(face, low, max(1, round(0.2 * wide)), (40, 70, 160), -1, cv2.LINE_AA)
        else:
            cv2.rectangle(face, (round(x), round(y - 0.18 * high)), (round(x + wide), round(y)), (70, 110, 180), -1)
    elif kind == "disc":
        cv2.circle(face, (round(middle), round(top + 0.5 * height)), max(1, round(0.3 * width)), ink, 1, cv2.LINE_AA)
    elif kind in ("star", "blot"):
        large = 1 if kind == "star" else 1.7
        reach = np.where(np.arange(10) % 2 == 0, 0.36 * width, (0.17 if kind == "star" else 0.26) * width) * large
        turn = 2 * np.pi * np.arange(10) / 10
        points = np.stack([middle + reach * np.sin(turn), top + height / 2 - reach * np.cos(turn)], axis=1)
        cv2.fillPoly(face, [np.round(points).astype(np.int32)], ink, cv2.LINE_AA)
