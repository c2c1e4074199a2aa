"""The text of a graph: printing, parsing it back exactly, and drawing.

One line declares each input and weight, one line applies each operator, the last names the outputs. Names that are not
Python identifiers are quoted; parameters equal to the operator's default are left out; the type of each result follows
as a comment. The values of weights are not part of the text.
"""

from __future__ import annotations

import ast
import json
import keyword
import math
import re
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from runtime.graph import Graph, Node
from runtime.node import Params, TensorType
from runtime.operators import find_operator

_NAME = r'(?:[A-Za-z_]\w*|"(?:[^"\\]|\\.)*")'
_HEADER = re.compile(rf"graph ({_NAME}):")
_DECLARATION = re.compile(rf"(input|weight) ({_NAME}): (\w+)\[([\d, ]*)\]")
_APPLICATION = re.compile(rf"({_NAME}(?:, {_NAME})*) = (.+)")
_RETURN = re.compile(rf"return ({_NAME}(?:, {_NAME})*)")


def show_name(name: str) -> str:
    """A name as the text writes it.

    >>> print(show_name("conv1_0"), show_name("gpu_0/data_0"))
    conv1_0 "gpu_0/data_0"
    """
    return name if name.isascii() and name.isidentifier() and not keyword.iskeyword(name) else json.dumps(name)


def _show_names(names: Iterable[str]) -> str:
    return ", ".join(map(show_name, names))


def show_node(node: Node) -> str:
    """One line: `y = conv(x, w, strides=(2, 2))`."""
    defaults = find_operator(node.operator).params
    params = [f"{key}={value!r}" for key, value in node.params.items() if not _same(value, defaults.get(key))]
    return f"{_show_names(node.outputs)} = {node.operator}({', '.join([*map(show_name, node.inputs), *params])})"


def _same(a: object, b: object) -> bool:
    return type(a) is type(b) and a == b


def show_graph(graph: Graph) -> str:
    """The whole text of a graph."""
    lines = [f"graph {show_name(graph.name)}:"]
    lines += [f"input {show_name(name)}: {kind}" for name, kind in graph.inputs.items()]
    lines += [f"weight {show_name(name)}: {graph.types[name]}" for name in graph.weights]
    for node in graph.nodes:
        lines.append(f"{show_node(node)}  # {', '.join(str(graph.types[value]) for value in node.outputs)}")
    lines.append(f"return {_show_names(graph.outputs)}")
    return "\n    ".join(lines)


def parse_graph(text: str, weights: Mapping[str, np.ndarray] | None = None) -> Graph:
    """Read a graph's text: `parse_graph(str(graph), graph.weights) == graph`.

    weights: values of the declared weights; those left out are zeros.
    Raises: ValueError: a line that is not understood, with its number, or a graph that does not type.
    """
    lines = [(number, line.strip()) for number, line in enumerate(text.splitlines(), 1)]
    lines = [(number, line) for number, line in lines if line and not line.startswith("#")]
    header = _HEADER.fullmatch(lines[0][1]) if lines else None
    if header is None:
        raise ValueError("graph text: expected `graph NAME:` in the first line")
    declared: dict[str, dict[str, TensorType]] = {"input": {}, "weight": {}}
    nodes: list[Node] = []
    outputs: tuple[str, ...] | None = None
    for number, line in lines[1:]:
        if outputs is not None:
            raise ValueError(f"graph text, line {number}: nothing may follow the return line, got {line!r}")
        if match := _DECLARATION.fullmatch(line):
            kind, name, dtype, shape = match.groups()
            declared[kind][_read_name(name)] = TensorType(tuple(map(int, re.findall(r"\d+", shape))), dtype)
        elif match := _RETURN.fullmatch(line):
            outputs = _read_names(match[1])
        elif match := _APPLICATION.fullmatch(line):
            nodes.append(_read_application(number, _read_names(match[1]), match[2]))
        else:
            raise ValueError(f"graph text, line {number}: cannot read {line!r}")
    if outputs is None:
        raise ValueError("graph text: the return line is missing")
    arrays = {name: _values(name, kind, weights or {}) for name, kind in declared["weight"].items()}
    return Graph(_read_name(header[1]), declared["input"], arrays, tuple(nodes), outputs)


def _values(name: str, kind: TensorType, weights: Mapping[str, np.ndarray]) -> np.ndarray:
    if name not in weights:
        return np.broadcast_to(np.zeros((), kind.dtype), kind.shape)
    array = weights[name]
    if array.shape != kind.shape or array.dtype.name != kind.dtype:
        raise ValueError(f"weights: {name!r} is declared {kind}, got {array.dtype.name}{list(array.shape)}")
    return array


def _read_name(text: str) -> str:
    return json.loads(text) if text.startswith('"') else text


def _read_names(text: str) -> tuple[str, ...]:
    return tuple(map(_read_name, re.findall(_NAME, text)))


def _read_application(number: int, outputs: tuple[str, ...], text: str) -> Node:
    try:
        call = ast.parse(text, mode="eval").body
        if not isinstance(call, ast.Call) or not isinstance(call.func, ast.Name):
            raise ValueError("not a call")
        inputs = tuple(_read_argument(arg) for arg in call.args)
        params = Params(**{str(keyword.arg): _read_value(keyword.value) for keyword in call.keywords})
    except (SyntaxError, ValueError, TypeError) as error:
        raise ValueError(f"graph text, line {number}: cannot read `{text}`: {error}") from None
    return Node(call.func.id, inputs, outputs, params)


def _read_argument(arg: ast.expr) -> str:
    if isinstance(arg, ast.Name):
        return arg.id
    if isinstance(arg, ast.Constant) and isinstance(arg.value, str):
        return arg.value
    raise ValueError(f"an argument is the name of a value, got `{ast.unparse(arg)}`")


def _read_value(value: ast.expr) -> Any:
    """A literal; `inf` and `nan` are Python's names for themselves when printed."""
    if isinstance(value, ast.Tuple):
        return tuple(map(_read_value, value.elts))
    if isinstance(value, ast.UnaryOp) and isinstance(value.op, ast.USub):
        return -_read_value(value.operand)
    if isinstance(value, ast.Name) and value.id in ("inf", "nan"):
        return math.inf if value.id == "inf" else math.nan
    return ast.literal_eval(value)


def show_dot(graph: Graph) -> str:
    """Graphviz text; weights are left out.  Draw it with `dot -Tsvg`."""
    lines = [f"digraph {json.dumps(graph.name)} {{", "  node [shape=box];"]
    for name, kind in graph.inputs.items():
        lines.append(f"  {json.dumps(name)} [shape=oval, label={json.dumps(f'{name}: {kind}')}];")
    for node in graph.nodes:
        own = json.dumps(node.outputs[0])
        lines.append(f"  {own} [label={json.dumps(f'{node.operator} {node.outputs[0]}')}];")
        for value in node.inputs:
            if value not in graph.weights:
                source = graph.producer(value)
                origin = source.outputs[0] if source else value
                lines.append(f"  {json.dumps(origin)} -> {own} [label={json.dumps(str(graph.types[value]))}];")
    for value in graph.outputs:
        source = graph.producer(value)
        lines.append(f"  {json.dumps('output ' + value)} [shape=oval, label={json.dumps(value)}];")
        lines.append(f"  {json.dumps(source.outputs[0] if source else value)} -> {json.dumps('output ' + value)};")
    return "\n".join([*lines, "}"])
