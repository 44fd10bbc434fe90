"""TensorFlow's SSD-MobileNetV2, where its files are beside the repository, on photographs of vehicles with plates."""

from pathlib import Path

import numpy as np
import pytest

from app.detection.described import DescribedDetector, read_foreign
from app.images.decode import open_image, upright_rgb

DATA = Path(__file__).parents[4] / "shared" / "data"
FOLDER, PHOTOGRAPHS = DATA / "weights" / "ssd_mobilenet_v2_coco", DATA / "plates-openalpr" / "endtoend"


@pytest.mark.skipif(not (FOLDER.is_dir() and PHOTOGRAPHS.is_dir()), reason="no SSD or no photographs on this machine")
def test_a_vehicle_holds_the_plate():
    graph = FOLDER / "ssd_mobilenet_v2_coco_2018_03_29.pbtxt"
    foreign = read_foreign(FOLDER / "frozen_inference_graph.pb", graph, "ssd_mobilenet_v2_coco")
    detector = DescribedDetector(foreign)
    detector.try_once()
    holding, kinds = 0, set()
    for path in sorted(PHOTOGRAPHS.glob("us/*.jpg"))[:6]:
        left, top, width, height = map(float, path.with_suffix(".txt").read_text().split("\t")[1:5])
        x, y = left + width / 2, top + height / 2
        with open_image(path) as file:
            found = detector.find(np.asarray(upright_rgb(file)))
        inside = [b for b, *_ in found if b.left <= x <= b.left + b.width and b.top <= y <= b.top + b.height]
        holding += bool(inside)
        kinds |= {each.kind for each in found}
    assert holding >= 5
    assert kinds <= {"car", "motorcycle", "bus", "truck"}
    assert "car" in kinds
