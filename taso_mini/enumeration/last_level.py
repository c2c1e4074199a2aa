"""Terms of the largest size, made part by part: the level that holds nearly all terms.

Values are kept for terms of up to n - 2 operators; those of n - 1 are computed again for each part and forgotten. Of
the largest terms only the fingerprints and what they apply to what are kept, and of these only the ones whose value
some other term has. Parts are the same however many processes share them, so the result is the same too. A part that
was saved in a folder is read instead of made, which is how an interrupted run goes on.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from functools import lru_cache

import numpy as np

from taso_mini.enumeration.applications import Applications, across, every_application, join_all, tensors_of, upon
from taso_mini.enumeration.arrays import kept
from taso_mini.enumeration.growth import Terms, append, evaluate_all, grow, keep, no_reductions
from taso_mini.enumeration.joins import union
from taso_mini.enumeration.space import Space
from taso_mini.enumeration.surrogates import Array
from taso_mini.enumeration.term_table import NONE, TermTable

PARENTS = 1 << 14  # terms of the size below that one part extends
ACROSS = 16  # parts for the terms made from two much smaller ones


@dataclass(frozen=True)
class Plan:
    """What is enumerated: everything that its terms depend on.

    Attributes:
        space: inputs and operators.
        operators: the largest number of operators of a graph.
        representatives: build only upon the first term of each value; what is lost follows from other rules.
        seed: of the inputs' values.
    """

    space: Space
    operators: int
    representatives: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        """Check the number of operators."""
        if self.operators < 1:
            raise ValueError(f"operators: expected at least 1, got {self.operators}")


@dataclass
class Part:
    """Some terms of the largest size: what is applied to what, and the values' fingerprints.

    `others` are the fingerprints of second outputs, for the nodes that have two, in their order. `reductions` are
    those of `growth.Terms`.
    """

    template: Array
    first: Array
    second: Array
    outputs: Array
    fingerprints: Array
    others: Array
    reductions: Array

    def take(self, rows: Array) -> Part:
        """Return some of the terms, and all reductions."""
        two = np.flatnonzero(self.outputs == 2)
        others = self.others[np.isin(two, rows)]
        return Part(
            self.template[rows],
            self.first[rows],
            self.second[rows],
            self.outputs[rows],
            self.fingerprints[rows],
            others,
            self.reductions,
        )

    def sharing(self, values: Array) -> Array:
        """Return the rows all of whose fingerprints are among sorted values."""
        found = among(values, self.fingerprints)
        found[self.outputs == 2] &= among(values, self.others)
        return np.flatnonzero(found)


def among(values: Array, asked: Array) -> Array:
    """Return which numbers are among sorted values.

    >>> among(np.array([3, 5]), np.array([5, 4])).tolist()
    [True, False]
    """
    if not len(values):
        return np.zeros(len(asked), dtype=bool)
    order = np.argsort(asked)  # neighbours look at the same places of a long array
    found = np.zeros(len(asked), dtype=bool)
    found[order] = values[np.minimum(np.searchsorted(values, asked[order]), len(values) - 1)] == asked[order]
    return found


@lru_cache(maxsize=1)
def smaller_terms(plan: Plan) -> tuple[TermTable, Array]:
    """Return the table of all terms below the largest size, and the reductions among them; made once per process."""
    table = TermTable(plan.space, plan.seed, plan.operators)
    found = [no_reductions()]
    for size in range(1, plan.operators):
        kept = size <= max(plan.operators - 2, 1)
        found.append(grow(table, size, last=False, keep_values=kept, representatives=plan.representatives))
    return table, np.concatenate(found)


@lru_cache(maxsize=1)
def parents(plan: Plan) -> Array:
    """Return the nodes that have a tensor to build upon, of the size below the largest."""
    table, _ = smaller_terms(plan)
    below = table.level(plan.operators - 1)
    usable = table.usable[table.first[below]] | table.usable[table.first[below] + table.outputs[below] - 1]
    return below[usable].astype(np.int32)


def part_count(plan: Plan) -> int:
    """Return how many parts the largest size has."""
    return -(-len(parents(plan)) // PARENTS) + (ACROSS if plan.operators > 3 else 1 if plan.operators == 3 else 0)


def make_part(plan: Plan, number: int, folder: str | None = None) -> Part:
    """Return one part, from the folder if it is there, else made (and saved in the folder)."""
    return Part(**kept(folder, f"part-{number:05d}", lambda: vars(_make_part(plan, number))))


def _make_part(plan: Plan, number: int) -> Part:
    table, _ = smaller_terms(plan)
    size, nodes = plan.operators, parents(plan)
    upon_parts = -(-len(nodes) // PARENTS)
    if size == 1:
        terms = evaluate_all(table, every_application(table, 1, last=True))
    elif number >= upon_parts:
        count = part_count(plan) - upon_parts
        terms = evaluate_all(table, across(table, size, last=True, part=(number - upon_parts, count)))
    else:
        chosen = nodes[number * PARENTS : (number + 1) * PARENTS]
        stored, rows = table.stored(), table.row.copy()
        if size > 2 and table.row[table.first[chosen[0]]] == NONE:
            keep(table, chosen)
        terms = evaluate_all(table, [join_all(list(upon(table, tensors_of(table, chosen), last=True)), table.width)])
        table.forget(stored)
        table.row = rows
    done = terms.applications
    outputs = (1 + (terms.types[:, 1] != NONE)).astype(np.uint8)
    return Part(
        done.template,
        done.first,
        done.second,
        outputs,
        terms.fingerprints[:, 0],
        terms.fingerprints[outputs == 2, 1],
        terms.reductions,
    )


def enter(table: TermTable, part: Part, size: int) -> None:
    """Append the nodes of a part to the table."""
    first, second = (table.closure[table.node[np.where(one == NONE, 0, one)]] for one in (part.first, part.second))
    todo = Applications(part.template, part.first, part.second, union(first, second, table.width))
    types = np.where(np.arange(2) < part.outputs[:, None], 0, NONE)  # nothing will be built upon them
    prints = np.zeros((len(part.template), 2), dtype=np.uint64)
    prints[:, 0], prints[part.outputs == 2, 1] = part.fingerprints, part.others
    append(table, Terms(todo, types, prints, part.reductions), size, keep_values=False)


def joined(parts: list[Part]) -> Part:
    """Return parts one after the other."""
    return Part(*(np.concatenate([getattr(part, one.name) for part in parts]) for one in fields(Part)))
