"""A graph as boxes, and a graph before and after a search with the changed part marked."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable

from runtime.graph import Graph, Node
from runtime.graph_text import show_node
from taso_mini.pictures.drawing import ADDED, PLAIN, REMOVED, VALUE, Arrow, Box, Drawing, side_by_side

BEFORE, AFTER = "before", "after"


def draw_graph(graph: Graph, marked: Collection[str] = (), mark: str = PLAIN, only: Collection[str] = ()) -> Drawing:
    """Draw the operators of a graph, each with its parameters, its weights' shapes and its result's.

    marked: first outputs of the nodes to mark, and with what `mark`.
    only: first outputs of the nodes to draw, by default of all; what is left out is an oval at the border.
    """
    kept = [node for node in graph.nodes if not only or node.outputs[0] in only]
    home = {value: node.outputs[0] for node in kept for value in node.outputs}
    boxes: dict[str, Box] = {}
    arrows: list[Arrow] = []
    for node in kept:
        for value in dict.fromkeys(node.inputs):
            if value in graph.weights:
                continue
            if value not in home:
                boxes.setdefault(f"in {value}", Box(f"in {value}", (value, _extents(graph, value)), VALUE))
            arrows.append(Arrow(home.get(value, f"in {value}"), node.outputs[0], _which(graph, value)))
        mine = mark if node.outputs[0] in marked else PLAIN
        boxes[node.outputs[0]] = Box(node.outputs[0], _lines(graph, node), mark=mine)
    for value in _leaving(graph, kept):
        boxes[f"out {value}"] = Box(f"out {value}", (value, _extents(graph, value)), VALUE)
        arrows.append(Arrow(home[value], f"out {value}", _which(graph, value)))
    return Drawing(graph.name, tuple(boxes.values()), tuple(arrows))


def _which(graph: Graph, value: str) -> str:
    """The number of a value among those of its node, where there are several."""
    node = graph.producer(value)
    return str(node.outputs.index(value)) if node and len(node.outputs) > 1 else ""


def _leaving(graph: Graph, kept: Iterable[Node]) -> list[str]:
    """Values that something outside of the drawn nodes wants."""
    drawn = {node.outputs[0] for node in kept}
    return [
        value
        for node in kept
        for value in node.outputs
        if value in graph.outputs or any(user.outputs[0] not in drawn for user in graph.users(value))
    ]


def _extents(graph: Graph, value: str) -> str:
    return "×".join(map(str, graph.types[value].shape)) or "scalar"


def _lines(graph: Graph, node: Node) -> tuple[str, ...]:
    call = show_node(node).partition(" = ")[2]
    params = re.findall(r"(\w+=(?:\([^)]*\)|[^,)]+))", call)
    weights = [f"weight {_extents(graph, value)}" for value in node.inputs if value in graph.weights]
    results = " and ".join(_extents(graph, value) for value in node.outputs)
    return (node.operator, *params, *weights, f"→ {results}")


def changed(before: Graph, after: Graph) -> tuple[frozenset[str], frozenset[str]]:
    """Find the nodes that only one of two equal graphs has; gives the first outputs of each graph's.

    Inputs of one name are one value, and so are results of one operator on the same values. Where another operator
    computes a value of the same name, the node has changed and its value has not: what reads it is unchanged. Of two
    nodes that compute one value a graph may keep one; then the other counts as removed.
    """
    same = {value: value for value in before.inputs if value in after.inputs}
    for name, array in before.weights.items():
        other = after.weights.get(name)
        if other is array or (other is not None and array.shape == other.shape and (array == other).all()):
            same[name] = name
    calls: dict[object, list[Node]] = {}
    for node in after.nodes:
        calls.setdefault((node.operator, node.params, node.inputs), []).append(node)
    found: set[str] = set()
    removed: set[str] = set()
    for node in before.nodes:
        inputs = tuple(same.get(value, "") for value in node.inputs)
        twins = calls.get((node.operator, node.params, inputs), [])
        free = [twin for twin in twins if twin.outputs[0] not in found]
        if twins:
            twin = next((twin for twin in free if twin.outputs == node.outputs), (free or twins)[0])
            same.update(zip(node.outputs, twin.outputs, strict=True))
            found.add(twin.outputs[0])
        else:
            same.update((value, value) for value in node.outputs if value in after.types)
        if not free:
            removed.add(node.outputs[0])
    return frozenset(removed), frozenset(node.outputs[0] for node in after.nodes) - found


def draw_change(before: Graph, after: Graph, *, hops: int | None = None) -> Drawing:
    """Draw a graph before and after a search, side by side; what only one of them has is marked.

    hops: draw nothing further than so many operators from a change; by default everything.
    Raises: ValueError: hops is negative.
    """
    if hops is not None and hops < 0:
        raise ValueError(f"hops: expected at least 0, got {hops}")
    parts = []
    for frame, graph, own, mark in zip(
        (BEFORE, AFTER), (before, after), changed(before, after), (REMOVED, ADDED), strict=True
    ):
        only = () if hops is None else _near(graph, own, hops)
        parts.append(draw_graph(graph, own, mark, only).framed(frame))
    return side_by_side(before.name, parts)


def _near(graph: Graph, start: Collection[str], hops: int) -> frozenset[str]:
    """The nodes within so many steps, up or down; all of them where nothing has changed."""
    near = set(start)
    for _ in range(hops):
        for node in graph.nodes:
            if node.outputs[0] in start:
                makers = [graph.producer(value) for value in node.inputs]
                users = [user for value in node.outputs for user in graph.users(value)]
                near.update(other.outputs[0] for other in (*makers, *users) if other is not None)
        start = frozenset(near)
    return frozenset(near)
