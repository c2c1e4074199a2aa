"""Find where the source of a substitution occurs in a graph.

Paper: TASO §5. A value is computed in one way, so a source term matches at a value or it does not: no backtracking.
For a rule with several outputs the second term is looked for among the users of what the first one has bound, not
among all pairs. `Matcher` keeps the rules by the operator at a source's root and the operators below it.

What a match does not know is whether the rule may fire: conditions, cuts and shapes are `substitution`'s affair.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from taso_mini.applications import Application
from taso_mini.graph_constants import NAMES as CONSTANTS
from taso_mini.graph_terms import READABLE
from taso_mini.search_graph import SearchGraph
from taso_mini.terms import (
    Substitution,
    Term,
    names_unique,
    substitute,
    subterms,
    variable,
    variables,
)
from taso_mini.unification import same, unify, wanted_of


@dataclass(slots=True, eq=False)
class Match:
    """Where a rule's source occurs: the value of each of its subterms, and of each parameter variable.

    roots: the values that the rule's outputs are, in order.  inner: the values that the source computes.
    """

    rule: Substitution
    values: Mapping[Term, str]
    params: Mapping[str, Hashable]
    roots: tuple[str, ...] = field(init=False)
    inner: frozenset[str] = field(init=False)

    def __post_init__(self) -> None:
        """Look up the outputs."""
        self.roots = tuple([self.values[root] for root in self.rule.source])
        self.inner = frozenset([value for node, value in self.values.items() if node.args])


@dataclass(frozen=True)
class _Climb:
    """How to reach further roots: from the value of `start`, `hops` times from a value to what is computed from it."""

    root: Term
    start: Term
    hops: int


@dataclass(frozen=True)
class Pattern:
    """A rule, begun at one of its outputs."""

    rule: Substitution
    first: Term
    rest: tuple[_Climb, ...]
    symmetric: bool


def patterns(rule: Substitution) -> tuple[Pattern, ...]:
    """Return the ways to begin matching a rule, one per output; none when its source has nothing to hold on to.

    That is so when an output is a bare variable, when two outputs share no subterm, and when the source has an operator
    that no graph node is read as.
    """
    if any(root.is_variable for root in rule.source) or not READABLE.union(CONSTANTS).issuperset(
        node.operator for node in subterms(*rule.source) if not node.is_variable
    ):
        return ()
    found = []
    for first in dict.fromkeys(rule.source):
        bound = set(subterms(first))
        rest: list[_Climb] = []
        waiting = [root for root in dict.fromkeys(rule.source) if root is not first]
        while waiting and (climb := next(filter(None, (_climb(root, bound) for root in waiting)), None)):
            rest.append(climb)
            bound |= set(subterms(climb.root))
            waiting.remove(climb.root)
        if not waiting:
            found.append(Pattern(rule, first, tuple(rest), _symmetric(rule)))
    return tuple(found)


def _symmetric(rule: Substitution) -> bool:
    """Whether two outputs may be exchanged, up to the variables' names: then one order of each pair is enough."""

    def named(roots: tuple[Term, ...]) -> tuple[Term, ...]:
        binding = {v: variable(f"#{i}", v.kind) for i, v in enumerate(variables(*roots))}
        return tuple(substitute(root, binding) for root in roots)

    return len(rule.source) == 2 and named(rule.source) == named(rule.source[::-1])


def _climb(root: Term, bound: set[Term]) -> _Climb | None:
    """Return the shortest way up to `root` from a bound subterm."""
    level, hops = {root: None}, 0
    while level:
        start = next((node for node in level if node in bound), None)
        if start is not None:
            return _Climb(root, start, hops)
        level, hops = dict.fromkeys(argument for node in level for argument in node.args), hops + 1
    return None


def depth(node: Term) -> int:
    """Return the number of operators on the longest path from the root to a leaf."""
    return 1 + max(map(depth, node.args)) if node.args else 0


def directed(rules: Iterable[Substitution]) -> tuple[Substitution, ...]:
    """Return the rules and, where the other direction binds every variable too, their reverses.

    >>> from taso_mini.rules_text import parse_rules
    >>> rule, = parse_rules('''
    ... rule relu-concat
    ...   variables x: tensor, y: tensor
    ...   source    relu(concat(x, y, axis=a))
    ...   target    concat(relu(x), relu(y), axis=a)
    ... ''')
    >>> print(*directed([rule]), sep="\\n")
    relu-concat: relu(concat(x, y, axis=a)) => concat(relu(x), relu(y), axis=a)
    relu-concat-reversed: concat(relu(x), relu(y), axis=a) => relu(concat(x, y, axis=a))
    """
    result: dict[tuple[tuple[Term, ...], tuple[Term, ...]], Substitution] = {}
    for rule in rules:
        result.setdefault((rule.source, rule.target), rule)
    for rule in tuple(result.values()):
        if set(variables(*rule.source)) <= set(variables(*rule.target)):
            try:
                back = Substitution(f"{rule.name}-reversed", rule.target, rule.source, rule.conditions, rule.proof)
            except ValueError:
                continue  # a parameter of the source does not occur in the target
            result.setdefault((back.source, back.target), back)
    return tuple(rule for rule in result.values() if patterns(rule))


class Matcher:
    """Rules prepared for matching."""

    def __init__(self, rules: Sequence[Substitution]) -> None:
        """Prepare the rules, each in the one direction it is written in.

        Raises: ValueError: two rules share a name.
        """
        names_unique(rules)
        self.rules = tuple(rules)
        self.depth = max((depth(root) for rule in rules for root in rule.source), default=0)
        self._by_rule = {rule.name: patterns(rule) for rule in rules}
        self._by_root: dict[str, list[Pattern]] = {}
        self._by_kinds: dict[tuple[int, ...], tuple[Pattern, ...]] = {}
        for pattern in (pattern for found in self._by_rule.values() for pattern in found):
            self._by_root.setdefault(pattern.first.operator, []).append(pattern)

    def matches_at(self, graph: SearchGraph, value: str, beyond: int = 0) -> Iterator[Match]:
        """Yield the matches of which `value` is one of the outputs.

        beyond: only those whose source has more than this many operators on a path that ends at `value`.
        """
        found = graph.application(value)
        if found is None or value in graph.values.constant:
            return
        application, args = found
        if (beyond, application.kind) not in self._by_kinds:
            self._by_kinds[beyond, application.kind] = tuple(self._candidates(beyond, application))
        if not self._by_kinds[beyond, application.kind]:
            return
        below = [have[0] if (have := graph.application(arg)) else None for arg in args]
        kinds = (beyond, application.kind, *[have.kind if have else -1 for have in below])
        if kinds not in self._by_kinds:
            self._by_kinds[kinds] = tuple(self._candidates(beyond, application, below))
        for pattern in self._by_kinds[kinds]:
            yield from _matches(graph, pattern, value)

    def matches_of(self, rule: str, graph: SearchGraph, value: str) -> Iterator[Match]:
        """Yield the matches of one rule, by name, of which `value` is one of the outputs."""
        if value not in graph.values.constant:
            for pattern in self._by_rule[rule]:
                yield from _matches(graph, pattern, value)

    def matches(self, graph: SearchGraph) -> Iterator[Match]:
        """Yield all matches, each as often as its rule has outputs."""
        for value in graph.producers:
            yield from self.matches_at(graph, value)

    def _candidates(
        self, beyond: int, application: Application, below: Sequence[Application | None] | None = None
    ) -> Iterator[Pattern]:
        """Yield the patterns that are deep enough and agree with an application and, if given, its arguments."""
        for pattern in self._by_root.get(application.operator, ()):
            params: dict[str, Hashable] = {}
            if depth(pattern.first) > beyond and same(wanted_of(pattern.first), application, params):
                arguments = [(wanted_of(arg), have) for arg, have in zip(pattern.first.args, below or ()) if arg.args]
                if all(have is not None and same(wanted, have, params) for wanted, have in arguments):
                    yield pattern


def _matches(graph: SearchGraph, pattern: Pattern, value: str) -> Iterator[Match]:
    values: dict[Term, str] = {}
    params: dict[str, Hashable] = {}
    if unify(graph, pattern.first, value, values, params):
        yield from _complete(graph, pattern, 0, values, params)


def _complete(
    graph: SearchGraph, pattern: Pattern, done: int, values: dict[Term, str], params: dict[str, Hashable]
) -> Iterator[Match]:
    """Match the remaining outputs of a pattern; all must be different values, and worth computing."""
    if done == len(pattern.rest):
        match = Match(pattern.rule, values, params)
        if not pattern.symmetric or match.roots[0] < match.roots[1]:
            yield match
        return
    climb = pattern.rest[done]
    reached: dict[str, None] = {values[climb.start]: None}
    for _ in range(climb.hops):
        reached = graph.above(reached)
    taken = {values[root] for root in pattern.rule.source if root in values}
    for value in reached:
        if value in taken or value in graph.values.constant:
            continue
        values_here, params_here = dict(values), dict(params)
        if unify(graph, climb.root, value, values_here, params_here):
            yield from _complete(graph, pattern, done + 1, values_here, params_here)
