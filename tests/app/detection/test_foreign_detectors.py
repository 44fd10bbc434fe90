"""Networks of other programs: decoding against torchvision, and files that are refused."""

import os
import sys

import cv2
import numpy as np
import onnx
import pytest
import torch
from foreign_networks import SIDE, constant_network, description, rows_of
from onnx import TensorProto, helper, numpy_helper
from torchvision.ops import box_convert, box_iou, nms

from app.core.errors import StoredFileError
from app.core.sample import Box
from app.detection import described, trial
from app.detection.described import DESCRIPTIONS, DescribedDetector, read_foreign
from app.detection.detector_file import open_detector, write_foreign
from app.detection.layouts import without_overlaps
from app.settings.checks import SettingsError
from models.errors import MissingFileError

YOLO = f"num_classes: 6\nwidth: {SIDE}\nheight: {SIDE}\nmin_score: 0.25\nmax_overlap: 0.5\nscale: 0.00392156862745098\n"
CLASSES = "classes:\n  2: car\n  3: motorcycle\n  5: truck\n  1: plate\n"
NAMES = {2: "car", 3: "motorcycle", 5: "truck", 1: "plate"}
BACK = {"yolov5": (0, 2, 1), "yolov8": (0, 1, 2)}


def mean_network(path):
    """Gives one SSD row whose score is the mean of the red channel of its input: what a network really sees."""
    row = np.array([[[[0, 3, 0, 0.1, 0.2, 0.5, 0.6]]]], np.float32)
    mask = np.array([[[[0, 0, 1, 0, 0, 0, 0]]]], np.float32)
    nodes = [
        helper.make_node("Slice", ["images", "zero", "one", "axis"], ["red"]),
        helper.make_node("ReduceMean", ["red"], ["mean"], keepdims=1),
        helper.make_node("Mul", ["mean", "mask"], ["score"]),
        helper.make_node("Add", ["row", "score"], ["output"]),
    ]
    given = [numpy_helper.from_array(row, "row"), numpy_helper.from_array(mask, "mask")]
    given += [
        numpy_helper.from_array(np.array([n], np.int64), name) for name, n in (("zero", 0), ("one", 1), ("axis", 1))
    ]
    shape = [1, 3, SIDE, SIDE]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("output", TensorProto.FLOAT, (1, 1, 1, 7))],
        given,
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), str(path))
    return path


def by_torchvision(boxes, scores, to_image):
    """Detections by definition: the best class of each box, no worse box of a vehicle (or plate) above an overlap."""
    corners = box_convert(torch.from_numpy(boxes), "cxcywh", "xyxy")
    best, classes = torch.from_numpy(scores).max(dim=1)
    found = []
    for group in ((2, 3, 5), (1,)):
        rows = [i for i in range(len(best)) if int(classes[i]) in group and best[i] >= 0.25]
        kept = nms(corners[rows], best[rows], 0.5) if rows else []
        found += [(float(best[rows[k]]), NAMES[int(classes[rows[k]])], to_image(corners[rows[k]])) for k in kept]
    return sorted(found, key=lambda each: -each[0])


@pytest.mark.parametrize("layout", ["yolov5", "yolov8"])
@pytest.mark.parametrize("resize", ["stretch", "letterbox"])
@pytest.mark.parametrize("engine", ["onnxruntime", "opencv"])
def test_yolo_is_decoded_as_torchvision_does(tmp_path, layout, resize, engine):
    """In an image of 128 x 96 pixels: stretched by 1/2 and 2/3, or by 1/2 with 8 rows above."""
    output, boxes, scores = rows_of(layout)
    text = f"layout: {layout}\nresize: {resize}\nengine: {engine}\n{YOLO}{CLASSES}"
    (tmp_path / "d.yaml").write_text(text)
    path = constant_network(tmp_path / "n.onnx", output)
    detector = DescribedDetector(read_foreign(path, None, str(tmp_path / "d.yaml")))
    detector.try_once()
    assert (detector.finds_vehicles, detector.finds_plates) == (True, True)
    shift, factor = ((0, 8), (2, 2)) if resize == "letterbox" else ((0, 0), (2, 1.5))

    def to_image(corners):
        moved = (corners.numpy().reshape(2, 2) - shift) * factor
        return moved.clip(0, [128, 96]).ravel().tolist()

    expected = by_torchvision(boxes, scores, to_image)
    found = detector.find(np.zeros((96, 128, 3), np.uint8))
    assert len(found) == len(expected) > 5
    for ours, (score, name, corners) in zip(found, expected, strict=True):
        assert ours.score == pytest.approx(score, abs=1e-6)
        assert (ours.kind, ours.plate) == ((None, True) if name == "plate" else (name, False))
        box = ours.box
        assert [box.left, box.top, box.left + box.width, box.top + box.height] == pytest.approx(corners, abs=1e-3)


@pytest.mark.parametrize("most", [0.0, 0.3, 0.7, 1.0])
def test_overlaps_are_those_of_torchvision(most):
    rng = np.random.default_rng(1)
    low = rng.uniform(0, 50, (200, 2))
    corners = np.hstack([low, low + rng.uniform(0, 30, (200, 2))])
    scores = rng.uniform(0, 1, 200)
    expected = nms(torch.from_numpy(corners), torch.from_numpy(scores), most)
    assert without_overlaps(corners, scores, most) == expected.tolist()
    kept = torch.from_numpy(corners[without_overlaps(corners, scores, most)])
    assert (box_iou(kept, kept).fill_diagonal_(0) <= most).all()


def test_the_input_is_that_of_opencv(tmp_path):
    """Order of channels, mean and scale, against `blobFromImage`, and as a network sees it."""
    path = mean_network(tmp_path / "n.onnx")
    about = f"layout: ssd\nwidth: {SIDE}\nheight: {SIDE}\nclasses: {{3: car}}\n"
    about += "mean: [10, 20, 30]\nscale: 0.005\nmin_score: 0\n"
    image = np.random.default_rng(0).integers(0, 256, (90, 150, 3), np.uint8)
    for channels, first in (("rgb", 0), ("bgr", 2)):
        (tmp_path / "d.yaml").write_text(f"{about}channels: {channels}\n")
        detector = DescribedDetector(read_foreign(path, None, str(tmp_path / "d.yaml")))
        mean = (10, 20, 30)
        blob = cv2.dnn.blobFromImage(image, 0.005, (SIDE, SIDE), mean, swapRB=channels == "bgr")
        assert detector._input(image)[0] == pytest.approx(blob, abs=1e-5)
        [found] = detector.find(image)
        red = cv2.resize(image, (SIDE, SIDE))[..., first].astype(float)
        assert found.score == pytest.approx(((red - 10) * 0.005).mean(), abs=1e-4)
        assert found.box == pytest.approx(Box(15, 18, 60, 36), abs=1e-3)


def test_one_vehicle_of_two_kinds_is_one_vehicle(tmp_path):
    rows = [[0, 3, 0.8, 0.1, 0.1, 0.6, 0.6], [0, 8, 0.5, 0.1, 0.1, 0.6, 0.62], [0, 8, 0.4, 0.7, 0.7, 0.9, 0.9]]
    rows += [[0, 1, 0.9, 0, 0, 1, 1], [0, 3, np.nan, 0, 0, 1, 1], [0, 3, 0.9, np.nan, 0, 1, 1]]  # a person; no numbers
    path = constant_network(tmp_path / "n.onnx", [[rows]])
    about = f"layout: ssd\nwidth: {SIDE}\nheight: {SIDE}\nclasses: {{3: car, 8: truck}}\n"
    (tmp_path / "d.yaml").write_text(about)
    foreign = read_foreign(path, None, str(tmp_path / "d.yaml"))
    found = DescribedDetector(foreign).find(np.zeros((100, 100, 3), np.uint8))
    assert [(each.kind, round(each.score, 3)) for each in found] == [("car", 0.8), ("truck", 0.4)]
    with pytest.raises(StoredFileError, match="values that are not finite"):
        DescribedDetector(foreign).try_once()


def test_a_foreign_detector_is_kept_in_one_file(tmp_path):
    output, *_ = rows_of("yolov8")
    (tmp_path / "d.yaml").write_text(f"layout: yolov8\n{YOLO}{CLASSES}")
    foreign = read_foreign(constant_network(tmp_path / "n.onnx", output), None, str(tmp_path / "d.yaml"))
    write_foreign(tmp_path / "kept.safetensors", foreign)
    image = np.zeros((96, 128, 3), np.uint8)
    again = open_detector(tmp_path / "kept.safetensors")
    assert again.description == foreign.description
    assert again.find(image) == DescribedDetector(foreign).find(image)


def test_a_network_that_ends_its_reader_is_refused(tmp_path, monkeypatch):
    """The child says what does not fit; one that is killed, says nothing, or goes on for ever, is a refusal, too."""
    path = constant_network(tmp_path / "n.onnx", rows_of("yolov8")[0])
    (tmp_path / "d.yaml").write_text(description())
    foreign = read_foreign(path, None, str(tmp_path / "d.yaml"))
    trial.try_apart(foreign)
    (tmp_path / "d.yaml").write_text(description(layout="ssd"))
    with pytest.raises(StoredFileError, match=r"n\.onnx does not fit its description: its output has the shape"):
        trial.try_apart(read_foreign(path, None, str(tmp_path / "d.yaml")))
    for code in ("import os; os.abort()", "print('no answer')", "import sys; sys.stdin.buffer.read(); print([1])"):
        monkeypatch.setattr(trial, "COMMAND", (sys.executable, "-c", code))
        with pytest.raises(StoredFileError, match=r"n\.onnx cannot be computed: the process that read it ended"):
            trial.try_apart(foreign)
    monkeypatch.setattr(trial, "SECONDS", 0.2)
    monkeypatch.setattr(trial, "COMMAND", (sys.executable, "-c", "import time; time.sleep(60)"))
    with pytest.raises(StoredFileError, match=r"takes more than 0.2 s for one image"):
        trial.try_apart(foreign)


def test_files_of_another_kind_are_refused_by_name(tmp_path, monkeypatch):
    good = DESCRIPTIONS / "yolov8_coco.yaml"
    for name, content in (("a.onnx", b"no network"), ("a.pb", b"no network"), ("e.onnx", b"")):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(StoredFileError, match=name) as caught:
            DescribedDetector(read_foreign(tmp_path / name, None, "ssd_mobilenet_v2_coco"))
        assert "\n" not in str(caught.value)
    with pytest.raises(StoredFileError, match=r"a\.pt is no network that can be read: its name ends in .onnx or .pb"):
        read_foreign(tmp_path / "a.pt", None, str(good))
    with pytest.raises(SettingsError, match=r"--graph is the .pbtxt of a frozen graph"):
        read_foreign(tmp_path / "a.onnx", tmp_path / "a.pb", str(good))
    with pytest.raises(MissingFileError, match="no such file"):
        read_foreign(tmp_path / "b.onnx", None, str(good))
    with pytest.raises(MissingFileError, match=r"no description nothing: give a YAML file, or one of ssd_mobilenet_v2"):
        read_foreign(tmp_path / "a.onnx", None, "nothing")
    os.mkfifo(tmp_path / "pipe.onnx")
    with pytest.raises(StoredFileError, match="no regular file"):
        read_foreign(tmp_path / "pipe.onnx", None, str(good))
    monkeypatch.setitem(described.MOST_BYTES, "network", 5)
    with pytest.raises(StoredFileError, match="which no network of a detector has"):
        read_foreign(tmp_path / "a.onnx", None, str(good))


def test_a_network_may_not_name_another_file(tmp_path):
    """Weights of an ONNX network may lie in a file that it names: any file that the program can read."""
    secret = tmp_path / "secret"
    secret.write_bytes(rows_of("yolov8")[0].tobytes())
    path = constant_network(tmp_path / "n.onnx", rows_of("yolov8")[0])
    model = onnx.load(str(path))
    [tensor] = [each for each in model.graph.initializer if each.name == "constant"]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="secret")
    path.write_bytes(model.SerializeToString())
    (tmp_path / "d.yaml").write_text(description())
    with pytest.raises(StoredFileError, match=r"n\.onnx"):
        DescribedDetector(read_foreign(path, None, str(tmp_path / "d.yaml"))).try_once()
