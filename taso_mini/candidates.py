"""Candidate rules over the published operators, as terms.

Paper: TASO §2.2. The arrays of `taso_mini.enumeration` become pairs of terms: equal graphs that share no operator on
inputs, and *reductions*, terms that equal one of their own inputs or subterms and are therefore in no graph.

>>> pairs = published_candidates(2, seed=0)
>>> from taso_mini.canonical import canonical, show_pair
>>> "transpose(transpose(x1, perm=(1, 0)), perm=(1, 0)) = x1" in {show_pair(canonical(pair)) for pair in pairs}
True
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from concurrent.futures import Executor
from pathlib import Path

from taso_mini.canonical import Pair
from taso_mini.enumeration.last_level import Plan
from taso_mini.enumeration.search import Candidates, Progress, search
from taso_mini.enumeration.space import Template, published
from taso_mini.enumeration.term_table import NONE, PAD, TermTable
from taso_mini.terms import Term, variable

_RESTRICTIONS = {
    "conv": ("kernel",),
    "concat": ("rank",),
    "transpose": ("copy",),
    "Imatmul": ("dims",),
    "Iewmul": ("dims",),
}


class TermReader:
    """Reads terms off a table."""

    def __init__(self, table: TermTable) -> None:
        self.table = table
        self._known: dict[int, Term] = {}

    def term(self, tensor: int) -> Term:
        """Return the term that computes a tensor."""
        if tensor not in self._known:
            table, inputs = self.table, self.table.space.inputs
            if tensor < len(inputs):
                self._known[tensor] = variable(inputs[tensor].name, inputs[tensor].kind)
            else:
                node = table.node[tensor]
                arguments = [int(a) for a in table.arguments[node] if a != NONE]
                self._known[tensor] = self.application(int(table.template[node]), arguments, int(table.slot[tensor]))
        return self._known[tensor]

    def application(self, template: int, arguments: Sequence[int], slot: int) -> Term:
        """Return the term of one operator's output."""
        found = self.table.space.templates[template]
        operator = f"split{slot}" if found.operator == "split" else found.operator
        return Term(operator, _params(found), tuple(self.term(argument) for argument in arguments))


def _params(template: Template) -> Iterator[tuple[str, Hashable]]:
    """Yield an operator's parameters, without those that only restrict the enumeration."""
    for name, value in template.params:
        if template.operator in ("Cpool", "Iconv"):
            assert isinstance(value, tuple)
            yield "kernel", value[2:]
        elif name not in _RESTRICTIONS.get(template.operator, ()):
            yield name, value


def published_candidates(
    operators: int = 3,
    *,
    seed: int,
    variables: int = 4,
    representatives: bool = False,
    executor: Executor | None = None,
    folder: Path | None = None,
    progress: Progress | None = None,
) -> list[Pair]:
    """Return the equal pairs of at most so many operators a side over the published operators, reductions last.

    Args:
        operators: the largest number of operators of a side.
        seed: of the values that the terms are compared on.
        variables: inputs of each shape; the exchange law of concatenations needs four.
        representatives: build only upon the first term of each value; what is lost follows from other rules.
        executor: shares the enumeration, if given; the pairs do not depend on it.
        folder: where finished parts are kept, so that an interrupted enumeration goes on.
        progress: is told what is being done.
    """
    plan = Plan(published(variables, surrogates="sound"), operators, representatives, seed)
    return list(candidates_of(search(plan, executor=executor, folder=folder, progress=progress)))


def candidates_of(found: Candidates) -> Iterator[Pair]:
    """Yield the pairs and reductions of a search."""
    table, pairs = found.table, found.pairs
    reader = TermReader(table)
    for outputs, results in zip(pairs.outputs, pairs.results, strict=True):
        present = outputs != PAD
        yield (
            tuple(reader.term(int(t)) for t in outputs[present]),
            tuple(reader.term(int(t)) for t in results[present]),
        )
    for template, first, second, slot, equal in found.reductions:
        whole = reader.application(template, [a for a in (first, second) if a != NONE], slot)
        yield (whole,), (reader.term(equal),)
