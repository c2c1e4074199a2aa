"""Random weights for networks that come without trained ones, scaled so that activations neither vanish nor explode.

Weights that are multiplied and summed get He's scale, sqrt(2 / terms of the sum); per-channel factors are near 1,
whatever is added is small, variances are positive.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from runtime.graph import Graph, Node
from runtime.onnx_model.file import attributes, load_model, to_array

Shape = tuple[int, ...]


def _summed(rng: np.random.Generator, shape: Shape, terms: int) -> np.ndarray:
    return rng.normal(0.0, np.sqrt(2.0 / terms), shape).astype(np.float32)


def _factor(rng: np.random.Generator, shape: Shape) -> np.ndarray:
    return rng.uniform(0.7, 1.1, shape).astype(np.float32)


def _added(rng: np.random.Generator, shape: Shape) -> np.ndarray:
    return rng.normal(0.0, 0.1, shape).astype(np.float32)


def randomize_weights(graph: Graph, rng: np.random.Generator) -> Graph:
    """The same graph with random weights, scaled by the operator that first reads them.

    >>> from runtime.graph import GraphBuilder
    >>> build = GraphBuilder("g")
    >>> y = build.add("matmul", build.input("x", (1, 200)), build.weight("w", np.zeros((200, 300), np.float32)))
    >>> graph = randomize_weights(build.finish(y), np.random.default_rng(0))
    >>> round(float(graph.weights["w"].std()), 2)
    0.1
    """
    weights = {}
    for name, array in graph.weights.items():
        users = graph.users(name)
        weights[name] = _draw(users[0] if users else None, name, array.shape, rng).astype(array.dtype)
    return graph.replace(weights=weights)


def _draw(user: Node | None, name: str, shape: Shape, rng: np.random.Generator) -> np.ndarray:
    place = user.inputs.index(name) if user else 0
    if user and user.operator == "conv" and place == 1:
        channels = shape[0] if user["layout"] == "NCHW" else shape[-1]
        return _summed(rng, shape, int(np.prod(shape)) // channels)
    if user and user.operator == "conv_transpose" and place == 1:
        return _summed(rng, shape, terms_of(user, shape))
    if user and user.operator == "matmul":
        return _summed(rng, shape, shape[-2] if place else shape[-1])
    if user and user.operator in ("mul", "div"):
        return _factor(rng, shape)
    return _added(rng, shape)


def terms_of(user: Node, shape: Shape) -> int:
    """How many products a transposed convolution sums, away from borders: one tap in a stride meets an input."""
    channels, window = (shape[0], shape[2:]) if user["layout"] == "NCHW" else (shape[-2], shape[:-2])
    return int(channels * np.prod([-(-size // stride) for size, stride in zip(window, user["strides"])]))


def randomize_onnx(source: Path, target: Path, rng: np.random.Generator) -> None:
    """Copy an ONNX file, with random weights stored in place of those that ConstantOfShape nodes generate.

    Initializers are no longer declared as inputs too, which would keep ONNX Runtime from treating them as constants.
    Raises: ModelError: `source` cannot be read.
    """
    import onnx

    model = load_model(Path(source))
    readers: dict[str, list[tuple[Any, int]]] = {}
    for node in model.graph.node:
        for place, name in enumerate(node.input):
            readers.setdefault(name, []).append((node, place))
    shapes = {tensor.name: tensor for tensor in model.graph.initializer}
    kept = []
    for node in model.graph.node:
        if node.op_type != "ConstantOfShape" or node.input[0] not in shapes:
            kept.append(node)
            continue
        shape = tuple(int(extent) for extent in to_array(shapes[node.input[0]]))
        array = _draw_onnx(*_reader(node.output[0], readers), shape, rng)
        model.graph.initializer.append(onnx.numpy_helper.from_array(array, node.output[0]))
    del model.graph.node[:]
    model.graph.node.extend(kept)
    constants = {tensor.name for tensor in model.graph.initializer}
    inputs = [value for value in model.graph.input if value.name not in constants]
    del model.graph.input[:]
    model.graph.input.extend(inputs)
    model.ir_version = max(model.ir_version, 4)  # before version 4, initializers had to be inputs too
    Path(target).write_bytes(model.SerializeToString())


def _reader(name: str, readers: dict[str, list[tuple[Any, int]]]) -> tuple[Any, int]:
    """The node that computes with a value, looking through those that only give it another shape."""
    node, place = readers[name][0]
    return _reader(node.output[0], readers) if node.op_type in ("Unsqueeze", "Reshape", "Identity") else (node, place)


def _draw_onnx(reader: Any, place: int, shape: Shape, rng: np.random.Generator) -> np.ndarray:
    operator = reader.op_type
    if operator == "Conv" and place == 1:
        return _summed(rng, shape, int(np.prod(shape[1:])))
    if operator in ("Gemm", "MatMul") and place == 1:
        return _summed(rng, shape, shape[1] if attributes(reader).get("transB", 0) else shape[-2])
    draws: dict[tuple[str, int], Callable[[np.random.Generator, Shape], np.ndarray]]
    draws = {("Mul", 0): _factor, ("Mul", 1): _factor, ("Div", 1): _factor}
    draws |= {("BatchNormalization", 1): _factor, ("BatchNormalization", 4): _factor}
    return draws.get((operator, place), _added)(rng, shape)
