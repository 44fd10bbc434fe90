"""Plate detector that comes with the package: a small file, mostly of 8-bit values.

`scripts.bench.package_detector` makes the file, docs/plate-detector-card.md tells data, licence and figures.
"""

from pathlib import Path

from app.core.packaged_file import FileMark, checked_content
from app.detection.detector_file import read_detector
from app.settings.detection import DetectorSettings
from models.detector import Detector

FILE = Path(__file__).parent / "packaged" / "plate_detector.safetensors"
MARK = FileMark(1276492, "305f717714e580c3d3026decedb144e52328a23b5014f4467ef2398cb4cded5e")
"""Of `FILE`: another file, or a damaged one, finds no plates."""


def packaged_detector(file: Path = FILE, mark: FileMark = MARK) -> tuple[Detector, DetectorSettings]:
    """The detector in float32, in evaluation mode. Raises MissingFileError, and StoredFileError for a file with another
    mark."""
    checked_content(file, mark, "plate detector")
    return read_detector(file)
