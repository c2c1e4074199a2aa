"""ONNX file → Graph.

Input: a model file of opset 7 or later, float32, with shapes that are fixed or given by the caller. Output: a Graph
whose inputs, outputs and weights keep their ONNX names.

1. Read the file, and the weights stored beside it.
2. Take the nodes in order. A node whose inputs are all constants runs once, in `onnx.reference`, and is gone
   (ConstantOfShape, Unsqueeze on weights, arithmetic on shapes); any other is translated by its entry in
   `onnx_model.operators.HANDLERS`.
3. Report everything that could not be translated in one ModelError.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from runtime.graph import Graph, TensorType
from runtime.onnx_model.file import ModelError, attributes, input_types, load_model, run_node, to_array
from runtime.onnx_model.operators import HANDLERS
from runtime.onnx_model.translation import OnnxNode, Translation, Unsupported

__all__ = ["ModelError", "import_onnx"]

OLDEST_OPSET = 7


def import_onnx(path: str | Path, shapes: Mapping[str, tuple[int, ...]] | None = None) -> Graph:
    """Read an ONNX file.

    shapes: shapes of inputs whose dimensions the file leaves open.
    Raises: ModelError: with one sentence that says what is wrong and what to do: no such file, not ONNX or cut short,
    weights missing, dimensions left open, a dtype other than float32, or unsupported operators, all of them.
    """
    path = Path(path)
    model = load_model(path)
    opset = max((entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")), default=0)
    if opset < OLDEST_OPSET:
        raise ModelError(f"{path}: opset {opset} is not supported; export the model with opset {OLDEST_OPSET} or later")
    names = frozenset(name for node in model.graph.node for name in (*node.input, *node.output))
    translation = Translation(model.graph.name or path.stem, opset, names)
    for initializer in model.graph.initializer:
        translation.meaning[initializer.name] = to_array(initializer)
    for name, kind in input_types(path, model, shapes or {}).items():
        translation.meaning[name] = translation.build.input(name, kind.shape, kind.dtype)
    _translate_nodes(path, model, translation)
    outputs = [_output(path, translation, output.name) for output in model.graph.output]
    return translation.build.finish(outputs).prune()


def _translate_nodes(path: Path, model: Any, translation: Translation) -> None:
    """Fold or translate every node; what reads a failed node is only checked for being supported at all."""
    failures: dict[str, list[str]] = {}
    failed_values: set[str] = set()
    for index, proto in enumerate(model.graph.node):
        label = proto.name or proto.output[0] or f"#{index}"
        operator = f"{proto.domain}.{proto.op_type}" if proto.domain not in ("", "ai.onnx") else proto.op_type
        present = [name for name in proto.input if name]
        unknown = [name for name in present if name not in translation.meaning and name not in failed_values]
        if unknown:
            raise ModelError(f"{path}: node {label!r} reads {unknown[0]!r}, which no earlier node computes")
        blocked = any(name in failed_values for name in present)
        constant = not blocked and all(translation.constant(name) is not None for name in present)
        try:
            if constant and operator not in ("Dropout", "Identity") and not operator.startswith("Random"):
                _fold(proto, translation)
            elif operator not in HANDLERS:
                raise Unsupported("")
            elif not blocked:
                node = OnnxNode(operator, label, tuple(proto.input), tuple(proto.output), attributes(proto))
                _bind(node, HANDLERS[operator](translation, node), translation)
            else:
                failed_values.update(proto.output)
        except (Unsupported, ValueError, KeyError, IndexError, TypeError) as error:
            reason = " ".join(str(error).split())
            failures.setdefault(operator, []).append(f"{label!r}: {reason}" if reason else repr(label))
            failed_values.update(proto.output)
    if failures:
        listed = "; ".join(f"{operator} (node {', '.join(where)})" for operator, where in failures.items())
        raise ModelError(f"{path}: unsupported operators: {listed}")


def _fold(proto: Any, translation: Translation) -> None:
    """Run a node on constants."""
    try:
        results = run_node(proto, [translation.meaning.get(name) for name in proto.input], translation.opset)
    except Exception as error:  # onnx.reference raises many kinds, for operators and uses it does not know
        raise Unsupported(f"cannot be computed from its constants: {error}") from None
    translation.meaning.update(zip(proto.output, results))


def _bind(node: OnnxNode, results: str | np.ndarray | tuple[str, ...], translation: Translation) -> None:
    """Record what the outputs of a node stand for; outputs beyond the results must be unused."""
    translation.meaning.update(zip(node.outputs, results if isinstance(results, tuple) else (results,)))


def _output(path: Path, translation: Translation, name: str) -> str:
    """The graph value of a model output, under the output's own name."""
    if name not in translation.meaning:
        raise ModelError(f"{path}: output {name!r} is not computed by any node")
    meaning = translation.meaning[name]
    if isinstance(meaning, np.ndarray):
        raise ModelError(f"{path}: output {name!r} is a constant, there is nothing to compile")
    if meaning == name:
        return name
    kind: TensorType = translation.build.types[meaning]
    return str(translation.build.add("reshape", meaning, name=name, shape=kind.shape))
