"""The joint normal form of a rule's two sides: rules that differ in names and order only have the same one.

Paper: TASO §4. Both sides share their variables, so a form must be chosen for the pair: one for each side on its own
would give both sides of (a·s)⊙b = (b·s)⊙a one name, and the rule would be lost. Equal forms are one rule up to

    names of variables     within a kind (or, `blind`, of any kind), never two variables made one;
    operand order          of commutative operators, at any depth;
    order of outputs, and which side is the source.

1. Give each variable a colour: the text of the whole rule in which that variable is marked and the others are blank.
2. Name the variables in the order of the colours; among those of equal colour try every order.
3. Take the smallest text. Mostly there is but one order to try, where trying all namings would be hundreds.
"""

from __future__ import annotations

import itertools
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from taso_mini.kinds import LETTERS, least_kinds
from taso_mini.operator_set import OPERATORS
from taso_mini.terms import Substitution, Term, rewrite, substitute, variable, variables

Pair = tuple[tuple[Term, ...], tuple[Term, ...]]  # the two sides of a rule, output by output


def pair_of(rule: Substitution) -> Pair:
    """Return the rule's two sides."""
    return rule.source, rule.target


def commutes(operator: str) -> bool:
    """Whether the operator's two operands may be exchanged."""
    return operator in OPERATORS and OPERATORS[operator].commutative


def sort_operands(root: Term, key: Callable[[Term], str] = str) -> Term:
    """Return the term with the operands of commutative operators in the order of `key`, at every depth.

    >>> x, y = variable("x", "tensor"), variable("y", "tensor")
    >>> print(sort_operands(Term("add", (), (y, Term("mul", (), (y, x))))))
    add(mul(x, y), y)
    """

    def change(node: Term) -> Term | None:
        return Term(node.operator, node.params, sorted(node.args, key=key)) if commutes(node.operator) else None

    return rewrite(root, change)


def canonical(pair: Pair, *, blind: bool = False) -> Pair:
    """Return the normal form of an undirected rule; with `blind` without regard to the variables' kinds.

    The variables of the result are x1, x2, ... (w, v, c for kernels, vectors, scalars; t when blind), first used first.

    >>> a, b, s = (variable(name, kind) for name, kind in (("a", "tensor"), ("b", "tensor"), ("s", "scalar")))
    >>> left, right = (Term("mul", (), (Term("smul", (), (one, s)), other)) for one, other in ((a, b), (b, a)))
    >>> print(*(output for side in canonical(((left,), (right,))) for output in side), sep=" = ")
    mul(smul(x1, c1), x2) = mul(smul(x2, c1), x1)
    """
    kinds = least_kinds([*pair[0], *pair[1]])
    best = _best(pair, {} if blind else kinds)
    naming = {v: variable(name, "tensor" if blind else kinds[v]) for v, name in best.names.items()}

    def change(node: Term) -> Term | None:
        if commutes(node.operator):
            return Term(node.operator, node.params, sorted(node.args, key=str))
        return naming.get(node)

    sides = [[rewrite(pair[side][i], change) for i in best.order] for side in ((1, 0) if best.flipped else (0, 1))]
    counts: Counter[str] = Counter()
    final: dict[Term, Term] = {}
    for v in variables(*sides[0], *sides[1]):
        letter = v.name[0]
        counts[letter] += 1
        final[v] = variable(f"{letter}{counts[letter]}", v.kind)
    return tuple(substitute(root, final) for root in sides[0]), tuple(substitute(root, final) for root in sides[1])


def canonical_key(pair: Pair, *, blind: bool = False) -> str:
    """Return a text that two rules share exactly when their normal forms are equal; half the work of the form itself.

    >>> x, y = variable("x", "tensor"), variable("y", "tensor")
    >>> relu, add = Term("relu", (), (x,)), Term("add", (), (x, y))
    >>> canonical_key(((relu,), (add,))) == canonical_key(((Term("add", (), (x, y)),), (Term("relu", (), (y,)),)))
    True
    """
    return str(_best(pair, {} if blind else least_kinds([*pair[0], *pair[1]])).texts)


def show_pair(pair: Pair) -> str:
    """Return both sides as text."""
    left, right = (", ".join(map(str, side)) for side in pair)
    return f"{left} = {right}"


@dataclass(frozen=True)
class _Arrangement:
    """The outputs' texts under some names, in their smallest order."""

    texts: tuple[tuple[str, str], ...]
    order: tuple[int, ...]
    flipped: bool
    names: Mapping[Term, str]


def _arranged(pair: Pair, names: Mapping[Term, str]) -> _Arrangement:
    memo: dict[Term, str] = {}
    texts = [(_text(left, names, memo), _text(right, names, memo)) for left, right in zip(*pair, strict=True)]
    found = []
    for flipped in (False, True):
        sides = [text[::-1] for text in texts] if flipped else texts
        order = sorted(range(len(sides)), key=sides.__getitem__)
        found.append(_Arrangement(tuple(sides[i] for i in order), tuple(order), flipped, names))
    return min(found, key=lambda arrangement: arrangement.texts)


def _text(node: Term, names: Mapping[Term, str], memo: dict[Term, str]) -> str:
    """Return a term's text under other names of its variables, operands of commutative operators sorted."""
    if node.is_variable:
        return names[node]
    if node not in memo:
        parts = [_text(argument, names, memo) for argument in node.args]
        if commutes(node.operator):
            parts.sort()
        memo[node] = f"{node.operator}({','.join(parts)};{node.params})"
    return memo[node]


def _best(pair: Pair, kinds: Mapping[Term, str]) -> _Arrangement:
    """Return the arrangement of smallest text; variables without a kind are named t1, t2, ..."""
    letters = {v: LETTERS[kinds[v]] if v in kinds else "t" for v in variables(*pair[0], *pair[1])}
    return min((_arranged(pair, names) for names in _namings(pair, letters)), key=lambda found: found.texts)


def _namings(pair: Pair, letters: Mapping[Term, str]) -> Iterator[dict[Term, str]]:
    """Yield the namings by colour, in every order of the variables that have one colour."""
    groups: dict[tuple[str, tuple[tuple[str, str], ...]], list[Term]] = defaultdict(list)
    blank = {v: f"_{letter}" for v, letter in letters.items()}
    alone = {letter for letter, count in Counter(letters.values()).items() if count == 1}
    for v, letter in letters.items():
        groups[letter, () if letter in alone else _arranged(pair, {**blank, v: "*"}).texts].append(v)
    for order in itertools.product(*(itertools.permutations(groups[color]) for color in sorted(groups))):
        counts: Counter[str] = Counter()
        names: dict[Term, str] = {}
        for v in itertools.chain.from_iterable(order):
            counts[letters[v]] += 1
            names[v] = f"{letters[v]}{counts[letters[v]]}"
        yield names
