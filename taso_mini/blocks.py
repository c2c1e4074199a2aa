"""A graph as blocks that can be improved one by one, equal ones once.

Paper: TASO §5, and MetaFlow, which splits large graphs. Rewrites far apart do not touch each other, yet every
combination of them is another graph: a network of eight equal layers has as many graphs as one layer has, to the power
of eight. Costs add up, so blocks that no rule reaches across can be searched by themselves. A block is a graph of its
own whose values are numbered in order; blocks with the same text are the same problem.

How to cut is a policy of `CUTS`: it says which operations must stay together. What `separate` adds is that blocks never
need each other's values in a circle, so that whatever is done inside them the whole stays free of cycles.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from runtime.graph import Graph, Node
from taso_mini.descent import Candidate
from taso_mini.low_capacity import low_capacity
from taso_mini.matching import Match, Matcher
from taso_mini.search_graph import SearchGraph
from taso_mini.union_find import UnionFind, circles
from taso_mini.values import Operation

Group = list[Operation]
Cut = Callable[[SearchGraph, Matcher], Sequence[Group]]
Context = Callable[[str], Hashable]
GROWTH = 2  # how many operations further a block reaches than the matches in it


@dataclass(frozen=True)
class Block:
    """A part of a graph.

    graph: the part, its values numbered.  names: what each of its values is called in the whole.
    key: equal for equal problems.
    """

    graph: Graph
    names: Mapping[str, str]
    key: Hashable


def whole(graph: SearchGraph, matcher: Matcher) -> Sequence[Group]:
    """Keep everything together."""
    return [[operation for operation in graph.operations if not operation.constant]]


def by_matches(graph: SearchGraph, matcher: Matcher) -> Sequence[Group]:
    """Keep the operations of every match together, and those beside them that rules could read next.

    A rewrite makes matches that were not there before. So one descent is made in the whole graph, and what gains on the
    way down counts as well.
    """
    together = _matched_values(graph, matcher)
    parts = UnionFind[Operation]()
    first: dict[str, Operation] = {}  # of each group of values
    for operation in graph.operations:
        known = [value for value in operation.outputs if value in together]
        if known and not operation.constant:
            parts.join([operation, *(first.setdefault(together.find(value), operation) for value in known)])
    level = [operation for group in parts.groups() for operation in group]
    for _ in range(GROWTH):
        beside = [(o, user) for o in level for value in o.outputs for user in graph.readers.get(value, ())]
        beside += [(o, graph.producers[value]) for o in level for value in o.inputs if value in graph.producers]
        level = []
        for operation, other in beside:
            if other not in parts and not other.constant and any(other.applications.values()):
                parts.join((operation, other))
                level.append(other)
    return parts.groups()


def _matched_values(graph: SearchGraph, matcher: Matcher) -> UnionFind[str]:
    """Put the values together that operations of one match compute."""
    together = UnionFind[str]()
    rejected = Counter[str]()
    here = Candidate(graph)
    here.expand(matcher, rejected)
    for found in (here.attempts or {}).values():
        together.join(_computed(graph, found.match))
    while True:
        epoch = graph.values.epoch
        gains = [rewrite for rewrite in here.expand(matcher, rejected) if rewrite.change.price(epoch) < 0]
        for rewrite in gains:
            together.join(_computed(here.graph, rewrite.match))
        below = next((child for child in map(here.child, gains) if child and child.graph.cost < here.graph.cost), None)
        if below is None or below.rewrite is None:
            return together
        added = below.rewrite.change.added
        together.join([*_computed(here.graph, below.rewrite.match), *(v for o in added for v in o.outputs
                       if not o.constant)])  # fmt: skip
        here = below


def _computed(graph: SearchGraph, match: Match) -> list[str]:
    """Return the values that the operations of a match compute at run time."""
    return [value for node, value in match.values.items() if node.args and value not in graph.values.constant]


def blocks(graph: SearchGraph, groups: Sequence[Group], context: Context | None = None) -> tuple[Block, ...]:
    """Return the groups as graphs, after joining those that need each other in a circle.

    context: what else than their types two values must have in common for blocks to be the same problem.
    """
    place = {operation: i for i, operation in enumerate(graph.in_order() or ())}
    return tuple(_block(graph, sorted(group, key=place.__getitem__), context) for group in separate(graph, groups))


def separate(graph: SearchGraph, groups: Sequence[Group]) -> Sequence[Group]:
    """Join groups, and what lies between them, until no two need each other's values."""
    parts = UnionFind[Operation]()
    for group in (*groups, *([operation] for operation in graph.operations)):
        parts.join(group)
    members = {parts.find(group[0]): group for group in parts.groups()}

    def needed(part: Operation) -> Iterable[Operation]:
        producers = (graph.producers.get(value) for operation in members[part] for value in operation.inputs)
        return dict.fromkeys(parts.find(producer) for producer in producers if producer is not None)

    for circle in circles(tuple(members), needed):
        parts.join(circle)
    chosen = {parts.find(group[0]) for group in groups if group}
    return [group for group in parts.groups() if parts.find(group[0]) in chosen]


def _block(graph: SearchGraph, operations: Sequence[Operation], context: Context | None) -> Block:
    """Return operations, given in order, and the weight arithmetic that they read, as a graph of its own."""
    values = graph.values
    inside = {value for operation in operations for value in operation.outputs}
    arithmetic = _weight_arithmetic(graph, operations)
    names: dict[str, str] = {}  # the whole's -> the block's
    for operation in (*arithmetic, *operations):
        for value in (*operation.inputs, *operation.outputs):
            names.setdefault(value, f"v{len(names)}")
    nodes = tuple(
        Node(o.node.operator, tuple(names[v] for v in o.inputs), tuple(names[v] for v in o.outputs), o.node.params)
        for o in (*arithmetic, *operations)
    )
    made = inside | {value for operation in arithmetic for value in operation.outputs}
    leaves = [value for value in names if value not in made]
    weights = {v: values.graph.weights[v] for v in leaves if v in values.graph.weights}
    inputs = {v: values.types[v] for v in leaves if v not in weights}
    members = set(operations)
    outputs = [v for v in names if v in inside and _leaves(graph, v, members)]
    key = (
        nodes,
        tuple((names[v], kind) for v, kind in inputs.items()),
        tuple((names[v], values.types[v], values.constants(v)) for v in weights),
        tuple(names[v] for v in outputs),
        tuple(map(context, names)) if context else (),
    )
    part = Graph(
        "block",
        {names[v]: kind for v, kind in inputs.items()},
        {names[v]: array for v, array in weights.items()},
        nodes,
        tuple(names[v] for v in outputs),
    )
    return Block(part, MappingProxyType({number: value for value, number in names.items()}), key)


def _leaves(graph: SearchGraph, value: str, members: set[Operation]) -> bool:
    """Whether a value is read outside its block, or by whoever uses the graph."""
    return value in graph.values.outputs or any(reader not in members for reader in graph.readers.get(value, ()))


def _weight_arithmetic(graph: SearchGraph, operations: Sequence[Operation]) -> list[Operation]:
    """Return the operations on weights alone that others need, in order."""
    needed: dict[Operation, None] = {}
    for operation in operations:
        for value in operation.inputs:
            _add_weight_arithmetic(graph, value, needed)
    return list(needed)


def _add_weight_arithmetic(graph: SearchGraph, value: str, needed: dict[Operation, None]) -> None:
    """Add what computes a value from weights alone."""
    producer = graph.producers.get(value)
    if producer is not None and producer.constant and producer not in needed:
        for below in producer.inputs:
            _add_weight_arithmetic(graph, below, needed)
        needed[producer] = None


CUTS: Mapping[str, Cut] = {"whole": whole, "by matches": by_matches, "low capacity": low_capacity}
