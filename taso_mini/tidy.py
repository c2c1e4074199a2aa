"""After a search: compute what depends on weights only, and join concatenations and splits that were built in pairs.

Rules know concatenations of two and splits into two; merging three convolutions leaves a split of a split. Nothing is
lost by joining them again, so that happens once, at the end.
"""

from __future__ import annotations

from runtime.graph import Graph, Node, Params


def tidy(graph: Graph) -> Graph:
    """Return the graph with weight arithmetic done and nested concatenations and splits joined.

    >>> from runtime.graph import GraphBuilder
    >>> build = GraphBuilder("pairs")
    >>> x, y, z = (build.input(name, (1, 2)) for name in "xyz")
    >>> print(tidy(build.finish(build.add("concat", build.add("concat", x, y, axis=1), z, axis=1, name="out"))))
    graph pairs:
        input x: float32[1, 2]
        input y: float32[1, 2]
        input z: float32[1, 2]
        out = concat(x, y, z, axis=1)  # float32[1, 6]
        return out
    """
    graph = graph.fold_constants().prune()
    while (joined := _join_one(graph)) is not None:
        graph = joined
    return graph


def share(graph: Graph) -> tuple[Graph, tuple[Node, ...]]:
    """Compute what is computed twice once; return the graph and the nodes that went.

    >>> from runtime.graph import GraphBuilder
    >>> build = GraphBuilder("twice")
    >>> x = build.input("x", (2,))
    >>> shared, gone = share(build.finish(build.add("add", build.add("relu", x), build.add("relu", x), name="out")))
    >>> print(shared)
    graph twice:
        input x: float32[2]
        relu_0 = relu(x)  # float32[2]
        out = add(relu_0, relu_0)  # float32[2]
        return out
    """
    first: dict[tuple[str, Params, tuple[str, ...]], Node] = {}
    names: dict[str, str] = {}
    kept, gone = [], []
    for node in graph.nodes:
        inputs = tuple(names.get(value, value) for value in node.inputs)
        same = first.setdefault((node.operator, node.params, inputs), node)
        if same is not node and not set(node.outputs) & set(graph.outputs):
            names.update(zip(node.outputs, same.outputs, strict=True))
            gone.append(node)
        else:
            kept.append(Node(node.operator, inputs, node.outputs, node.params))
    return (graph.replace(nodes=tuple(kept)) if gone else graph), tuple(gone)


def _join_one(graph: Graph) -> Graph | None:
    for outer in graph.nodes:
        for value in outer.inputs:
            inner = graph.producer(value)
            if inner is None or inner.operator != outer.operator or inner.operator not in ("concat", "split"):
                continue
            rank = graph.types[value].rank
            if inner["axis"] % rank != outer["axis"] % rank or value in graph.outputs:
                continue
            if len(graph.users(value)) == 1 and outer.inputs.count(value) == 1:
                joined = _join_concats(inner, outer) if outer.operator == "concat" else _join_splits(inner, outer)
                position = inner if outer.operator == "split" else outer
                kept = [
                    joined if node is position else node
                    for node in graph.nodes
                    if node in (position,) or node not in (inner, outer)
                ]
                return graph.replace(nodes=tuple(kept))
    return None


def _join_concats(inner: Node, outer: Node) -> Node:
    at = outer.inputs.index(inner.outputs[0])
    return Node("concat", outer.inputs[:at] + inner.inputs + outer.inputs[at + 1 :], outer.outputs, outer.params)


def _join_splits(inner: Node, outer: Node) -> Node:
    at = inner.outputs.index(outer.inputs[0])
    outputs = inner.outputs[:at] + outer.outputs + inner.outputs[at + 1 :]
    sizes = inner["sizes"][:at] + outer["sizes"] + inner["sizes"][at + 1 :]
    return Node("split", inner.inputs, outputs, Params(axis=inner["axis"], sizes=sizes))
