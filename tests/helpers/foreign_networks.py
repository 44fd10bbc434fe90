"""Networks of other programs, small enough to know what they give."""

import json

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

SIDE = 64


def constant_network(path, output, *, wanted=(1, 3, SIDE, SIDE), names=("output",), dtype=TensorProto.FLOAT):
    """A network that gives `output`, whatever it is shown: the sum of the image, times zero, is added."""
    output = np.asarray(output, np.float32)
    nodes = [
        helper.make_node("Cast", ["images"], ["floats"], to=TensorProto.FLOAT),
        helper.make_node("ReduceSum", ["floats"], ["sum"], keepdims=0),
        helper.make_node("Mul", ["sum", "zero"], ["nothing"]),
        *(helper.make_node("Add", ["constant", "nothing"], [name]) for name in names),
    ]
    given = [numpy_helper.from_array(output, "constant"), numpy_helper.from_array(np.float32(0), "zero")]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("images", dtype, wanted)],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, output.shape) for name in names],
        given,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    onnx.save(model, str(path))
    return path


def rows_of(layout, seed=0, number=80):
    """Random boxes about three places, with scores of six classes: an output, and boxes and scores as torchvision has
    them."""
    rng = np.random.default_rng(seed)
    centres = rng.choice([[16.0, 20.0], [40.0, 40.0], [50.0, 14.0]], number) + rng.normal(0, 2, (number, 2))
    boxes = np.hstack([centres, rng.uniform(10, 20, (number, 2))]).astype(np.float32)
    scores = rng.uniform(0, 1, (number, 6)).astype(np.float32)
    objectness = rng.uniform(0, 1, (number, 1)).astype(np.float32)
    if layout == "yolov5":
        return np.hstack([boxes, objectness, scores])[None], boxes, scores * objectness
    return np.hstack([boxes, scores]).T[None], boxes, scores


def description(**changed):
    values = {"layout": "yolov8", "num_classes": 6, "width": SIDE, "height": SIDE, "classes": {2: "car"}} | changed
    return json.dumps({key: value for key, value in values.items() if value is not None})
