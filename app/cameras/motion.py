"""Motion in the frames of a camera that stands still."""

import cv2
import numpy as np
from numpy.typing import NDArray

from app.core.sample import Box

Frame = NDArray[np.uint8]
"""(H, W, 3), blue-green-red."""
_WIDTH = 320  # pixels at which motion is looked for
_HISTORY, _VARIANCE = 300, 25.0  # frames of the background; squared distance from which a pixel moves
_LEAST = 0.002  # share of the image that moves together
_ALL = 0.6  # share from which a light went on, or the camera was turned


class Motion:
    """Background of one camera, learnt from its frames."""

    def __init__(self) -> None:
        self._background = cv2.createBackgroundSubtractorMOG2(_HISTORY, _VARIANCE, detectShadows=False)
        self._is_new = True
        self._mask: Frame = np.zeros((1, 1), np.uint8)
        self._scale = 1.0

    def look(self, frame: Frame) -> list[Box]:
        """Regions of a frame that move; none for the first frame, and where nearly all of it changed."""
        self._scale = min(1.0, _WIDTH / frame.shape[1])
        size = max(1, round(frame.shape[1] * self._scale)), max(1, round(frame.shape[0] * self._scale))
        small = cv2.cvtColor(cv2.resize(frame, size, interpolation=cv2.INTER_AREA), cv2.COLOR_BGR2GRAY)
        if small.shape != self._mask.shape:  # the camera's resolution was changed
            self._is_new = True
        mask = self._background.apply(cv2.GaussianBlur(small, (5, 5), 0), learningRate=1.0 if self._is_new else -1)
        mask = cv2.morphologyEx(mask, cv2.MORPH_OPEN, np.ones((3, 3), np.uint8))
        moved = cv2.countNonZero(mask) / mask.size
        if self._is_new or moved > _ALL:
            self._is_new = not self._is_new and moved > _ALL
            self._mask = np.zeros_like(mask)
            return []
        self._mask = np.asarray(cv2.dilate(mask, np.ones((7, 7), np.uint8)), np.uint8)
        outlines, _ = cv2.findContours(self._mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
        boxes = [cv2.boundingRect(each) for each in outlines if cv2.contourArea(each) >= _LEAST * mask.size]
        return [Box(*(value / self._scale for value in box)) for box in boxes]

    def share(self, box: Box) -> float:
        """Share of a box that moved in the last frame."""
        left, top = (max(0, int(value * self._scale)) for value in (box.left, box.top))
        right, bottom = ((box.left + box.width) * self._scale, (box.top + box.height) * self._scale)
        part = self._mask[top : max(top + 1, round(bottom)), left : max(left + 1, round(right))]
        return float(np.count_nonzero(part)) / part.size if part.size else 0.0
