"""Match terms against a rule's patterns, and tell whether one rule is an instance of another.

Paper: TASO §4. A rule that another one becomes with terms in place of its variables says nothing new; two variables may
be given the same term, which is how the paper finds renamings of inputs.

>>> from taso_mini.terms import variable
>>> x, y, z = (variable(name, "tensor") for name in "xyz")
>>> pattern, found = Term("mul", (), (x, y)), Term("mul", (), (z, Term("relu", (), (z,))))
>>> [{str(v): str(t) for v, t in binding.items()} for binding in matches([pattern], [found])]
[{'x': 'z', 'y': 'relu(z)'}, {'x': 'relu(z)', 'y': 'z'}]
"""

from __future__ import annotations

import itertools
from collections.abc import Hashable, Iterator, Mapping, Sequence

from taso_mini.canonical import Pair, commutes
from taso_mini.terms import Term, bind_parameters, is_parameter_variable, substitute

RANKS = {"image": 4, "kernel": 4, "matrix": 2, "vector": 1, "scalar": 0}
Binding = dict[Hashable, Hashable]  # variables → terms, names of parameter variables → values


def fits(pattern: Term, found: Term) -> bool:
    """Whether a variable of a pattern may be bound to a term: a variable must have as many axes."""
    if not found.is_variable or pattern.kind == found.kind or pattern.kind == "tensor":
        return True
    return pattern.kind in RANKS and RANKS[pattern.kind] == RANKS.get(found.kind)


def matches(
    patterns: Sequence[Term], terms: Sequence[Term], bound: Mapping[Hashable, Hashable] | None = None
) -> Iterator[Binding]:
    """Yield every binding that makes each pattern its term, operands of commutative operators in either order."""
    bound = dict(bound or {})
    if not patterns:
        yield bound
        return
    pattern, term, rest = patterns[0], terms[0], (patterns[1:], terms[1:])
    if pattern.is_variable:
        if fits(pattern, term) and bound.get(pattern, term) is term:
            bound[pattern] = term
            yield from matches(*rest, bound)
        return
    if pattern.operator != term.operator or len(pattern.params) != len(term.params):
        return
    for (name, wanted), (other, value) in zip(pattern.params, term.params, strict=True):
        expected = bound.get(wanted, value) if is_parameter_variable(wanted) else wanted
        if name != other or expected != value:
            return
        if is_parameter_variable(wanted):
            bound[wanted] = value
    orders = [term.args]
    if commutes(term.operator) and term.args[0] is not term.args[1]:
        orders.append(term.args[::-1])
    for arguments in orders:
        yield from matches([*pattern.args, *rest[0]], [*arguments, *rest[1]], bound)


def apply_binding(root: Term, binding: Mapping[Hashable, Hashable]) -> Term:
    """Return a pattern with its variables and parameters replaced."""
    terms = {v: t for v, t in binding.items() if isinstance(v, Term) and isinstance(t, Term)}
    params = {str(name): value for name, value in binding.items() if not isinstance(name, Term)}
    return substitute(bind_parameters(root, params), terms)


def is_instance(pair: Pair, general: Pair, *, renaming: bool = False) -> bool:
    """Whether variables of `general` can be replaced by terms to give `pair`, in either direction.

    With `renaming` by variables only, two of which may be the same.

    >>> from taso_mini.terms import variable
    >>> x, y, z = (variable(name, "tensor") for name in "xyz")
    >>> associates = (Term("mul", (), (Term("mul", (), (x, y)), z)),), (Term("mul", (), (x, Term("mul", (), (y, z)))),)
    >>> squares = (Term("mul", (), (Term("mul", (), (x, x)), x)),), (Term("mul", (), (x, Term("mul", (), (x, x)))),)
    >>> is_instance(squares, associates), is_instance(associates, squares)
    (True, False)
    """
    if len(pair[0]) != len(general[0]):
        return False
    terms = [*pair[0], *pair[1]]
    for first, second in (general, general[::-1]):
        for order in itertools.permutations(range(len(first))):
            patterns = [first[i] for i in order] + [second[i] for i in order]
            if any(not renaming or _renames(binding) for binding in matches(patterns, terms)):
                return True
    return False


def _renames(binding: Mapping[Hashable, Hashable]) -> bool:
    return all(t.is_variable for v, t in binding.items() if isinstance(v, Term) and isinstance(t, Term))
