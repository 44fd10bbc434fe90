"""Detectors of the project and torchvision's, ready for use."""

import numpy as np
import torch
from numpy.typing import NDArray

from app.core.sample import Box
from app.detection.found import Detection, one_for_each
from app.settings.detection import DetectorSettings
from models.detector import PLATE, Detector

_MOST_OVERLAP = 0.6  # torchvision's own, of boxes of one class


class OwnDetector:
    """A detector with its thresholds. Implements `ImageDetector`."""

    def __init__(self, detector: Detector, settings: DetectorSettings) -> None:
        self.detector, self.settings = detector, settings
        self.finds_plates = PLATE in detector.classes.values()
        self.finds_vehicles = settings.vehicle_threshold < 1

    def find(self, image: NDArray[np.uint8]) -> list[Detection]:
        """Detections in an image (H, W, 3), R, G, B, best first."""
        values = torch.from_numpy(image.transpose(2, 0, 1).copy()).float() / 255
        with torch.no_grad():
            found = self.detector.find([values])[0]
        kinds, labels = self.detector.kinds, found["labels"].tolist()
        given = found["given"].tolist() if kinds else labels
        rows = zip(found["boxes"].tolist(), labels, found["scores"], given, strict=True)
        detections = [
            Detection(Box(left, top, right - left, bottom - top), float(score), label == PLATE, kinds.get(number))
            for (left, top, right, bottom), label, score, number in rows
            if score >= self.settings.thresholds[label]
        ]
        # A detector that tells kinds apart may find one vehicle as two.
        return one_for_each(detections, _MOST_OVERLAP) if kinds else detections
