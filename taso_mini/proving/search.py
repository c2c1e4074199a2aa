"""Search for a proof: instances of axioms are added to an e-graph until two terms meet.

Paper: TASO §3, where Z3 searches. A round matches both sides of every axiom against the graph and adds the other side
of each match. Nothing is added that is not well defined wherever the rule is. Conditions of axioms must follow from
what is known there, unless the search is told to grant them; they then become conditions of the rule.

An axiom is used from a side only if that side mentions all of its variables; a side that is a variable alone is never
looked for.
"""

from __future__ import annotations

import ast
from collections import defaultdict
from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from taso_mini.axioms import Axiom
from taso_mini.proving.egraph import EGraph, Instance
from taso_mini.proving.ground import follows, ground_condition
from taso_mini.proving.symbolic_shapes import SymbolicShape, Unknown
from taso_mini.terms import Term, is_parameter_variable, parameter_variables, subterms, variables

Binding = dict[Hashable, Any]  # a variable → a node; a parameter variable → its value

MOST_NODES = 600  # proofs of rules of three operators need some 40
MOST_ROUNDS = 12


@dataclass(frozen=True)
class Way:
    """An axiom read in one direction."""

    axiom: Axiom
    pattern: Term
    result: Term


def ways(axioms: Sequence[Axiom]) -> dict[str, list[Way]]:
    """Return the directions in which axioms can be used, by the operator that they look for."""
    found: dict[str, list[Way]] = defaultdict(list)
    for axiom in axioms:
        for pattern, result in ((axiom.left, axiom.right), (axiom.right, axiom.left)):
            bound = set(variables(pattern)) >= set(variables(result)) and (
                set(parameter_variables(pattern)) >= set(parameter_variables(result))
            )
            if bound and not pattern.is_variable:
                found[pattern.operator].append(Way(axiom, pattern, result))
    return found


def matches(graph: EGraph, pattern: Term, node: int, binding: Binding) -> Iterator[Binding]:
    """Yield each way in which a pattern describes a node, with other nodes of their classes for its arguments."""
    term = graph.terms[node]
    if term.operator != pattern.operator or len(term.args) != len(pattern.args):
        return
    if pattern.params:
        extended = _bind_parameters(pattern, term, binding)
        if extended is None:
            return
        binding = extended
    found = [binding]
    for inner, argument in zip(pattern.args, graph.arguments(node), strict=True):
        found = [wider for narrow in found for wider in _matches_argument(graph, inner, argument, narrow)]
        if not found:
            return
    yield from found


def _matches_argument(graph: EGraph, pattern: Term, node: int, binding: Binding) -> Iterator[Binding]:
    if pattern.is_variable:
        known = binding.get(pattern)
        if known is None:
            yield {**binding, pattern: node}
        elif graph.find(known) == graph.find(node):
            yield binding
        return
    for member in graph.members(node):
        yield from matches(graph, pattern, member, binding)


def _bind_parameters(pattern: Term, term: Term, binding: Binding) -> Binding | None:
    """Extend a binding by the parameter variables of one operator, or return None when some value differs."""
    extended = dict(binding)
    for (name, wanted), (other, value) in zip(pattern.params, term.params, strict=True):
        if name != other:
            return None
        if is_parameter_variable(wanted):
            if extended.setdefault(wanted, value) != value:
                return None
        elif wanted != value:
            return None
    return extended


def instantiate(pattern: Term, terms: Binding) -> Term:
    """Return a pattern with terms for its variables and values for its parameter variables."""
    known: dict[Term, Term] = {}
    for node in subterms(pattern):
        if node.is_variable:
            known[node] = terms[node]
        else:
            params = tuple(
                (name, terms[value] if is_parameter_variable(value) else value) for name, value in node.params
            )
            known[node] = Term(node.operator, params, tuple(known[argument] for argument in node.args))
    return known[pattern]


class Search:
    """One attempt to make terms equal in an e-graph."""

    def __init__(
        self,
        graph: EGraph,
        directions: Mapping[str, Sequence[Way]],
        *,
        granting: bool = False,
        most_nodes: int = MOST_NODES,
    ) -> None:
        """Search in `graph`; with `granting`, axioms may be used whose conditions do not follow."""
        self._graph = graph
        self._directions = directions
        self._granting = granting
        self._most_nodes = most_nodes
        self._done: set[tuple[Hashable, ...]] = set()
        self._matched = -1  # when nodes were last matched
        self.refused = 0  # instances that are no use because their conditions, or sizes, are not known to fit

    def run(self, goals: Sequence[tuple[int, int]]) -> bool:
        """Add instances until every pair of nodes is equal; return whether they are.

        Gives up when nothing new can be added, or too much was.
        """
        for _ in range(MOST_ROUNDS):
            if self._reached(goals) or not self.step(goals):
                break
        return self._reached(goals)

    def _reached(self, goals: Sequence[tuple[int, int]]) -> bool:
        return all(self._graph.find(a) == self._graph.find(b) for a, b in goals)

    def step(self, goals: Sequence[tuple[int, int]]) -> bool:
        """Add every instance that matches now; return whether there was any, and whether there is room for more.

        Only what has changed is matched, two levels deep, as deep as the axioms are. When that tells nothing new,
        everything is matched once more, for axioms that are deeper.
        """
        first = self._matched < 0
        if self._add_matches(goals):
            return True
        self._matched = -1
        return not first and self._add_matches(goals)

    def _add_matches(self, goals: Sequence[tuple[int, int]]) -> bool:
        graph, changed = self._graph, False
        if len(graph.terms) > self._most_nodes:
            return False
        now = graph.clock
        found = [
            (way, binding)
            for operator, known in self._directions.items()
            for node in graph.changed_since(operator, self._matched)
            for way in known
            for binding in matches(graph, way.pattern, node, {})
        ]
        self._matched = now
        for way, binding in found:
            key = (
                id(way),
                *(graph.find(value) if isinstance(name, Term) else value for name, value in binding.items()),
            )
            if key in self._done:
                continue
            self._done.add(key)
            if self._add(way, binding):
                changed = True
            if changed and self._reached(goals) or len(graph.terms) > self._most_nodes:
                return changed
        return changed

    def _add(self, way: Way, binding: Binding) -> bool:
        """Add one instance; return whether it told anything new."""
        graph, axiom = self._graph, way.axiom
        nodes = {name.name: value for name, value in binding.items() if isinstance(name, Term)}

        def shape_of(expression: ast.expr) -> SymbolicShape:
            return graph.shape(nodes[ast.unparse(expression)])

        if not self._granting and not all(follows(c, graph.typing, shape_of) for c in axiom.conditions):
            self.refused += 1
            return False
        terms = {name: graph.terms[value] if isinstance(name, Term) else value for name, value in binding.items()}
        conditions = tuple(ground_condition(condition, terms) for condition in axiom.conditions)
        left, right = instantiate(axiom.left, terms), instantiate(axiom.right, terms)
        try:
            return graph.unite(Instance(axiom.name, left, right, conditions))
        except Unknown:
            self.refused += 1
            return False
