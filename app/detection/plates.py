"""Plates in whole photographs, whether or not they belong to a vehicle."""

from pathlib import Path

import numpy as np
from PIL import Image

from app.core.errors import StoredFileError
from app.core.sample import Box
from app.detection.detector_file import open_detector
from app.detection.found import ImageDetector
from app.detection.own import OwnDetector
from app.detection.packaged_detector import packaged_detector

DETECTOR = "detector.safetensors"
_LONGEST = 1600  # pixels that the detector is shown; its network looks at far fewer
_LEAST = 4.0  # pixels of the shorter side: what is smaller cannot be read


class PlateFinder:
    """A detector of plates.

    Args:
        path: its file (.safetensors, or .onnx of `scripts.export`), or a folder that holds `DETECTOR`, such as one
            that `scripts.train_detector` wrote; None for the detector that comes with the package.

    Raises FileNotFoundError without a detector there, ValueError for a file of another kind or a detector that knows
    no plates."""

    def __init__(self, path: Path | None = None) -> None:
        if path is None:
            self._detector: ImageDetector = OwnDetector(*packaged_detector())
            return
        path = path / DETECTOR if path.is_dir() else path
        self._detector = open_detector(path)
        if not self._detector.finds_plates:
            raise StoredFileError(f"{path} finds vehicles and no plates")

    def find(self, photograph: Image.Image) -> list[Box]:
        """Plates in an upright image in mode "RGB", best first."""
        scale = min(1.0, _LONGEST / max(photograph.size))
        shown = photograph
        if scale < 1:
            width, height = (max(1, round(scale * side)) for side in photograph.size)
            shown = photograph.resize((width, height), Image.Resampling.LANCZOS)
        plates = []
        for found in self._detector.find(np.asarray(shown)):
            box = Box(*(value / scale for value in found.box))
            if found.plate and min(box.width, box.height) >= _LEAST:
                plates.append(box)
        return plates
