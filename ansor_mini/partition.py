"""Cut a graph into fused subgraphs, each of which becomes one kernel.

Paper: Ansor §3

A subgraph starts at any operator and takes in the element-wise operators that follow, as long as what they read of one
another is read by nothing else, keeps its shape and is not a graph output: bias, activation and residual addition then
happen while the value is still in registers. A value may be read several times on the way, as in x / 2 * (1 + erf(x)),
if all that comes of it meets again in one value. Concat and split are copies of their own; reshape is another view of
the same memory.

Equal subgraphs (same operators, parameters and shapes) have equal keys and are tuned once.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from runtime.graph import Graph, Node

ELEMENTWISE = frozenset("add sub mul div relu sigmoid tanh exp sqrt erf clip".split())
MOVEMENT = frozenset(("concat", "split"))
VIEWS = frozenset(("reshape",))
# Operators whose last stage is not a plain function of one reduction, so that nothing is fused behind them.
CLOSED = frozenset(("softmax", "lrn")) | MOVEMENT | VIEWS
FARTHEST = 16  # operators until what was read several times has to meet again


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
        """Either "compute", "movement" or "view"."""
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
        while fuse and (followers := _fusible_followers(graph, group, order)):
            if any(id(follower) in taken for follower in followers):
                break
            group += followers
        taken.update(id(member) for member in group)
        groups.append(tuple(group))
    # A group runs when its last operator could: all other inputs of the fused operators exist by then.
    groups.sort(key=lambda group: order[id(group[-1])])
    return [subgraph(graph, group) for group in groups]


def _fusible_followers(graph: Graph, group: Sequence[Node], order: Mapping[int, int]) -> list[Node]:
    """The fewest element-wise operators behind a group that together have one result; none if they may not join.

    They are the operators up to the group's post-dominator: taken in the graph's order until no value but the last is
    read by others.
    """
    if group[0].operator in CLOSED:
        return []
    result = group[-1].outputs[0]
    followers: list[Node] = []
    while len(followers) < FARTHEST:
        values = [result, *(node.outputs[0] for node in followers)]
        waiting = {value: _waiting(graph, value, followers) for value in values}
        read_outside = [value for value in values if waiting[value] or value in graph.outputs]
        if followers and set(read_outside) <= {values[-1]}:
            return followers
        readers = [user for users in waiting.values() for user in users]
        if not readers or result in graph.outputs:
            return []
        nearest = min(readers, key=lambda user: order[id(user)])
        if nearest.operator not in ELEMENTWISE or graph.types[nearest.outputs[0]] != graph.types[result]:
            return []
        followers.append(nearest)
    return []


def _waiting(graph: Graph, value: str, followers: Sequence[Node]) -> list[Node]:
    """The readers of a value that are not among these nodes."""
    return [user for user in graph.users(value) if not any(user is node for node in followers)]


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
