"""The cheapest choice for many variables of which each term of a sum looks at a few: variable elimination.

A `Table` gives a cost for every combination of its variables' choices. To minimise a sum of tables, take a variable,
add up the tables that mention it, keep the best of its choices for every combination of the others, and go on without
it; afterwards walk back. Variables whose summed table is small come first. The result is exact, and cheap where the
variables hang together like the values of a network: along its edges.

>>> chain = [Table(("a",), np.array([0.0, 1.0])), Table(("a", "b"), np.array([[5.0, 9.0], [2.0, 7.0]]))]
>>> minimize(chain)
({'a': 1, 'b': 0}, 3.0)
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

LARGEST = 1 << 22  # entries of a table; beyond it a variable is fixed instead


@dataclass(frozen=True, eq=False)
class Table:
    """Costs by the choices of some variables, one axis for each."""

    variables: tuple[str, ...]
    costs: np.ndarray

    def aligned(self, variables: Sequence[str]) -> np.ndarray:
        """Return the costs with an axis for each of more variables, in their order."""
        order = sorted(range(len(self.variables)), key=lambda axis: variables.index(self.variables[axis]))
        own = {self.variables[axis]: self.costs.shape[axis] for axis in order}
        return self.costs.transpose(order).reshape([own.get(name, 1) for name in variables])


def minimize(tables: Sequence[Table], largest: int = LARGEST) -> tuple[dict[str, int], float]:
    """Return the best choice of every variable, and the sum.

    largest: where a table would have more entries, the variable with most neighbours takes the choice that would be
        best if all others followed it; the result is then good, no more.
    """
    sizes = {name: extent for t in tables for name, extent in zip(t.variables, t.costs.shape, strict=True)}
    left: dict[str, dict[Table, None]] = {name: {} for name in sizes}
    total = sum(_enter(table, left) for table in tables)
    scores = {name: _score(name, left, sizes) for name in left}
    decided: list[tuple[str, tuple[str, ...], np.ndarray]] = []
    while left:
        name = min(scores, key=scores.__getitem__)
        if scores[name] <= largest:
            around = tuple(_neighbours(name, left))
            costs = _summed((name, *around), left[name])
            decided.append((name, around, np.argmin(costs, axis=0)))
            rest = [Table(around, np.min(costs, axis=0))]
        else:
            name = max(left, key=lambda n: len(_neighbours(n, left)))
            around = tuple(_neighbours(name, left))
            best = np.asarray(np.argmin(sum(_alone(name, table) for table in left[name])))
            decided.append((name, (), best))
            rest = [_without(name, table, int(best)) for table in left[name]]
        for table in left.pop(name):
            for other in table.variables:
                if other != name:
                    del left[other][table]
        del scores[name]
        total += sum(_enter(table, left) for table in rest)
        scores.update({other: _score(other, left, sizes) for other in around})
    choice: dict[str, int] = {}
    for name, around, bests in reversed(decided):
        choice[name] = int(bests[tuple(choice[other] for other in around)])
    return {name: choice[name] for name in sizes}, total


def _enter(table: Table, left: dict[str, dict[Table, None]]) -> float:
    """Hang a table on its variables; return the cost of one that has none."""
    for name in table.variables:
        left[name][table] = None
    return 0.0 if table.variables else float(table.costs)


def _neighbours(name: str, left: dict[str, dict[Table, None]]) -> list[str]:
    return [other for other in dict.fromkeys(v for table in left[name] for v in table.variables) if other != name]


def _score(name: str, left: dict[str, dict[Table, None]], sizes: dict[str, int]) -> int:
    return math.prod(sizes[other] for other in (name, *_neighbours(name, left)))


def _summed(variables: tuple[str, ...], tables: Iterable[Table]) -> np.ndarray:
    result = np.zeros((1,) * len(variables))
    for table in tables:
        result = result + table.aligned(variables)
    return result


def _alone(name: str, table: Table) -> np.ndarray:
    """Return the least cost of each choice of one variable."""
    others = tuple(axis for axis, other in enumerate(table.variables) if other != name)
    return np.asarray(np.min(table.costs, axis=others))


def _without(name: str, table: Table, choice: int) -> Table:
    """Return a table after one of its variables has made its choice."""
    axis = table.variables.index(name)
    return Table(table.variables[:axis] + table.variables[axis + 1 :], np.take(table.costs, choice, axis=axis))
