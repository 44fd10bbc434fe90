"""Plates in whole photographs, whether or not they belong to a vehicle."""

from pathlib import Path

import numpy as np
import torch
from PIL import Image

from app.core.errors import StoredFileError
from app.core.sample import Box
from app.detection.detector_file import read_detector
from models.detector import PLATE

DETECTOR = "detector.safetensors"
_LONGEST = 1600  # pixels that the detector is shown; its network looks at far fewer
_LEAST = 4.0  # pixels of the shorter side: what is smaller cannot be read


class PlateFinder:
    """A detector of plates.

    Args:
        path: its file, or a folder that holds `DETECTOR`, such as one that `scripts.train_detector` wrote.

    Raises FileNotFoundError without a detector there, ValueError for a file of another kind or a detector that knows
    no plates."""

    def __init__(self, path: Path) -> None:
        path = path / DETECTOR if path.is_dir() else path
        self._detector, settings = read_detector(path)
        if PLATE not in self._detector.classes.values():
            raise StoredFileError(f"{path} finds vehicles and no plates")
        self._threshold = settings.thresholds[PLATE]

    def find(self, photograph: Image.Image) -> list[Box]:
        """Plates in an upright image in mode "RGB", best first."""
        scale = min(1.0, _LONGEST / max(photograph.size))
        shown = photograph
        if scale < 1:
            width, height = (max(1, round(scale * side)) for side in photograph.size)
            shown = photograph.resize((width, height), Image.Resampling.LANCZOS)
        image = torch.from_numpy(np.asarray(shown).transpose(2, 0, 1).copy()).float() / 255
        with torch.no_grad():
            found = self._detector.find([image])[0]
        plates = []
        for corners, label, score in zip(found["boxes"].tolist(), found["labels"], found["scores"], strict=True):
            left, top, right, bottom = (value / scale for value in corners)
            if label == PLATE and score >= self._threshold and min(right - left, bottom - top) >= _LEAST:
                plates.append(Box(left, top, right - left, bottom - top))
        return plates
