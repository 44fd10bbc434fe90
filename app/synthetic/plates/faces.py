"""Typefaces of plates as masks of single characters, from font files of packages and from strokes."""

import importlib.util
from functools import lru_cache
from pathlib import Path

import cv2
import matplotlib
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from app.core.errors import MissingPackageError
from app.synthetic.plates.glyphs import draw_text

FACES = {  # face: package, file, weight of a variable font
    "din": ("fontpkg_barlow_semi_condensed", "files/BarlowSemiCondensed-Medium.ttf", None),
    "din_bold": ("fontpkg_barlow_semi_condensed", "files/BarlowSemiCondensed-Bold.ttf", None),
    "square": ("fontpkg_saira_condensed", "files/SairaCondensed-SemiBold.ttf", None),
    "highway": ("fontpkg_overpass", "files/Overpass[wght].ttf", 600),
    "grotesque": ("fontpkg_archivo_narrow", "files/ArchivoNarrow[wght].ttf", 700),
    "roboto": ("fontpkg_roboto_condensed", "files/RobotoCondensed[wght].ttf", 600),
    "thin": ("fontpkg_share_tech", "files/ShareTech-Regular.ttf", None),
    "tall": ("fontpkg_bebas_neue", "files/BebasNeue-Regular.ttf", None),
    "angular": ("fontpkg_rajdhani", "files/Rajdhani-Bold.ttf", None),
}
CHINESE = "chinese"
DEJAVU = "dejavu"
_OF_MATPLOTLIB = {
    DEJAVU: "DejaVuSans-Bold.ttf",
    "serif": "DejaVuSerif-Bold.ttf",
    "italic": "DejaVuSerif-BoldItalic.ttf",
}
STROKES = "strokes"
_CHINESE_FILE = ("cvttf_NotoSansCJK_Bold", "NotoSansCJKtc-Bold.otf")

GLYPH_HEIGHT = 72  # pixels of a mask
_POINTS = 112


@lru_cache
def usable(face: str) -> str:
    """`face`, or the bold one of the plotting library where its package is not installed.

    Raises KeyError for an unknown face, RuntimeError naming the extra if Chinese characters lack their font."""
    if face == STROKES or face in _OF_MATPLOTLIB:
        return face
    if face == CHINESE:
        if package_file(*_CHINESE_FILE) is None:
            raise MissingPackageError(
                "the font with Chinese characters is not installed: pip install 'fed-vehicle-reid[plates]'"
            )
        return face
    package, name, _ = FACES[face]
    return face if package_file(package, name) is not None else DEJAVU


def package_file(package: str, name: str) -> Path | None:
    """A file of an installed package, without importing it; None if either is missing."""
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        return None
    path = Path(spec.origin).parent / name
    return path if path.is_file() else None


@lru_cache(maxsize=8192)
def glyph(face: str, character: str, weight: int = 0, footed: bool = False) -> NDArray[np.uint8]:
    """Mask (GLYPH_HEIGHT, W) of a character, 255 where there is ink, cropped to it; not to be written to.

    `weight` is the growth of its strokes in pixels of the mask, below 0 they shrink. `footed` gives 1 and I a foot, as
    stamped plates of America have. Raises as `usable` does, KeyError for a character that strokes do not have."""
    face = usable(face)
    mask = _cropped(_stroked(character) if face == STROKES else _rendered(_font(face), character))
    mask = _scaled(mask, round(mask.shape[1] * GLYPH_HEIGHT / mask.shape[0]))
    if footed and character in "1I":
        mask = _with_foot(mask, both=character == "I")
    if weight:
        mask = _weighted(mask, weight)
    mask.setflags(write=False)
    return mask


@lru_cache(maxsize=4096)
def words(face: str, text: str) -> NDArray[np.uint8]:
    """Mask (H, W) of a line of small print, cropped to its ink. Raises as `usable` does."""
    mask = _cropped(_rendered(_font(usable(face), 28), text))
    mask.setflags(write=False)
    return mask


@lru_cache
def _font(face: str, points: int = _POINTS) -> ImageFont.FreeTypeFont:
    if face in _OF_MATPLOTLIB:
        folder = Path(matplotlib.get_data_path()) / "fonts" / "ttf"
        return ImageFont.truetype(str(folder / _OF_MATPLOTLIB[face]), points, layout_engine=ImageFont.Layout.BASIC)
    package, name, weight = (*_CHINESE_FILE, None) if face == CHINESE else FACES[face]
    font = ImageFont.truetype(str(package_file(package, name)), points, layout_engine=ImageFont.Layout.BASIC)
    if weight is not None:
        font.set_variation_by_axes([weight])
    return font


def _stroked(character: str) -> NDArray[np.uint8]:
    image = np.zeros((GLYPH_HEIGHT, 52, 3), np.uint8)
    draw_text(image, character, left=0, top=0, width=52, height=GLYPH_HEIGHT, colour=(255, 255, 255), weight=0.14)
    return image[:, :, 0]


def _rendered(font: ImageFont.FreeTypeFont, text: str) -> NDArray[np.uint8]:
    image = Image.new("L", (int(font.getlength(text)) + 24, int(1.5 * font.size)))
    ImageDraw.Draw(image).text((12, 4), text, font=font, fill=255)
    return np.asarray(image)


def _cropped(mask: NDArray[np.uint8]) -> NDArray[np.uint8]:
    rows, columns = np.flatnonzero((mask > 96).any(axis=1)), np.flatnonzero((mask > 96).any(axis=0))
    if not len(rows):
        return np.zeros((4, 4), np.uint8)
    return np.ascontiguousarray(mask[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1])


def _scaled(mask: NDArray[np.uint8], width: int) -> NDArray[np.uint8]:
    return np.asarray(cv2.resize(mask, (max(4, width), GLYPH_HEIGHT), interpolation=cv2.INTER_AREA), np.uint8)


def _weighted(mask: NDArray[np.uint8], weight: int) -> NDArray[np.uint8]:
    """Strokes thicker, and the character wider, or thinner; its height stays."""
    size = abs(weight) + 1
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (size, size))
    if weight > 0:
        wider = cv2.copyMakeBorder(mask, 0, 0, weight, weight, cv2.BORDER_CONSTANT)
        grown = _cropped(np.asarray(cv2.dilate(wider, kernel), np.uint8))
    else:
        grown = _cropped(np.asarray(cv2.erode(mask, kernel), np.uint8))
    return _scaled(grown, grown.shape[1])


def _with_foot(mask: NDArray[np.uint8], *, both: bool) -> NDArray[np.uint8]:
    height, width = mask.shape
    wide = max(width, round(0.42 * height))
    thick = round(0.13 * height)
    footed = np.zeros((height, wide), np.uint8)
    left = (wide - width) // 2
    footed[:, left : left + width] = mask
    footed[-thick:] = 255
    if both:
        footed[:thick] = 255
    return footed
