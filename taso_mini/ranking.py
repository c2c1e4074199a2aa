"""Rank rules by what they can lower: which direction of which rule makes a graph cheaper, and which only moves it.

Paper: TASO §5 leaves it to the search which of its rules are worth trying; with thousands of them, order and number
matter. The estimate is coarse on purpose, the same for every machine: the optimizer's cost source has the last word.

    free        what depends on kernels, vectors, scalars and constants alone: it is computed once, not at run time
    20          a convolution or matrix product
    4           a pool
    1           anything else on activations

>>> from taso_mini.rules_text import load_rules
>>> merge = next(rule for rule in load_rules() if rule.name.startswith("add-conv-conv-is-conv"))
>>> print(merge.source[0].operator, gain(merge) > 0)
add True
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from taso_mini.terms import Substitution, Term, operator_count, subterms

WEIGHTS = ("kernel", "vector", "scalar")
CONSTANTS = frozenset(("Cpool", "Iconv", "Imatmul", "Iewmul"))
PRICES = {"conv": 20, "conv_bias": 20, "matmul": 20, "avg_pool": 4, "max_pool": 4}
_SPLITS = {"split0": "split", "split1": "split"}


def is_free(root: Term) -> bool:
    """Whether a term is computed once, from weights and constants.

    >>> from taso_mini.terms import term, variable
    >>> x, w = variable("x1", "image"), variable("w1", "kernel")
    >>> is_free(term("relu", w)), is_free(term("conv", x, w))
    (True, False)
    """
    return all(node.kind in WEIGHTS for node in subterms(root) if node.is_variable)


def price(roots: Sequence[Term]) -> int:
    """Return the estimated cost of some outputs, shared operators counted once, both halves of a split as one."""
    return sum(PRICES.get(operator, 1) for operator in _running(roots))


def expensive(roots: Sequence[Term]) -> int:
    """Return how many convolutions, matrix products and pools run, shared ones counted once."""
    return sum(operator in PRICES for operator in _running(roots))


def _running(roots: Sequence[Term]) -> list[str]:
    counted = {
        (_SPLITS.get(node.operator, node.operator), node.params, node.args)
        for node in subterms(*roots)
        if not node.is_variable and not is_free(node)
    }
    return [operator for operator, _, _ in counted]


def gain(rule: Substitution) -> int:
    """Return what the rule saves by the estimate; negative where it costs."""
    return price(rule.source) - price(rule.target)


def ranked(rules: Iterable[Substitution]) -> list[Substitution]:
    """Return the rules that save most first; equal ones stay in order."""
    return sorted(rules, key=lambda rule: -gain(rule))


def worth_shipping(rule: Substitution) -> bool:
    """Whether a rule saves something, turns one expensive operator into another, or is a move that others build on.

    A move makes no graph cheaper by itself. What only grows a graph (by transposes, enlarged kernels or constants),
    exchanges operands of three operators and more, or carries a scalar far, multiplies the graphs that a search has
    to look at and leads to nothing that the other rules do not reach.
    """
    if gain(rule) > 0:
        return True
    old, new = (Counter(_running(side)) for side in (rule.source, rule.target))
    costly = [{name: count for name, count in side.items() if name in PRICES} for side in (old, new)]
    if costly[0] != costly[1] and expensive(rule.target) <= expensive(rule.source):
        return operator_count(*rule.source) == 1
    before, after = (
        Counter(node.operator for node in subterms(*side) if not node.is_variable)
        for side in (rule.source, rule.target)
    )
    grows = after["transpose"] > before["transpose"] or (old == new and after.total() > before.total())
    exchanges = old == new and old.total() >= 3
    carries = "smul" in {*before, *after} and (before.total() > 2 or gain(rule) < 0)
    special = {*before, *after} & CONSTANTS or before["enlarge"]
    return not (grows or exchanges or carries or special)
