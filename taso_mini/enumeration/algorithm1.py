"""The paper's depth-first generator over a space, plain, to read and to check the fast one by.

Paper: TASO §2.2, Algorithm 1. Starting from the empty graph, add every operator to every choice of tensors in scope and
recurse. A graph that computes a value twice is dropped. Every *order* of every graph is visited, which is why there are
16 million graphs of three operators.

What can be added to a graph can be added to the larger graph too, so the choices are handed down and only those that
take a new tensor are looked up. Values are computed once per term.

>>> from taso_mini.enumeration.space import published
>>> count_visits(published(), 1)
[1, 228]
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from taso_mini.enumeration.applications import COMMUTATIVE
from taso_mini.enumeration.space import Space
from taso_mini.enumeration.surrogates import Array, apply
from taso_mini.enumeration.tensor_types import arity
from taso_mini.enumeration.term_table import NONE, TermTable, mix


@dataclass(eq=False)
class Tensor:
    """An input, or an output of an operator: its type's number, its value and the value's fingerprint."""

    name: str
    kind: int
    value: Array
    fingerprint: int


@dataclass(eq=False)
class Operator:
    """An operator applied to tensors; equal applications are one object."""

    template: int
    operands: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]

    @property
    def on_inputs(self) -> bool:
        """Whether all operands are inputs."""
        return all("(" not in operand.name for operand in self.operands)


Graph = tuple[Operator, ...]  # in the order in which the operators were added


class World:
    """The operators of a space, applied to tensors."""

    def __init__(self, space: Space, seed: int) -> None:
        """Make the inputs."""
        self.space = space
        self._table = table = TermTable(space, seed, 1)
        self._made: dict[tuple[int, tuple[Tensor, ...]], Operator] = {}
        self.inputs = [
            Tensor(
                one.name,
                int(table.type[i]),
                table.values(int(table.type[i]), table.row[i : i + 1]),
                int(table.fingerprint[i]),
            )
            for i, one in enumerate(space.inputs)
        ]

    def moves(self, scope: list[Tensor], new: int) -> list[Operator]:
        """Return the operators that can be applied to tensors in scope, one of them at least among the `new` last."""
        old = len(scope) - new
        found = []
        for number, template in enumerate(self.space.templates):
            if arity(template) == 1:
                choices = [(x,) for x in scope[old:] if template.operator != "enlarge" or x in self.inputs]
                found += [self.apply(number, operands) for operands in choices]
            elif arity(template) == 2:
                ordered = template.operator in (*COMMUTATIVE, "concat")
                for j, x in enumerate(scope):
                    first = 0 if j >= old else old  # of two operands one is new
                    for y in scope[max(first, j + 1) if ordered else first :]:
                        if self._tried(template.operator, x, y):
                            found.append(self.apply(number, (x, y)))
            elif old == 0:
                found.append(self.apply(number, ()))
        return [one for one in found if one is not None]

    def _tried(self, operator: str, x: Tensor, y: Tensor) -> bool:
        if operator == "conv":
            return not (x in self.inputs and x.name[0] in "wkrcd")
        return x is not y and (operator != "matmul" or x.fingerprint != y.fingerprint)

    def apply(self, number: int, operands: tuple[Tensor, ...]) -> Operator | None:
        """Return the operator applied to these tensors, or None where it is not defined."""
        table, kinds = self._table, [operand.kind for operand in operands]
        results = table.types.results(number, *kinds, *[NONE] * (2 - len(kinds)))
        if not results:
            return None
        key = number, operands
        if key not in self._made:
            values = apply(
                self.space.templates[number],
                table.surrogates,
                tuple(table.types.known[k] for k in kinds),
                *(operand.value for operand in operands),
            )
            text = f"{number}({', '.join(operand.name for operand in operands)})"
            self._made[key] = Operator(
                number,
                operands,
                tuple(
                    Tensor(f"{text}.{slot}", kind, value, int(table.fingerprints(kind, value)[0]))
                    for slot, (kind, value) in enumerate(zip(results, values, strict=True))
                ),
            )
        return self._made[key]


def visit(space: Space, operators: int, *, seed: int = 0) -> Iterator[Graph]:
    """Yield every graph of at most so many operators, in every order of its operators, the empty one first."""
    world = World(space, seed)

    def build(graph: Graph, scope: list[Tensor], values: frozenset[int], moves: list[Operator]) -> Iterator[Graph]:
        yield graph
        if len(graph) == operators:
            return
        for operator in moves:
            prints = {output.fingerprint for output in operator.outputs}
            if len(prints) == len(operator.outputs) and not prints & values:  # nothing is computed twice
                larger = [*scope, *operator.outputs]
                last = len(graph) + 1 == operators
                more = [] if last else moves + world.moves(larger, len(operator.outputs))
                yield from build((*graph, operator), larger, values | prints, more)

    start = world.inputs
    yield from build((), start, frozenset(one.fingerprint for one in start), world.moves(start, len(start)))


def count_visits(space: Space, operators: int, *, seed: int = 0) -> list[int]:
    """Return how many graphs of 0, 1, ... operators are visited; nothing is kept."""
    counts = [0] * (operators + 1)
    for graph in visit(space, operators, seed=seed):
        counts[len(graph)] += 1
    return counts


def outputs(graph: Graph) -> list[Tensor]:
    """Return the tensors that no operator of the graph takes, by value."""
    taken = {operand for operator in graph for operand in operator.operands}
    found = [output for operator in graph for output in operator.outputs if output not in taken]
    return sorted(found, key=lambda tensor: tensor.fingerprint)


def equal_graphs(space: Space, operators: int, *, seed: int = 0) -> Iterator[tuple[Graph, Graph]]:
    """Yield the pairs of graphs with equal outputs that share no operator on inputs alone, each graph in one order."""
    groups: dict[int, dict[frozenset[Operator], Graph]] = defaultdict(dict)
    for graph in visit(space, operators, seed=seed):
        prints = np.array([output.fingerprint for output in outputs(graph)], dtype=np.uint64)
        groups[int(mix(prints).sum(dtype=np.uint64))].setdefault(frozenset(graph), graph)
    for group in groups.values():
        graphs = list(group.values())
        for i, one in enumerate(graphs):
            leaves = {operator for operator in one if operator.on_inputs}
            for other in graphs[i + 1 :]:
                if not leaves & {operator for operator in other if operator.on_inputs}:
                    yield one, other
