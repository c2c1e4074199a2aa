"""Derive a rule from others: a short chain of applications that leads from its source to its target.

Paper: TASO §4 prunes by renaming and common subgraphs only; with four operators most rules follow from smaller ones in
other ways. A derivation is shown by its chain, and `check` follows a chain step by step without searching.

    state           the outputs of one side, all at once, operands of commutative operators sorted;
    application     one rule, forwards or backwards, at one place; a rule with several outputs replaces all of them or,
                    since each output is an equation of its own, one. Every use of the place is replaced.
    free variables  a variable that the replacement alone uses may be any subterm of the two sides.
    growth          a rule that replaces any tensor, x by x @ Imatmul, is tried if a side has its operators already.

The search goes from both sides and meets in the middle, so two applications cost one round from each side.

>>> from taso_mini.rules_text import parse_rules
>>> rules = parse_rules('''
... rule associates
...   variables x: tensor, y: tensor, z: tensor
...   source    add(add(x, y), z)
...   target    add(x, add(y, z))
... ''')
>>> x, y, z = rules[0].variables
>>> chain = Deriver(rules).derive(((Term("add", (), (Term("add", (), (x, y)), z)),),
...                                (Term("add", (), (Term("add", (), (x, z)), y)),)))
>>> print(chain)
add(add(x, y), z)
= add(add(x, z), y)  by associates
"""

from __future__ import annotations

import itertools
import re
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from taso_mini.canonical import Pair, sort_operands
from taso_mini.instances import Binding, apply_binding, matches
from taso_mini.terms import Term, operator_count, parameter_variables, subterms, variables

State = tuple[Term, ...]
Legal = Callable[[State], bool]
_ROOM = 2  # a state may have so many operators more than the larger side
_FREE = 2  # an application that invents more variables than that is left out


class Law(Protocol):
    """What can be applied: a `Substitution`, or an undirected rule whose sides need not bind each other's variables."""

    @property
    def name(self) -> str: ...  # noqa: D102

    @property
    def source(self) -> State: ...  # noqa: D102

    @property
    def target(self) -> State: ...  # noqa: D102

    @property
    def conditions(self) -> tuple[str, ...]: ...  # noqa: D102


@dataclass(frozen=True)
class Identity:
    """A named undirected rule."""

    name: str
    source: State
    target: State
    conditions: tuple[str, ...] = ()


@dataclass(frozen=True)
class Equation:
    """One direction of a rule, for all of its outputs or one.

    Attributes:
        outputs: which outputs of the rule are replaced.
        needs: operators without which the pattern cannot occur.
        free: variables that the replacement alone uses.
        makes: operators of the replacement.
    """

    rule: Law
    forward: bool
    outputs: tuple[int, ...]
    pattern: State
    replacement: State
    needs: frozenset[str]
    free: tuple[Term, ...]
    makes: frozenset[str] = frozenset()


def equations(rule: Law) -> Iterator[Equation]:
    """Yield what a rule allows to replace, both ways; parameters must be known from the pattern."""
    every = tuple(range(len(rule.source)))
    for outputs in dict.fromkeys([every, *((i,) for i in every)]):
        for forward in (True, False):
            old, new = (rule.source, rule.target) if forward else (rule.target, rule.source)
            pattern, replacement = tuple(old[i] for i in outputs), tuple(new[i] for i in outputs)
            needs, makes = (
                frozenset(node.operator for node in subterms(*side) if not node.is_variable)
                for side in (pattern, replacement)
            )
            free = tuple(v for v in variables(*replacement) if v not in variables(*pattern))
            if len(free) <= _FREE and set(parameter_variables(*replacement)) <= set(parameter_variables(*pattern)):
                yield Equation(rule, forward, outputs, pattern, replacement, needs, free, makes)


@dataclass(frozen=True)
class Step:
    """One application: the outputs before and after, and what was put in which place."""

    equation: Equation
    binding: tuple[tuple[Hashable, Hashable], ...]
    before: State
    after: State
    places: State
    replacements: State

    def reversed(self) -> Step:
        """Return the same application the other way round."""
        e = self.equation
        back = Equation(e.rule, not e.forward, e.outputs, e.replacement, e.pattern, e.needs, ())
        return Step(back, self.binding, self.after, self.before, self.replacements, self.places)

    @property
    def holds(self) -> bool:
        """Whether places and replacements are the two sides of the rule, and the states differ in them alone."""
        e, binding = self.equation, dict(self.binding)
        old, new = (e.rule.source, e.rule.target) if e.forward else (e.rule.target, e.rule.source)
        sides = all(
            sort_operands(apply_binding(old[i], binding)) is place
            and sort_operands(apply_binding(new[i], binding)) is replacement
            for i, place, replacement in zip(e.outputs, self.places, self.replacements, strict=True)
        )
        there = dict(zip(self.places, self.replacements, strict=True))
        back = dict(zip(self.replacements, self.places, strict=True))
        return sides and (replace(self.before, there) == self.after or replace(self.after, back) == self.before)

    @property
    def conditions(self) -> tuple[str, ...]:
        """The rule's conditions, with what its variables stand for here."""
        names = {v.name: str(t) for v, t in self.binding if isinstance(v, Term)}
        names |= {str(name): str(value) for name, value in self.binding if not isinstance(name, Term)}
        return tuple(
            re.sub(r"\b[a-z]\w*\b", lambda word: names.get(word[0], word[0]), condition)
            for condition in self.equation.rule.conditions
        )

    def __str__(self) -> str:
        """Return the rule's name, and `backwards` where it is used from target to source."""
        return self.equation.rule.name + ("" if self.equation.forward else " backwards")


@dataclass(frozen=True)
class Chain:
    """Applications, one after the other, that make `source` into `target`."""

    source: State
    target: State
    steps: tuple[Step, ...]

    @property
    def conditions(self) -> tuple[str, ...]:
        """What all steps together ask for."""
        return tuple(dict.fromkeys(condition for step in self.steps for condition in step.conditions))

    def __str__(self) -> str:
        """Return one line per state, with the rule that leads to it."""
        lines = [_show(self.source)]
        lines += [f"= {_show(step.after)}  by {step}" for step in self.steps]
        return "\n".join(lines)


def _show(state: State) -> str:
    return ", ".join(map(str, state))


def replace(state: State, new: Mapping[Term, Term]) -> State:
    """Return the outputs with some subterms replaced wherever they are used, operands sorted again."""
    done: dict[Term, Term] = {}
    for node in subterms(*state):
        found = new.get(node)
        done[node] = found or Term(node.operator, node.params, tuple(done[argument] for argument in node.args))
    return normal(tuple(done[root] for root in state))


def normal(state: State) -> State:
    """Return the outputs with the operands of commutative operators sorted."""
    return tuple(map(sort_operands, state))


def check(chain: Chain) -> bool:
    """Whether each step holds and leads from where the one before it ended, from the source to the target."""
    at = normal(chain.source)
    for step in chain.steps:
        if step.before != at or not step.holds:
            return False
        at = step.after
    return at == normal(chain.target)


class Deriver:
    """Rules, ready to be applied to terms in both directions."""

    def __init__(self, rules: Sequence[Law] = ()) -> None:
        self._by_root: dict[str, list[Equation]] = defaultdict(list)
        for rule in rules:
            self.add(rule)

    def add(self, rule: Law) -> None:
        """Allow one more rule."""
        for equation in equations(rule):
            self._by_root[equation.pattern[0].operator].append(equation)

    def derive(self, pair: Pair, *, applications: int = 2, legal: Legal | None = None) -> Chain | None:
        """Return the shortest chain of at most so many applications, or None.

        Args:
            pair: the rule's two sides.
            applications: how many rules may be applied.
            legal: whether a state in between may be used, e.g. is defined for the shapes the rule is about.
        """
        ends = normal(pair[0]), normal(pair[1])
        fillers = tuple(dict.fromkeys(subterms(*ends[0], *ends[1])))
        largest = max(operator_count(*end) for end in ends) + _ROOM
        known: tuple[dict[State, Step | None], ...] = ({ends[0]: None}, {ends[1]: None})
        edges = [[ends[0]], [ends[1]]]
        for count in range(applications + 1):
            met = next((state for state in edges[(count + 1) % 2] if state in known[0] and state in known[1]), None)
            if met is not None:
                chain = Chain(pair[0], pair[1], _path(known, met))
                assert check(chain), f"a derivation that does not hold:\n{chain}"
                return chain
            side, reached = count % 2, []
            if count == applications:
                break
            for state in edges[side]:
                for step in self.applications(state, fillers, largest):
                    if step.after not in known[side] and (legal is None or step.after in ends or legal(step.after)):
                        known[side][step.after] = step
                        reached.append(step.after)
            edges[side] = reached
        return None

    def applications(self, state: State, fillers: Sequence[Term], largest: int) -> Iterator[Step]:
        """Yield every application to a state that leads to another one of at most `largest` operators."""
        nodes = list(subterms(*state))
        present = {node.operator for node in nodes}
        familiar = {filler.operator for filler in fillers} | present
        for node in nodes:
            for equation in itertools.chain(
                self._by_root[node.operator], self._by_root["input"] if not node.is_variable else ()
            ):
                if equation.needs <= present and (equation.needs or equation.makes <= familiar):
                    for binding, places in _places(equation.pattern, node, nodes):
                        yield from _apply(equation, state, binding, places, fillers, largest)


def _places(pattern: State, first: Term, nodes: Sequence[Term]) -> Iterator[tuple[Binding, State]]:
    """Yield where the outputs of a pattern occur when its first one is at a given node."""
    for others in itertools.product(nodes, repeat=len(pattern) - 1):
        if len({first, *others}) == len(pattern):
            for binding in matches(pattern, [first, *others]):
                yield binding, (first, *others)


def _apply(
    equation: Equation, state: State, binding: Binding, places: State, fillers: Sequence[Term], largest: int
) -> Iterator[Step]:
    for filling in itertools.product(fillers, repeat=len(equation.free)):
        full: Binding = {**binding, **{v: t for v, t in zip(equation.free, filling, strict=True)}}
        new = normal(tuple(apply_binding(root, full) for root in equation.replacement))
        after = replace(state, dict(zip(places, new, strict=True)))
        if after != state and operator_count(*after) <= largest:
            yield Step(equation, tuple(full.items()), state, after, places, new)


def _path(known: Sequence[Mapping[State, Step | None]], met: State) -> tuple[Step, ...]:
    """Join the steps from the source to a state and those from the target, reversed."""
    halves: list[list[Step]] = []
    for side in known:
        steps, at = [], met
        while (step := side[at]) is not None:
            steps.append(step)
            at = step.before
        halves.append(steps)
    return (*reversed(halves[0]), *(step.reversed() for step in halves[1]))
