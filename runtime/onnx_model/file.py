"""Reading ONNX files: the protocol buffer, external weights, attributes, and input types with open dimensions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from runtime.graph import TensorType


class ModelError(ValueError):
    """A model file that cannot be imported; the message is one sentence that says what to do."""


class OnnxMissing(ModelError, ImportError):
    """The onnx package is not installed."""


def onnx_package() -> Any:
    """Import the `onnx` package.  Raises: OnnxMissing: it is not installed."""
    try:
        import onnx
    except ImportError:
        raise OnnxMissing("ONNX files need the onnx package; install it with `pip install onnx`") from None
    return onnx


def load_model(path: Path) -> Any:
    """Read a ModelProto and the weights stored beside it.

    Raises: ModelError: no such file, not an ONNX model or cut short, or weights missing.
    """
    onnx = onnx_package()
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ModelError(f"{path}: cannot be read ({error.strerror}); give the path of an ONNX file") from None
    try:
        model = onnx.ModelProto.FromString(data)
    except Exception:  # protobuf's DecodeError, which has no public import path in onnx
        model = onnx.ModelProto()
    if not model.ir_version or not model.graph.node or not model.opset_import:
        raise ModelError(
            f"{path}: not an ONNX model, or cut short ({len(data)} bytes); check the path, or export it again"
        )
    _load_external(onnx, path, model)
    return model


def _load_external(onnx: Any, path: Path, model: Any) -> None:
    """Read weights stored in other files."""
    helper = onnx.external_data_helper
    wanted = []
    for tensor in model.graph.initializer:
        if helper.uses_external_data(tensor):
            wanted.append((tensor.name, helper.ExternalDataInfo(tensor).location))
    missing = sorted({location for _, location in wanted if not (path.parent / location).is_file()})
    if missing:
        names = [name for name, location in wanted if location in missing]
        raise ModelError(
            f"{path}: weights {_some(names)} are stored in {', '.join(missing)}, which is missing; "
            f"put {'it' if len(missing) == 1 else 'them'} in {path.parent.resolve()}"
        )
    if wanted:
        try:
            helper.load_external_data_for_model(model, str(path.parent))
        except Exception as error:  # onnx raises several kinds for files that are too short or lie outside
            raise ModelError(f"{path}: weights stored outside the file cannot be read: {error}") from None


def _some(names: Sequence[str]) -> str:
    """The first three names."""
    return ", ".join(map(repr, names[:3])) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def to_array(tensor: Any) -> np.ndarray:
    """The array of a TensorProto."""
    return np.asarray(onnx_package().numpy_helper.to_array(tensor))


def attributes(proto: Any) -> dict[str, Any]:
    """The attributes of a NodeProto as Python values; tensors become arrays, bytes become text."""
    helper = onnx_package().helper
    values = {}
    for attribute in proto.attribute:
        value = helper.get_attribute_value(attribute)
        if hasattr(value, "data_type"):
            value = to_array(value)
        values[attribute.name] = value.decode() if isinstance(value, bytes) else value
    return values


def input_types(path: Path, model: Any, shapes: Mapping[str, tuple[int, ...]]) -> dict[str, TensorType]:
    """The types of the inputs that are not weights, with open dimensions taken from `shapes`.

    Raises: ModelError: a dimension is open and not given, a given shape does not fit, or a dtype is not float32.
    """
    constants = {tensor.name for tensor in model.graph.initializer}
    inputs = [value for value in model.graph.input if value.name not in constants]
    unknown = [name for name in shapes if name not in {value.name for value in inputs}]
    if unknown:
        raise ModelError(f"{path}: there is no input {unknown[0]!r}; the inputs are {_some([v.name for v in inputs])}")
    _check_open(path, [value for value in inputs if value.name not in shapes])
    return {value.name: _input_type(path, value, shapes.get(value.name)) for value in inputs}


def _declared(value: Any) -> list[int | str] | None:
    """The extents of an input, the open ones by name or "?"; None when not even the rank is known."""
    tensor = value.type.tensor_type
    if not tensor.HasField("shape"):
        return None
    return [dim.dim_value if dim.dim_value > 0 else dim.dim_param or "?" for dim in tensor.shape.dim]


def _show_declared(value: Any) -> str:
    declared = _declared(value)
    return "of unknown rank" if declared is None else f"({', '.join(map(str, declared))})"


def _check_open(path: Path, inputs: Sequence[Any]) -> None:
    """Refuse inputs with open dimensions, all in one error that shows the options to give."""
    names, options = [], []
    for value in inputs:
        declared = _declared(value)
        if declared is None or any(isinstance(extent, str) for extent in declared):
            hint = ",".join(str(extent) if isinstance(extent, int) else "1" for extent in declared or ())
            names.append(f"{value.name!r} {_show_declared(value)}")
            options.append(f"--shape {value.name}={hint or '1,3,224,224'}")
    if names:
        which, have = ("input", "has") if len(names) == 1 else ("inputs", "have")
        raise ModelError(
            f"{path}: {which} {', '.join(names)} {have} open dimensions; give them, as in {' '.join(options)}"
        )


def _input_type(path: Path, value: Any, given: tuple[int, ...] | None) -> TensorType:
    elem_type = value.type.tensor_type.elem_type
    elem_types = onnx_package().TensorProto.DataType
    if elem_type != elem_types.Value("FLOAT"):
        found = elem_types.Name(elem_type).lower()
        raise ModelError(f"{path}: input {value.name!r} is {found}; only float inputs run, export the model in float32")
    declared = _declared(value)
    if given is None:
        return TensorType(tuple(int(extent) for extent in declared or ()))
    fits = all(isinstance(extent, int) and extent >= 1 for extent in given)
    if declared is not None:
        pairs = zip(declared, given)
        fits = fits and len(given) == len(declared) and all(isinstance(d, str) or d == g for d, g in pairs)
    if not fits:
        shown = _show_declared(value)
        raise ModelError(f"{path}: input {value.name!r} is declared {shown}, which the shape {given} does not fit")
    return TensorType(tuple(given))


def run_node(proto: Any, arrays: Sequence[Any], opset: int) -> list[np.ndarray]:
    """Run one node on constants with ONNX's reference implementation."""
    onnx = onnx_package()
    if proto.op_type == "ConstantOfShape":
        fill = attributes(proto).get("value", np.zeros(1, np.float32))
        return [np.full(tuple(arrays[0]), fill.reshape(-1)[0], fill.dtype)]
    if proto.op_type == "Constant":
        return [_constant(attributes(proto))]
    from onnx.reference import ReferenceEvaluator

    empty = onnx.TypeProto()
    inputs = [onnx.ValueInfoProto(name=name, type=empty) for name in dict.fromkeys(proto.input) if name]
    outputs = [onnx.ValueInfoProto(name=name, type=empty) for name in proto.output if name]
    graph = onnx.helper.make_graph([proto], "fold", inputs, outputs)
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", opset)])
    feeds = {name: array for name, array in zip(proto.input, arrays) if name}
    return [np.asarray(result) for result in ReferenceEvaluator(model).run(None, feeds)]


def _constant(values: Mapping[str, Any]) -> np.ndarray:
    """The array of a Constant node, given in one of several attributes."""
    (name, value), *_ = values.items()
    dtypes: dict[str, Any] = {"value_float": np.float32, "value_floats": np.float32}
    dtypes |= {"value_int": np.int64, "value_ints": np.int64}
    return np.asarray(value, dtypes.get(name))
