"""Generalise rules whose two sides share an operator, at their inputs or at their outputs.

Paper: TASO §4, Fig. 4. Two forms, both without regard to operand order:

    at the inputs     both sides apply one operator to the same inputs; its value may be any tensor, so a fresh variable
                      takes its place.
    at the outputs    one operator gives all outputs of both sides; its operands become the outputs.

The rule is superfluous where the generalised one is valid. That is not always so: a shared constant or a fused
convolution has properties that an arbitrary tensor has not, and equal sums do not make equal summands. So these
functions only propose; `pruning` asks whether a proposal is valid.

>>> from taso_mini.canonical import show_pair
>>> x, y, z = (variable(name, "tensor") for name in "xyz")
>>> shared = Term("mul", (), (x, y))
>>> pair = ((Term("add", (), (shared, z)),), (Term("add", (), (z, shared)),))
>>> print(*(show_pair(general) for general in input_generalisations(pair)), sep="; ")
add(shared1, z) = add(z, shared1)
>>> print(*(show_pair(general) for general in output_generalisations(pair)), sep="; ")
mul(x, y), z = z, mul(x, y); mul(x, y), z = mul(x, y), z
"""

from __future__ import annotations

from collections.abc import Iterator

from taso_mini.canonical import Pair, commutes, sort_operands
from taso_mini.kinds import SIGNATURES
from taso_mini.terms import Term, subterms, variable, variables

_SPLITS = {"split0": "split", "split1": "split"}


def input_generalisations(pair: Pair) -> Iterator[Pair]:
    """Yield the rule with one operator that both sides apply to the same inputs replaced by variables.

    A constant is such an operator, without inputs. The two halves of one split become two variables.
    """
    left, right = (_leaf_operators(side) for side in pair)
    for key in left:
        if key in right:
            nodes = sorted({*left[key], *right[key]}, key=str)
            fresh = {sort_operands(node): node for node in nodes}
            values = {first: _fresh(number, first) for number, first in enumerate(sorted(fresh, key=str), start=1)}
            naming = {node: values[sort_operands(node)] for node in nodes}
            yield _replaced(pair, naming)


def _leaf_operators(side: tuple[Term, ...]) -> dict[object, set[Term]]:
    found: dict[object, set[Term]] = {}
    for node in subterms(*side):
        if not node.is_variable and all(argument.is_variable for argument in node.args):
            arranged = sort_operands(node)
            key = (_SPLITS.get(node.operator, node.operator), node.params, arranged.args)
            found.setdefault(key, set()).add(node)
    return found


def _fresh(number: int, node: Term) -> Term:
    gives = SIGNATURES[node.operator][1]
    return variable(f"shared{number}", "tensor" if gives == "*" else gives)


def _replaced(pair: Pair, naming: dict[Term, Term]) -> Pair:
    done: dict[Term, Term] = {}
    for node in subterms(*pair[0], *pair[1]):
        done[node] = naming.get(node) or Term(node.operator, node.params, tuple(done[a] for a in node.args))
    return tuple(done[root] for root in pair[0]), tuple(done[root] for root in pair[1])


def output_generalisations(pair: Pair) -> Iterator[Pair]:
    """Yield the rule without the operator that gives all outputs of both sides; its operands correspond one by one.

    Operands that are equal on both sides stay as outputs; with both orders of a commutative operator there are two.
    """
    lasts = [_last_operator(side) for side in pair]
    if lasts[0] is None or lasts[1] is None or lasts[0][:2] != lasts[1][:2]:
        return
    left, right = lasts[0][2], lasts[1][2]
    yield left, right
    if commutes(lasts[0][0]):
        yield left, right[::-1]


def shares_output_operator(pair: Pair) -> bool:
    """Whether both sides end in one common operator with at most one differing operand.

    This is all that the published generator asks before it drops a rule: it does not look at the generalised one.

    >>> x, y, z = (variable(name, "tensor") for name in "xyz")
    >>> left, right = (Term("add", (), (Term("relu", (), (a,)), z)) for a in (x, y))
    >>> shares_output_operator(((left,), (right,)))
    True
    """
    return any(
        sum(sort_operands(a) is not sort_operands(b) for a, b in zip(*general, strict=True)) <= 1
        for general in output_generalisations(pair)
    )


def _last_operator(side: tuple[Term, ...]) -> tuple[str, object, tuple[Term, ...]] | None:
    """Return the operator that gives all of a side's outputs, or None when several do."""
    first = side[0]
    if len(side) == 1:
        return None if first.is_variable else (first.operator, first.params, first.args)
    split = {node.operator for node in side} == {"split0", "split1"} and side[0].args == side[1].args
    return ("split", first.params, first.args) if split and side[0].params == side[1].params else None


def is_trivial(pair: Pair) -> bool:
    """Whether both sides are the same terms but for operand order."""
    return all(sort_operands(a) is sort_operands(b) for a, b in zip(*pair, strict=True))


def is_union(pair: Pair) -> bool:
    """Whether a rule of several outputs is that many rules side by side: each output has the same variables on both.

    Then each output can be replaced on its own, in both directions.
    """
    return len(pair[0]) > 1 and all(set(variables(a)) == set(variables(b)) for a, b in zip(*pair, strict=True))
