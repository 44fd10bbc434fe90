"""Published text reader for comparison: RapidOCR with the PP-OCR networks of its package."""

from collections.abc import Sequence
from importlib.metadata import version
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from app.core.errors import MissingPackageError
from app.evaluation.plate_texts import PlateReading
from models.alphabet import plain

_TALL = 0.5  # of the tallest line: lower ones on a plate are slogans, states and dealers


class Line(NamedTuple):
    """A line of text that was found in an image; left, top, right and bottom in pixels."""

    text: str
    score: float  # in [0, 1]
    left: float
    top: float
    right: float
    bottom: float

    @property
    def height(self) -> float:
        return self.bottom - self.top


class PublishedReader:
    """RapidOCR with its defaults and without downloads.

    Args:
        threads: of the processor.

    Raises ValueError without the extra `compare`."""

    def __init__(self, threads: int = 1) -> None:
        try:
            from rapidocr import RapidOCR
        except ImportError as error:
            raise MissingPackageError("the package rapidocr is missing: pip install -e '.[compare]'") from error
        prefix = "EngineConfig.onnxruntime"
        settings = {f"{prefix}.intra_op_num_threads": threads, f"{prefix}.inter_op_num_threads": 1}
        self._engine: Any = RapidOCR(params={**settings, "Global.log_level": "critical"})
        self.version = f"rapidocr {version('rapidocr')}"

    def recognise(self, plate: Image.Image) -> PlateReading:
        """Text of a whole image in mode "RGB" by its recogniser, which reads one line."""
        found = self._engine(_blue_first(plate), use_det=False, use_cls=False, use_rec=True)
        width, height = plate.size
        return one_text([Line(t, float(s), 0, 0, width, height) for t, s in zip(found.txts, found.scores, strict=True)])

    def lines(self, plate: Image.Image) -> list[Line]:
        """Lines of text in an image by its full pipeline, in reading order."""
        found = self._engine(_blue_first(plate), use_det=True, use_cls=True, use_rec=True)
        if found.txts is None:
            return []
        corners = np.asarray(found.boxes, float)  # (L, 4, 2), x and y
        edges = np.concatenate([corners.min(axis=1), corners.max(axis=1)], axis=1).tolist()
        return in_reading_order(
            [Line(text, float(score), *box) for text, score, box in zip(found.txts, found.scores, edges, strict=True)]
        )


def one_text(lines: Sequence[Line]) -> PlateReading:
    """Lines as one plate; each character has the confidence of its line."""
    written = [(plain(line.text), line.score) for line in lines]
    return PlateReading("".join(text for text, _ in written), tuple(score for text, score in written for _ in text))


def in_reading_order(lines: Sequence[Line]) -> list[Line]:
    """Lines from top to bottom, and in a row from left to right: a line is in another's row if its middle lies within
    the other's height."""
    rows: list[list[Line]] = []
    for line in sorted(lines, key=lambda line: line.top + line.bottom):
        middle = (line.top + line.bottom) / 2
        if rows and any(other.top < middle < other.bottom for other in rows[-1]):
            rows[-1].append(line)
        else:
            rows.append([line])
    return [line for row in rows for line in sorted(row, key=lambda line: line.left)]


def tall_lines(lines: Sequence[Line]) -> list[Line]:
    """The lines at least half as high as the tallest, in order: a plate's number is its largest text."""
    tallest = max((line.height for line in lines), default=0.0)
    return [line for line in lines if line.height >= _TALL * tallest]


def _blue_first(plate: Image.Image) -> NDArray[np.uint8]:
    return np.ascontiguousarray(np.asarray(plate)[:, :, ::-1])
