"""Model files that are no good: each is one ModelError of one sentence that says what to do."""

from __future__ import annotations

import sys

import numpy as np
import onnx
import pytest
from onnx import TensorProto

from runtime.onnx_import import ModelError, import_onnx
from tests.runtime.light_models import model_path
from tests.runtime.onnx_models import IMAGE, model, node, nsfw_path, save


def fails(path, *words, shapes=None):
    with pytest.raises(ModelError) as caught:
        import_onnx(path, shapes)
    message = str(caught.value)
    assert "\n" not in message and str(path) in message
    for word in words:
        assert word in message, message


def test_a_missing_file(tmp_path):
    fails(tmp_path / "none.onnx", "No such file")


def test_a_directory(tmp_path):
    fails(tmp_path, "directory")


@pytest.mark.parametrize("content", [b"", b"hello, I am not a model\n", b"PK\x03\x04" + bytes(100), bytes(range(256))])
def test_not_an_onnx_file(content, tmp_path):
    path = tmp_path / "model.onnx"
    path.write_bytes(content)
    fails(path, "not an ONNX model")


@pytest.mark.parametrize("part", [0.1, 0.5, 0.99, 0.9999])
def test_a_truncated_file(part, tmp_path):
    data = model_path("squeezenet").read_bytes()
    path = tmp_path / "model.onnx"
    path.write_bytes(data[: int(len(data) * part)])
    fails(path, "cut short")


def test_every_unsupported_operator_is_listed_with_its_nodes(tmp_path):
    nodes = [
        node("LeakyRelu", ["x"], ["a"], name="leaky"),
        node("Relu", ["a"], ["b"], name="fine"),
        node("HardSwish", ["b"], ["c"], name="swish_1"),
        node("HardSwish", ["c"], ["d"], name="swish_2"),
        node("MaxPool", ["x"], ["e"], name="dilated", kernel_shape=[2, 2], dilations=[2, 2]),
        node("Add", ["d", "d"], name="sum"),
    ]
    words = [
        "LeakyRelu (node 'leaky')",
        "HardSwish (node 'swish_1', 'swish_2')",
        "MaxPool (node 'dilated': dilated pool",
    ]
    path = save(tmp_path, model(nodes, IMAGE))
    fails(path, *words)
    with pytest.raises(ModelError) as caught:
        import_onnx(path)
    assert "fine" not in str(caught.value) and "sum" not in str(caught.value)


def test_a_power_that_is_no_product(tmp_path):
    for exponent in (np.float32(2.5), np.ones(9, np.float32)):
        proto = model([node("Pow", ["x", "e"], name="p")], IMAGE, constants={"e": exponent})
        fails(save(tmp_path, proto), "Pow (node 'p'", "constants 2 and 3")


def test_an_operator_of_another_domain(tmp_path):
    proto = model([node("Magic", ["x"], domain="com.example", name="m")], IMAGE)
    fails(save(tmp_path, proto), "com.example.Magic (node 'm')")


def test_open_dimensions_are_named_with_the_option_to_give():
    fails(nsfw_path(), "'input:0'", "unk__653", "--shape input:0=1,224,224,3")


def test_all_open_inputs_are_named_at_once(tmp_path):
    proto = model([node("Add", ["a", "b"])], {"a": ("n", 3), "b": (None, 3), "c": None})
    fails(save(tmp_path, proto), "inputs 'a' (n, 3), 'b' (?, 3)", "--shape a=1,3 --shape b=1,3 --shape c=1,3,224,224")


def test_operators_on_constants_that_cannot_run(tmp_path):
    nodes = [
        node("Magic", ["w"], ["m"], domain="com.example", name="magic"),
        node("RandomNormal", [], ["r"], name="noise", shape=[9]),
        node("Sum", ["x", "m", "r"]),
    ]
    path = save(tmp_path, model(nodes, IMAGE, constants={"w": np.ones(9, np.float32)}))
    fails(path, "com.example.Magic (node 'magic'", "RandomNormal (node 'noise'")


def test_a_given_shape_must_fit():
    fails(nsfw_path(), "does not fit", shapes={"input:0": (1, 224, 224, 4)})
    fails(nsfw_path(), "does not fit", shapes={"input:0": (1, 3)})
    fails(nsfw_path(), "no input 'other'", "'input:0'", shapes={"other": (1, 3)})


@pytest.mark.parametrize("elem_type, word", [(TensorProto.DOUBLE, "double"), (TensorProto.INT64, "int64")])
def test_an_input_dtype_that_does_not_run(elem_type, word, tmp_path):
    proto = model([node("Relu", ["x"])], IMAGE)
    proto.graph.input[0].type.tensor_type.elem_type = elem_type
    fails(save(tmp_path, proto), "'x'", word, "float32")


def test_a_weight_dtype_that_does_not_run(tmp_path):
    proto = model([node("Mul", ["x", "w"], name="times")], IMAGE, constants={"w": np.ones(9, np.float64)})
    fails(save(tmp_path, proto), "'times'", "'w' is float64", "float32")


def external_model(tmp_path):
    proto = model([node("Add", ["x", "w"])], IMAGE, constants={"w": np.arange(9, dtype=np.float32)})
    path = tmp_path / "model.onnx"
    onnx.save_model(proto, path, save_as_external_data=True, location="weights.bin", size_threshold=0)
    return path


def test_weights_stored_outside_the_file_are_read(tmp_path):
    graph = import_onnx(external_model(tmp_path))
    assert np.array_equal(graph.weights["w"], np.arange(9))


def test_weights_stored_outside_the_file_and_missing(tmp_path):
    path = external_model(tmp_path)
    (tmp_path / "weights.bin").unlink()
    fails(path, "'w'", "weights.bin", "missing", str(tmp_path))


def test_weights_stored_outside_the_file_and_cut_short(tmp_path):
    path = external_model(tmp_path)
    (tmp_path / "weights.bin").write_bytes(b"123")
    fails(path)


def test_an_opset_that_is_too_old(tmp_path):
    fails(save(tmp_path, model([node("Relu", ["x"])], IMAGE, opset=6)), "opset 6")


def test_a_value_that_nobody_computes(tmp_path):
    fails(save(tmp_path, model([node("Relu", ["ghost"], name="r")], IMAGE)), "'r'", "'ghost'")


def test_shapes_that_do_not_fit(tmp_path):
    proto = model([node("MatMul", ["x", "w"], name="product")], IMAGE, constants={"w": np.ones((5, 5), np.float32)})
    fails(save(tmp_path, proto), "'product'", "do not multiply")


def test_the_onnx_package_is_missing(monkeypatch):
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(ModelError, match="pip install") as caught:
        import_onnx(model_path("squeezenet"))
    assert isinstance(caught.value, ImportError)
