"""Drop candidate rules that other candidates make superfluous.

Paper: TASO §4. Four steps, each counted in the funnel that `generate` prints:

1. `canonical` gives a rule a normal form: the kind of each variable is the least that the operators ask for, variables
   are renamed, operands of commutative operators and outputs are sorted. Equal normal forms are one rule.
2. `shares_output_operator`: both sides end in the same operator and differ in one operand at most; that operand's own
   rule, one operator smaller, does the same. (Common subgraphs at the inputs are dropped by the generator already.)
3. `drop_instances`: a rule that another one becomes with terms in place of its variables is dropped; two variables may
   be given the same term.
4. `drop_consequences`: a rule that Z3 proves from smaller kept rules is dropped, unless it saves an expensive operator.
"""

from __future__ import annotations

import itertools
from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Iterable, Sequence

from taso_mini.axioms import AXIOMS, Axiom
from taso_mini.generator import SIGNATURES, Pair
from taso_mini.operator_set import OPERATORS
from taso_mini.terms import (
    Term,
    is_parameter_variable,
    parameter_variables,
    rewrite,
    substitute,
    subterms,
    variable,
    variables,
)
from taso_mini.verifier import Verifier

EXPENSIVE = ("matmul", "conv", "conv_bias", "avg_pool", "max_pool")
LETTERS = {"image": "x", "matrix": "x", "tensor": "x", "kernel": "w", "vector": "v", "scalar": "c"}


def least_kinds(roots: Sequence[Term], kinds: dict[Term, str] | None = None) -> dict[Term, str]:
    """Return each variable's kind: what some operator asks for directly or through others, else `tensor`.

    >>> x, w = variable("x", "image"), variable("w", "kernel")
    >>> kinds = least_kinds([Term("relu", (), (x,)), Term("smul", (), (w, variable("c", "scalar")))])
    >>> sorted(kinds.values())
    ['scalar', 'tensor', 'tensor']
    """
    parent: dict[Term, Term] = {}
    wanted: dict[Term, str] = {}

    def find(node: Term) -> Term:
        while parent.setdefault(node, node) is not node:
            node = parent[node]
        return node

    def join(a: Term, b: Term) -> None:
        a, b = find(a), find(b)
        if a is not b:
            parent[a] = b
            if a in wanted:
                wanted.setdefault(b, wanted[a])

    for node in subterms(*roots):
        if node.is_variable:
            find(node)
            continue
        asked, gives = SIGNATURES[node.operator]
        for want, other in [*zip(asked, node.args, strict=True), (gives, node)]:
            if want == "*":
                join(other, node)
            else:
                wanted.setdefault(find(other), want)
    return {v: wanted.get(find(v), "tensor") for v in variables(*roots)}


def _skeleton(root: Term) -> str:
    """Return the term's text without the variables' names."""
    return str(substitute(root, {v: variable("_", v.kind) for v in variables(root)}))


def _sorted_operands(root: Term, key: Callable[[Term], str]) -> Term:
    def change(node: Term) -> Term | None:
        if not node.is_variable and OPERATORS[node.operator].commutative:
            return Term(node.operator, node.params, sorted(node.args, key=key))
        return None

    return rewrite(root, change)


def canonical(pair: Pair) -> Pair:
    """Return the normal form of an undirected rule.

    Among all namings x1, x2, ... of the variables of each kind, with commutative operands, outputs and finally the two
    sides in text order, the one with the smallest text is taken.
    """
    roots = [*pair[0], *pair[1]]
    kinds = least_kinds(roots)
    by_letter: dict[str, list[Term]] = defaultdict(list)
    for v in variables(*roots):
        by_letter[LETTERS[kinds[v]]].append(v)
    best: tuple[str, Pair] | None = None
    for order in itertools.product(*(itertools.permutations(group) for group in by_letter.values())):
        naming = {v: variable(f"{letter}{i}", kinds[v])
                  for letter, group in zip(by_letter, order, strict=True) for i, v in enumerate(group, start=1)}
        form = _arranged(pair, naming)
        text = str([[str(output) for output in side] for side in form])
        if best is None or text < best[0]:
            best = text, form
    assert best is not None
    return best[1]


def _arranged(pair: Pair, naming: dict[Term, Term]) -> Pair:
    outputs = [tuple(_sorted_operands(substitute(output, naming), str) for output in matching)
               for matching in zip(*pair, strict=True)]
    sides = []
    for flip in (False, True):
        ordered = sorted((o[::-1] if flip else o for o in outputs), key=lambda o: (str(o[0]), str(o[1])))
        sides.append((tuple(o[0] for o in ordered), tuple(o[1] for o in ordered)))
    return min(sides, key=lambda side: [list(map(str, outputs)) for outputs in side])


def shares_output_operator(pair: Pair) -> bool:
    """Whether both sides end in one common operator with at most one differing operand.

    >>> x, y, z = (variable(name, "tensor") for name in "xyz")
    >>> left, right = (Term("add", (), (Term("relu", (), (a,)), z)) for a in (x, y))
    >>> shares_output_operator(((left,), (right,)))
    True
    """
    lasts = [_last_operator(side) for side in pair]
    if lasts[0] is None or lasts[1] is None or lasts[0][:2] != lasts[1][:2]:
        return False
    operator, _, left = lasts[0]
    right = lasts[1][2]
    if operator in OPERATORS and OPERATORS[operator].commutative:
        return sum((Counter(left) - Counter(right)).values()) <= 1
    return sum(a is not b for a, b in zip(left, right, strict=True)) <= 1


def _last_operator(side: Sequence[Term]) -> tuple[str, object, tuple[Term, ...]] | None:
    """Return the operator that gives all of a side's outputs, or None when several do."""
    first = side[0]
    if len(side) == 1:
        return None if first.is_variable else (first.operator, first.params, first.args)
    split = {node.operator for node in side} == {"split0", "split1"} and side[0].args == side[1].args
    return ("split", first.params, first.args) if split and side[0].params == side[1].params else None


def drop_instances(pairs: Iterable[Pair]) -> list[Pair]:
    """Keep the rules that are not another rule with terms in place of its variables; return them, small ones first.

    >>> x, y = (variable(name, "tensor") for name in "xy")
    >>> def left_half(a, b):
    ...     return (Term("split0", [("axis", 0)], [Term("concat", [("axis", 0)], [a, b])]),), (a,)
    >>> kept = drop_instances([left_half(Term("relu", (), [x]), y), left_half(x, x), left_half(x, y)])
    >>> kept == [left_half(x, y)]
    True
    """
    kept: dict[tuple[str, ...], list[Pair]] = defaultdict(list)
    for pair in sorted(pairs, key=_general_first):
        roots = [{output.operator, "input"} for side in pair for output in side]
        keys = {tuple(sorted(choice)) for choice in itertools.product(*roots)}
        if not any(_is_instance(pair, other) for key in sorted(keys) for other in kept[key]):
            kept[tuple(sorted(output.operator for side in pair for output in side))].append(pair)
    return sorted((pair for group in kept.values() for pair in group), key=_general_first)


def _general_first(pair: Pair) -> tuple[int, int, int, str]:
    size = sum(1 for side in pair for root in side for node in _occurrences(root) if not node.is_variable)
    roots = [*pair[0], *pair[1]]
    text = str([[str(output) for output in side] for side in pair])
    return size, -len(variables(*roots)), -len(parameter_variables(*roots)), text


def _occurrences(root: Term) -> Iterable[Term]:
    yield root
    for argument in root.args:
        yield from _occurrences(argument)


def drop_consequences(pairs: Iterable[Pair]) -> list[Pair]:
    """Drop rules with one output that follow from smaller ones and leave the number of expensive operators alone.

    The optimizer reaches what they do in several steps of equal cost. A rule that changes the number of convolutions,
    matrix products or pools is kept, because its single steps may cost more than the search allows.
    """
    verifier = Verifier([axiom for axiom in AXIOMS if axiom.name.endswith("-commutes")], effort=300_000)
    kept = []
    for number, pair in enumerate(pairs):
        old, new = pair[0][0], pair[1][0]
        balanced = len({sum(_count(side)[operator] for operator in EXPENSIVE) for side in pair}) == 1
        if len(pair[0]) == 1 and balanced and verifier.prove([old], [new]).verdict == "proved":
            continue
        kept.append(pair)
        if len(pair[0]) == 1 and set(variables(old)) == set(variables(new)):
            verifier.add(Axiom(f"rule-{number}", old, new))
    return kept


def _count(side: Sequence[Term]) -> Counter[str]:
    return Counter(node.operator for root in side for node in _occurrences(root))


def _is_instance(pair: Pair, general: Pair) -> bool:
    """Whether variables of `general` can be replaced by terms to give `pair`, in either direction."""
    if len(pair[0]) != len(general[0]):
        return False
    for first, second in (general, general[::-1]):
        for order in itertools.permutations(range(len(first))):
            patterns = [first[i] for i in order] + [second[i] for i in order]
            if _match(patterns, [*pair[0], *pair[1]], {}):
                return True
    return False


def _match(patterns: Sequence[Term], terms: Sequence[Term], bound: dict[Hashable, Hashable]) -> bool:
    """Match patterns against terms in order, commutative operands in either order."""
    if not patterns:
        return True
    pattern, term, rest = patterns[0], terms[0], (patterns[1:], terms[1:])
    if pattern.is_variable:
        fits = not term.is_variable or pattern.kind in (term.kind, "tensor")
        return fits and bound.get(pattern, term) is term and _match(*rest, {**bound, pattern: term})
    if pattern.operator != term.operator:
        return False
    for (_, wanted), (_, value) in zip(pattern.params, term.params, strict=True):
        if bound.get(wanted, value if is_parameter_variable(wanted) else wanted) != value:
            return False
        bound = {**bound, wanted: value}
    orders = [term.args]
    if OPERATORS[term.operator].commutative:
        orders.append(term.args[::-1])
    return any(_match([*pattern.args, *rest[0]], [*arguments, *rest[1]], bound) for arguments in orders)
