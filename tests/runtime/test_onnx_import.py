"""Import of single operators at several opsets, and of a trained network, against ONNX Runtime."""

from __future__ import annotations

import numpy as np
import onnxruntime
import pytest
from onnx import numpy_helper

from runtime.onnx_import import import_onnx
from tests.runtime.onnx_models import FLOAT, IMAGE, model, node, nsfw_path, save


def check(tmp_path, proto, seed=0):
    """Import the model and compare every output with ONNX Runtime's."""
    path = save(tmp_path, proto)
    graph = import_onnx(path)
    rng = np.random.default_rng(seed)
    feeds = {name: rng.normal(size=kind.shape).astype(np.float32) for name, kind in graph.inputs.items()}
    expected = onnxruntime.InferenceSession(path).run(None, feeds)
    assert list(graph.outputs) == [output.name for output in proto.graph.output]
    for got, wanted in zip(graph.evaluate(feeds).values(), expected, strict=True):
        assert got.shape == wanted.shape
        np.testing.assert_allclose(got, wanted, rtol=1e-5, atol=1e-6)
    return graph


W = np.random.default_rng(5).normal(size=(4, 4, 3, 2)).astype(np.float32)
B = np.arange(4, dtype=np.float32)
ONES = np.ones(4, np.float32)
NINE = np.arange(9, dtype=np.float32)


def ints(*values):
    return np.asarray(values, np.int64)


SINGLE = {
    # name: (operator, attributes, constant inputs after x, opset)
    "conv-same-upper": ("Conv", {"auto_pad": "SAME_UPPER", "strides": [2, 2]}, {"w": W, "b": B}, 17),
    "conv-same-lower": ("Conv", {"auto_pad": "SAME_LOWER", "strides": [2, 1]}, {"w": W}, 17),
    "conv-valid-dilated": ("Conv", {"auto_pad": "VALID", "dilations": [2, 3]}, {"w": W}, 11),
    "conv-grouped": ("Conv", {"group": 2, "pads": [1, 0, 2, 1]}, {"w": W[:, :2]}, 9),
    "max-pool-ceil": ("MaxPool", {"kernel_shape": [3, 2], "strides": [2, 2], "ceil_mode": 1}, {}, 12),
    "max-pool-ceil-dropped": ("MaxPool", {"kernel_shape": [1, 1], "strides": [4, 5], "ceil_mode": 1}, {}, 12),
    "max-pool-ceil-padded": (
        "MaxPool",
        {"kernel_shape": [3, 3], "strides": [3, 3], "pads": [1] * 4, "ceil_mode": 1},
        {},
        12,
    ),
    "avg-pool-ceil": ("AveragePool", {"kernel_shape": [2, 2], "strides": [2, 2], "ceil_mode": 1}, {}, 11),
    "avg-pool-padded": ("AveragePool", {"kernel_shape": [3, 3], "pads": [1, 2, 0, 1]}, {}, 9),
    "avg-pool-padding-counts": (
        "AveragePool",
        {"kernel_shape": [3, 3], "pads": [1] * 4, "count_include_pad": 1},
        {},
        9,
    ),
    "global-average-pool": ("GlobalAveragePool", {}, {}, 9),
    "global-max-pool": ("GlobalMaxPool", {}, {}, 9),
    "lrn": ("LRN", {"size": 3, "alpha": 0.5, "beta": 0.6, "bias": 2.0}, {}, 13),
    "batch-norm": ("BatchNormalization", {"epsilon": 0.1}, {"s": B, "b": ONES, "m": B, "v": ONES + B}, 9),
    "clip-attributes": ("Clip", {"min": -0.5, "max": 0.25}, {}, 6 + 1),
    "clip-inputs": ("Clip", {}, {"low": np.float32(-0.5), "high": np.float32(0.5)}, 13),
    "clip-open": ("Clip", {}, {"low": np.float32(-0.5)}, 13),
    "softmax-flattens": ("Softmax", {"axis": 2}, {}, 11),
    "softmax-default-old": ("Softmax", {}, {}, 11),
    "softmax-default-new": ("Softmax", {}, {}, 13),
    "softmax-axis-new": ("Softmax", {"axis": 1}, {}, 13),
    "reduce-sum-input": ("ReduceSum", {"keepdims": 0}, {"axes": ints(-1, 1)}, 13),
    "reduce-sum-attribute": ("ReduceSum", {"axes": [0, 2]}, {}, 11),
    "reduce-mean-all": ("ReduceMean", {"keepdims": 0}, {}, 13),
    "reduce-max-attribute": ("ReduceMax", {"axes": [-2]}, {}, 13),
    "reshape-zero-and-rest": ("Reshape", {}, {"shape": ints(0, -1, 3)}, 13),
    "flatten": ("Flatten", {"axis": 2}, {}, 13),
    "flatten-negative": ("Flatten", {"axis": -1}, {}, 13),
    "unsqueeze-attribute": ("Unsqueeze", {"axes": [0, 3]}, {}, 11),
    "unsqueeze-input": ("Unsqueeze", {}, {"axes": ints(0, -1)}, 13),
    "transpose-default": ("Transpose", {}, {}, 13),
    "pad-attribute": ("Pad", {"pads": [0, 1, 2, 0, 0, 0, 1, 3], "value": 0.5}, {}, 9),
    "pad-input": ("Pad", {}, {"pads": ints(0, 1, 2, 0, 0, 0, 1, 3), "value": np.float32(2)}, 13),
    "pad-axes": ("Pad", {}, {"pads": ints(1, 2, 3, 4), "value": np.float32(0), "axes": ints(3, 1)}, 18),
    "slice-attribute": ("Slice", {"starts": [1, -3], "ends": [3, 9000], "axes": [1, 3]}, {}, 9),
    "slice-steps": ("Slice", {}, {"s": ints(0, 1), "e": ints(-1, 8), "a": ints(2, -1), "t": ints(2, 3)}, 13),
    "cast-to-float": ("Cast", {"to": FLOAT}, {}, 13),
    "broadcast-add": ("Add", {}, {"b": B.reshape(4, 1, 1)}, 13),
    "matmul-batched": ("MatMul", {}, {"w": np.ones((4, 9, 5), np.float32)}, 13),
    "layer-norm": ("LayerNormalization", {"epsilon": 0.1}, {"s": NINE / 4, "b": NINE - 3}, 17),
    "layer-norm-two-axes": ("LayerNormalization", {"axis": 2}, {"s": np.ones((7, 9), np.float32)}, 17),
    "gelu": ("Gelu", {}, {}, 20),
    "gelu-tanh": ("Gelu", {"approximate": "tanh"}, {}, 20),
    "pow-square": ("Pow", {}, {"e": np.float32(2)}, 13),
    "pow-cube": ("Pow", {}, {"e": np.full(1, 3, np.float32)}, 13),
    **{name.lower(): (name, {}, {}, 13) for name in ("Relu", "Sigmoid", "Tanh", "Exp", "Erf", "Identity")},
}


@pytest.mark.parametrize("name", SINGLE)
def test_operator_agrees_with_onnx_runtime(name, tmp_path):
    operator, attributes, constants, opset = SINGLE[name]
    proto = model([node(operator, ["x", *constants], **attributes)], IMAGE, constants=constants, opset=opset)
    check(tmp_path, proto)


@pytest.mark.parametrize("attributes", [{}, {"transB": 1, "alpha": 0.5}, {"transA": 1, "beta": 2.0}, {"beta": 0.0}])
@pytest.mark.parametrize("constant", [True, False])
def test_gemm_folds_what_concerns_constants(attributes, constant, tmp_path):
    shapes = {"x": (3, 5) if attributes.get("transA") else (5, 3), "w": (4, 3) if attributes.get("transB") else (3, 4)}
    rng = np.random.default_rng(0)
    constants = {"c": rng.normal(size=4).astype(np.float32)}
    if constant:
        constants["w"] = rng.normal(size=shapes.pop("w")).astype(np.float32)
    graph = check(tmp_path, model([node("Gemm", ["x", "w", "c"], **attributes)], shapes, constants=constants))
    if constant and not attributes.get("transA"):
        assert [n.operator for n in graph.nodes] in (["matmul", "add"], ["matmul"])


def test_shape_arithmetic_is_folded(tmp_path):
    """The reshape that exporters write for x.view(x.shape[0], -1)."""
    nodes = [
        node("Shape", ["x"], ["shape"]),
        node("Gather", ["shape", "zero"], ["batch"]),
        node("Unsqueeze", ["batch", "zero1"], ["batch1"]),
        node("Constant", [], ["rest"], value_ints=[-1]),
        node("Concat", ["batch1", "rest"], ["wanted"], axis=0),
        node("Reshape", ["x", "wanted"]),
    ]
    graph = check(tmp_path, model(nodes, IMAGE, constants={"zero": np.int64(0), "zero1": ints(0)}))
    assert [n.operator for n in graph.nodes] == ["reshape"]


def test_several_outputs_and_equal_split(tmp_path):
    graph = check(tmp_path, model([node("Split", ["x"], ["a", "b"], axis=1)], IMAGE, outputs=("a", "b"), opset=13))
    assert graph.nodes[0].outputs == ("a", "b")


def test_given_split_sizes(tmp_path):
    nodes = [node("Split", ["x", "sizes"], ["a", "b"], axis=-1), node("Relu", ["b"])]
    check(tmp_path, model(nodes, IMAGE, outputs=("y", "a"), constants={"sizes": ints(2, 7)}, opset=13))


def test_sum_of_three_and_constants_of_shape(tmp_path):
    fill = numpy_helper.from_array(np.asarray([0.5], np.float32))
    nodes = [node("ConstantOfShape", ["shape"], ["c"], value=fill), node("Sum", ["x", "c", "x"])]
    graph = check(tmp_path, model(nodes, IMAGE, constants={"shape": ints(4, 1, 1)}))
    assert graph.weights["c"].shape == (4, 1, 1)


def test_names_of_the_model_that_look_like_ours(tmp_path):
    """Values made up by the import stay clear of the model's own names."""
    nodes = [node("Sum", ["x", "x", "x"], ["s"]), node("Relu", ["s"], ["add_0"]), node("Add", ["add_0", "s.factor"])]
    check(tmp_path, model(nodes, IMAGE, constants={"s.factor": np.ones(9, np.float32)}))


def test_dropout_disappears_and_the_output_keeps_its_name(tmp_path):
    graph = check(tmp_path, model([node("Relu", ["x"], ["r"]), node("Dropout", ["r"])], IMAGE))
    assert graph.outputs == ("y",)


def test_open_nsfw_on_a_photograph_agrees_with_onnx_runtime():
    """The trained ResNet-50 variant, on a photograph prepared as its authors prescribe: BGR, mean subtracted."""
    data = pytest.importorskip("skimage.data")
    transform = pytest.importorskip("skimage.transform")
    photograph = transform.resize(data.astronaut(), (224, 224), preserve_range=True).astype(np.float32)
    image = np.ascontiguousarray(photograph[None, :, :, ::-1]) - np.asarray([104, 117, 123], np.float32)
    graph = import_onnx(nsfw_path(), {"input:0": (1, 224, 224, 3)})
    (expected,) = onnxruntime.InferenceSession(nsfw_path()).run(None, {"input:0": image})
    np.testing.assert_allclose(graph.evaluate({"input:0": image})["outputs"], expected, atol=1e-4)
