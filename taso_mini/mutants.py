"""Mutants of true rules, nearly all of them untrue: what verifiers must be able to tell apart.

A mutant is a rule with one change at one place of its target: two operands exchanged (`swap`), one variable in place of
another (`variable`), an operator replaced by one of its operands (`drop`), another axis or permutation (`axis`), or
another value of a parameter (`parameter`). Exchanging the operands of a commutative operator is no change.

>>> from taso_mini.rules_text import parse_rules
>>> rule, = parse_rules('''
... rule products-side-by-side
...   variables x1: matrix, x2: matrix, x3: matrix
...   source    concat(matmul(x1, x2), matmul(x1, x3), axis=1)
...   target    matmul(x1, concat(x2, x3, axis=1))
... ''')
>>> for mutant in mutants(rule)[:4]:
...     print(f"{mutant.change:10} {mutant.rule.target[0]}")
swap       matmul(concat(x2, x3, axis=1), x1)
drop       x1
drop       concat(x2, x3, axis=1)
variable   matmul(x2, concat(x2, x3, axis=1))
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from taso_mini.operator_set import OPERATORS
from taso_mini.terms import Substitution, Term, is_parameter_variable

CHANGES = ("swap", "variable", "drop", "axis", "parameter")
_AXES = ("axis", "perm")
_VALUES: Mapping[str, Sequence[Hashable]] = {
    "axis": (0, 1),
    "perm": ((0, 1), (1, 0)),
    "strides": ((1, 1), (2, 1), (1, 2)),
    "dilations": ((1, 1), (1, 2)),
    "padding": ("same", (0, 0, 0, 0), (1, 1, 0, 0)),
    "activation": ("none", "relu"),
    "kernel": ((3, 3), (1, 3), (2, 2)),
}


@dataclass(frozen=True)
class Mutant:
    """A changed rule and what was changed."""

    rule: Substitution
    change: str


def _changed(node: Term, pool: Sequence[Term]) -> Iterator[tuple[str, Term]]:
    """Yield the changes of one operator or variable itself."""
    if node.is_variable:
        yield from (("variable", other) for other in pool if other is not node and other.kind == node.kind)
        return
    if len(node.args) > 1 and node.args[0] is not node.args[1] and not OPERATORS[node.operator].commutative:
        yield "swap", Term(node.operator, node.params, (node.args[1], node.args[0], *node.args[2:]))
    yield from (("drop", argument) for argument in dict.fromkeys(node.args))
    for name, value in node.params:
        for other in _VALUES.get(name, ()):
            if other != value and not (is_parameter_variable(value) and name in _AXES):
                params = tuple((key, other if key == name else old) for key, old in node.params)
                yield "axis" if name in _AXES else "parameter", Term(node.operator, params, node.args)


def _everywhere(root: Term, pool: Sequence[Term]) -> Iterator[tuple[str, Term]]:
    """Yield all terms with one change at one place; a subterm that occurs twice is two places."""
    yield from _changed(root, pool)
    for place, argument in enumerate(root.args):
        for change, other in _everywhere(argument, pool):
            yield change, Term(root.operator, root.params, (*root.args[:place], other, *root.args[place + 1 :]))


def mutants(rule: Substitution) -> list[Mutant]:
    """Return every different mutant of a rule."""
    found: dict[tuple[Term, ...], Mutant] = {rule.target: Mutant(rule, ""), rule.source: Mutant(rule, "")}
    for index, root in enumerate(rule.target):
        for change, other in _everywhere(root, rule.variables):
            target = (*rule.target[:index], other, *rule.target[index + 1 :])
            if target not in found:
                name = f"{rule.name}-mutant-{len(found) - 1}"
                found[target] = Mutant(replace(rule, name=name, target=target, proof=""), change)
    return [mutant for mutant in found.values() if mutant.change]


def draw_mutants(rules: Sequence[Substitution], count: int, *, rng: np.random.Generator) -> list[Mutant]:
    """Return about `count` mutants: evenly from all rules, and from each rule's changes in turn.

    Rules with few possible mutants give all of them; others then give more.
    """
    left = []
    for rule in rules:
        by_change: dict[str, list[Mutant]] = {}
        for mutant in mutants(rule):
            by_change.setdefault(mutant.change, []).append(mutant)
        groups = [[group[int(i)] for i in rng.permutation(len(group))] for group in by_change.values()]
        order = rng.permutation(len(groups))
        rounds = range(max(map(len, groups), default=0))
        left.append([groups[int(g)][turn] for turn in rounds for g in order if turn < len(groups[int(g)])])
    chosen: list[Mutant] = []
    for turn in range(max(map(len, left), default=0)):
        for queue in left:
            if turn < len(queue) and len(chosen) < count:
                chosen.append(queue[turn])
    return chosen
