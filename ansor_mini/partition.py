"""Cut a graph into fused subgraphs, each of which becomes one kernel.

Paper: Ansor §3

A subgraph starts at any operator and takes in the element-wise operators that follow, as long as each value between
them has one reader, keeps its shape and is not a graph output: bias, activation and residual addition then happen while
the value is still in registers. Concat and split are copies of their own; reshape is another view of the same memory.

Equal subgraphs (same operators, parameters and shapes) have equal keys and are tuned once.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from runtime.graph import Graph, Node

ELEMENTWISE = frozenset("add sub mul div relu sigmoid tanh exp sqrt erf clip".split())
MOVEMENT = frozenset(("concat", "split"))
VIEWS = frozenset(("reshape",))
# Operators whose last stage is not a plain function of one reduction, so that nothing is fused behind them.
CLOSED = frozenset(("softmax", "lrn")) | MOVEMENT | VIEWS


@dataclass(frozen=True)
class Subgraph:
    """Some nodes of a graph that run as one kernel.

    inputs: the values it reads (activations and weights), in the order of the fragment's inputs.
    fragment: the same nodes as a graph of its own with canonical names; equal fragments print equally.
    """

    nodes: tuple[Node, ...]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    fragment: Graph

    @property
    def key(self) -> str:
        """Text that two subgraphs share exactly when one kernel serves both."""
        return str(self.fragment)

    @property
    def anchor(self) -> Node:
        """The operator that the subgraph started from."""
        return self.nodes[0]

    @property
    def kind(self) -> str:
        """"compute", "movement" or "view"."""
        operator = self.anchor.operator
        return "movement" if operator in MOVEMENT else "view" if operator in VIEWS else "compute"


def partition(graph: Graph, *, fuse: bool = True) -> list[Subgraph]:
    """Cut a graph into subgraphs, in an order in which they can run; `fuse=False` gives one per operator."""
    order = {id(node): position for position, node in enumerate(graph.nodes)}
    taken: set[int] = set()
    groups: list[tuple[Node, ...]] = []
    for node in graph.nodes:
        if id(node) in taken:
            continue
        group = [node]
        while fuse and (follower := _fusible_follower(graph, group)) is not None and id(follower) not in taken:
            group.append(follower)
        taken.update(id(member) for member in group)
        groups.append(tuple(group))
    # A group runs when its last operator could: all other inputs of the fused operators exist by then.
    groups.sort(key=lambda group: order[id(group[-1])])
    return [subgraph(graph, group) for group in groups]


def _fusible_follower(graph: Graph, group: Sequence[Node]) -> Node | None:
    """The element-wise operator that alone reads the group's result, if it may join."""
    if group[0].operator in CLOSED:
        return None
    value = group[-1].outputs[0]
    users = graph.users(value)
    if len(users) != 1 or value in graph.outputs or users[0].operator not in ELEMENTWISE:
        return None
    return users[0] if graph.types[users[0].outputs[0]] == graph.types[value] else None


def subgraph(graph: Graph, nodes: Sequence[Node]) -> Subgraph:
    """Cut nodes out of a graph: what they read from outside becomes inputs named x0, x1, …; results are v0, v1, …"""
    inside = {output for node in nodes for output in node.outputs}
    inputs = tuple(dict.fromkeys(name for node in nodes for name in node.inputs if name not in inside))
    names = {name: f"x{i}" for i, name in enumerate(inputs)}
    names |= {name: f"v{i}" for i, name in enumerate(name for node in nodes for name in node.outputs)}
    renamed = tuple(
        Node(node.operator, tuple(names[i] for i in node.inputs), tuple(names[o] for o in node.outputs), node.params)
        for node in nodes
    )
    outputs = nodes[-1].outputs
    fragment = Graph(
        name="fragment",
        inputs={names[name]: graph.types[name] for name in inputs},
        weights={},
        nodes=renamed,
        outputs=tuple(names[name] for name in outputs),
    )
    return Subgraph(tuple(nodes), inputs, outputs, fragment)


def task_weights(subgraphs: Sequence[Subgraph]) -> dict[str, int]:
    """How often each distinct compute subgraph occurs.  Paper: Ansor §6, the weight w_i of task i."""
    return dict(Counter(part.key for part in subgraphs if part.kind == "compute"))
