"""The graph during a search: for every value the operation that computes it, cheap to change in one place.

Paper: TASO §5. A `SearchGraph` is a table from values to the operations that compute them and another to those that
read them; a `Change` says which operations come and which go. Graphs that differ in few places share everything else.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import TypeVar

import numpy as np

from runtime.graph import Graph, Params
from taso_mini.applications import Application
from taso_mini.costs import CostSource
from taso_mini.values import Operation, Values


@dataclass(slots=True, eq=False)
class Change:
    """What a rewrite does to a graph: operations that come and operations that go.

    fingerprint: by how much the graph's fingerprint changes, modulo 2**64.
    rising: no operation that comes reads a value that is not lower than those it computes; see `SearchGraph.crooked`.
    """

    added: tuple[Operation, ...]
    removed: tuple[Operation, ...]
    fingerprint: int = field(init=False)
    rising: bool = field(init=False)
    _price: int = field(init=False, default=0)
    _epoch: int = field(init=False, default=-1)

    def __post_init__(self) -> None:
        """Add up what does not change."""
        gone = sum([operation.fingerprint for operation in self.removed])
        self.fingerprint = sum([operation.fingerprint for operation in self.added]) - gone
        self.rising = all([operation.rising for operation in self.added])

    @property
    def cost(self) -> int:
        """By how many ticks the graph gets dearer; negative for a gain."""
        return sum([o.cost for o in self.added]) - sum([o.cost for o in self.removed])

    def price(self, epoch: int) -> int:
        """Return `cost`, added up once per epoch of `Values.epoch`."""
        if self._epoch != epoch:
            self._price, self._epoch = self.cost, epoch
        return self._price

    def __str__(self) -> str:
        """Return a line per operation: - for one that goes, + for one that comes."""
        return "\n".join([f"- {gone}" for gone in self.removed] + [f"+ {new}" for new in self.added])

    @property
    def touched(self) -> set[str]:
        """The values that are computed or read in another way after it."""
        return {v for operation in (*self.added, *self.removed) for v in (*operation.inputs, *operation.outputs)}


@dataclass(frozen=True, eq=False)
class SearchGraph:
    """One graph of a search.

    producers: live value -> operation (inputs and weights have none).
    readers: live value -> the operations that read it, one as often as it does.
    cost: in ticks.  fingerprint: 64 bits that tell graphs apart; both are sums over the operations.
    crooked: the operations that read a value not lower than those they compute. Every value has a height for good; a
        cycle cannot rise all the way round, so there is none in a graph without crooked operations.
    """

    values: Values
    producers: Mapping[str, Operation]
    readers: Mapping[str, tuple[Operation, ...]]
    cost: int
    fingerprint: int
    crooked: tuple[Operation, ...] = ()

    @classmethod
    def of(cls, graph: Graph, costs: CostSource) -> SearchGraph:
        """Begin a search at `graph`."""
        graph = graph.prune()
        values = Values(graph, costs)
        operations = dict.fromkeys(values.origin[node.outputs[0]] for node in graph.nodes)
        everything = Change(tuple(operations), ())
        return cls(values, {}, {}, 0, 0).apply(everything).settle(everything)

    @property
    def operations(self) -> tuple[Operation, ...]:
        """All live operations, each once."""
        return tuple(dict.fromkeys(self.producers.values()))

    def uses(self, value: str) -> int:
        """Return how often a value is read, counting one for being an output of the graph."""
        return len(self.readers.get(value, ())) + (value in self.values.outputs)

    def above(self, values: Iterable[str]) -> dict[str, None]:
        """Return the values computed directly from the given ones, in order."""
        return {output: None for value in values for reader in self.readers.get(value, ()) for output in reader.outputs}

    def application(self, value: str) -> tuple[Application, tuple[str, ...]] | None:
        """Return how a value is computed as a term operator, and from which values."""
        operation = self.producers.get(value)
        return operation.applications[value] if operation is not None else None

    def computing(self, operator: str, params: Params, inputs: tuple[str, ...]) -> Operation | None:
        """Return the live operation that does this, if there is one."""
        for operation in self.readers.get(self.watched(inputs), ()):
            if operation.inputs == inputs and operation.node.operator == operator and operation.node.params == params:
                return operation
        return None

    def watched(self, inputs: tuple[str, ...]) -> str:
        """Return the input whose readers tell whether an operation on all of them is live."""
        constant = self.values.constant
        return next((value for value in inputs if value not in constant), inputs[0])

    def apply(self, change: Change) -> SearchGraph:
        """Return the graph after a change."""
        producers, readers = _copy(self.producers), _copy(self.readers)
        for operation in change.removed:
            for value in operation.outputs:
                del producers[value]
            for value in operation.inputs:
                left = list(readers[value])
                left.remove(operation)
                readers[value] = tuple(left)
                if not left:
                    del readers[value]
        for operation in change.added:
            producers.update(dict.fromkeys(operation.outputs, operation))
            for value in operation.inputs:
                readers[value] = (*readers.get(value, ()), operation)
        fingerprint = (self.fingerprint + change.fingerprint) % 2**64
        crooked = self.crooked
        if crooked or not change.rising:
            crooked = tuple(operation for operation in crooked if operation not in change.removed)
            crooked += tuple(operation for operation in change.added if not operation.rising)
        cost = self.cost + change.price(self.values.epoch)
        return SearchGraph(self.values, producers, readers, cost, fingerprint, crooked)

    def settle(self, change: Change) -> SearchGraph:
        """Return the same graph with its cost exact, the operations that a change has added priced once and for all."""
        before = sum([operation.cost for operation in change.added])
        for operation in change.added:
            self.values.settle(operation)
        after = sum([operation.cost for operation in change.added])
        return self if after == before else replace(self, cost=self.cost + after - before)

    def has_cycle(self) -> bool:
        """Whether a value is needed to compute itself.

        Looks from the crooked operations downwards, and no lower than the lowest value that one of them computes.
        """
        if not self.crooked:
            return False
        height = self.values.height
        floor = min(height[value] for operation in self.crooked for value in operation.outputs)
        done: set[Operation] = set()
        open_: set[Operation] = set()
        stack = [(operation, False) for operation in self.crooked]
        while stack:
            operation, inputs_visited = stack.pop()
            if inputs_visited:
                open_.discard(operation)
                done.add(operation)
            elif operation not in done and operation not in open_:
                open_.add(operation)
                stack.append((operation, True))
                for value in operation.inputs:
                    below = self.producers.get(value) if height[value] >= floor else None
                    if below in open_:
                        return True
                    if below is not None and below not in done:
                        stack.append((below, False))
        return False

    def in_order(self) -> tuple[Operation, ...] | None:
        """Return the operations in topological order, or None when they form a cycle."""
        done: dict[Operation, bool] = {}  # False while the operation's inputs are being visited
        order = []
        stack = [(operation, False) for operation in reversed(self.operations)]
        while stack:
            operation, inputs_visited = stack.pop()
            if inputs_visited:
                done[operation] = True
                order.append(operation)
            elif operation not in done:
                done[operation] = False
                stack.append((operation, True))
                producers = [self.producers[value] for value in operation.inputs if value in self.producers]
                if any(done.get(producer) is False for producer in producers):
                    return None
                stack.extend((producer, False) for producer in reversed(producers))
        return tuple(order)

    def to_graph(self) -> Graph:
        """Return the graph as the runtime knows it.  Raises: ValueError: it has a cycle."""
        order = self.in_order()
        if order is None:
            raise ValueError("the graph has a cycle")
        given = self.values.graph
        weights = {**given.weights, **self.new_weights()}
        return given.replace(weights=weights, nodes=tuple(operation.node for operation in order)).prune()

    def new_weights(self) -> dict[str, np.ndarray]:
        """Return the constants that rewrites have brought, as arrays."""
        return self.values.new_weights(self.readers)


Kept = TypeVar("Kept")


def _copy(table: Mapping[str, Kept]) -> dict[str, Kept]:
    """Return a copy; a dictionary with gaps, as after deletions, is copied five times as fast by its own method."""
    return table.copy() if isinstance(table, dict) else dict(table)
