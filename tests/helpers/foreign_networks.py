"""Networks of other programs, small enough to know what they give."""

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
