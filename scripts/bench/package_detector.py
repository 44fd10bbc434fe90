"""File of the plate detector that comes with the package, from a folder of `scripts.train_detector --plates-alone`.

Run: python -m scripts.bench.package_detector detector=outputs/plates out=app/detection/packaged threshold=0.4 \\
         plates_easypr=../shared/data/plates-easypr-cn plates_openalpr=../shared/data/plates-openalpr

Large matrices are stored in 8 bits. `threshold=` (by default the folder's own) is the lowest score of a plate. Both the
detector of float32 and that of 8 bits search the test photographs of the sets: if VOC's average precision falls by more
than half a point, or the file is larger than 1.5 MB, nothing is written. The last line is one JSON object with the mark
that `app.detection.packaged_detector.MARK` must hold, both precisions, the share of photographs with boxes that differ
by number or by more than a tenth (intersection over union below 0.9), and the largest difference of a score.
"""

import json
import shutil
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from app.core.files import replacing
from app.core.packaged_file import mark_of
from app.detection.average_precision import iou_matrix, voc_average_precision
from app.detection.detector_file import read_detector, write_detector
from app.detection.packaged_detector import FILE
from app.detection.plates import DETECTOR
from app.settings.checks import SettingsError
from app.settings.load import absolute
from models.detector import PLATE, Detector
from scripts.bench.errors import BenchError
from scripts.bench.packaged_detector import SETS, Photograph, photographs_of
from scripts.command import command, decimal_number, split_words

MOST_BYTES, MOST_LOST = 1_500_000, 0.005
_OWN = {"detector": "", "out": "", "threshold": "", "split": "test", **dict.fromkeys(SETS, "")}
_SAME = 0.9
Found = tuple[NDArray[np.float64], NDArray[np.float64]]


def main(argv: Sequence[str]) -> None:
    """Write the file and print its mark and figures. Raises BenchError, without a file, if 8 bits find less or the file
    is too large."""
    own, words = split_words(argv, _OWN)
    if words:
        raise SettingsError(f"{words[0]}: not a word of this bench")
    for key in ("detector", "out"):
        if not own[key]:
            raise SettingsError(f"{key}=... is missing")
    place = absolute(own["detector"])
    detector, settings = read_detector(place / DETECTOR if place.is_dir() else place)
    settings = replace(settings, vehicle_threshold=1.0)
    if own["threshold"]:
        settings = replace(settings, plate_threshold=decimal_number("threshold", own["threshold"], 0, 1))
    photographs = [each for group in photographs_of(own).values() for each in group]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / FILE.name
        write_detector(path, detector, settings, eight_bits=True)
        if (size := mark_of(path).size) > MOST_BYTES:
            raise BenchError(f"the detector takes {size} bytes, more than {MOST_BYTES}")
        whole, rounded = (_found(each, photographs) for each in (detector, read_detector(path)[0]))
        truth = [each.corners for each in photographs]
        before, after = (voc_average_precision(each, truth)[0] for each in (whole, rounded))
        if before - after > MOST_LOST:
            raise BenchError(f"8 bits find less: AP50 {100 * after:.2f} %, not {100 * before:.2f} %")
        out = absolute(own["out"])
        out.mkdir(parents=True, exist_ok=True)
        with replacing(out / FILE.name) as temporary:
            shutil.copyfile(path, temporary)
    pairs = [_compared(*pair, settings.plate_threshold) for pair in zip(whole, rounded, strict=True)]
    figures = {"AP50_float32": before, "AP50_8_bits": after, "photographs": len(photographs)}
    figures |= {"different": float(np.mean([d for d, _ in pairs])), "largest_difference": max(s for _, s in pairs)}
    print(json.dumps({"mark": mark_of(out / FILE.name)._asdict(), "threshold": settings.plate_threshold, **figures}))


def _found(detector: Detector, photographs: Sequence[Photograph]) -> list[Found]:
    """Boxes (N, 4) and scores (N,) of plates in each photograph, best first."""
    answer = []
    for photograph in photographs:
        values = torch.from_numpy(np.asarray(photograph.image()).transpose(2, 0, 1).copy()).float() / 255
        found = detector.find([values])[0]
        plates = found["labels"] == PLATE
        answer.append((found["boxes"][plates].double().numpy(), found["scores"][plates].double().numpy()))
    return answer


def _compared(first: Found, second: Found, threshold: float) -> tuple[bool, float]:
    """Whether boxes from the threshold on differ, and the largest difference of the scores of those that do not."""
    (a, scores_a), (b, scores_b) = ((boxes[s >= threshold], s[s >= threshold]) for boxes, s in (first, second))
    if len(a) != len(b):
        return True, 0.0
    if not len(a):
        return False, 0.0
    overlaps = iou_matrix(a, b)
    nearest = overlaps.argmax(axis=1)
    return bool(overlaps.max(axis=1).min() < _SAME), float(np.abs(scores_a - scores_b[nearest]).max())


if __name__ == "__main__":
    command(main, sys.argv[1:])
