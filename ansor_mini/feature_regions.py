"""What an access touches when some loops run and the others stand still at 0, and how far one step of a loop moves it.

Paper: Ansor App. B

Works on integers and on arrays alike.
"""

from __future__ import annotations

from collections.abc import Mapping

from ansor_mini.feature_statements import Access, Dimension, Statement
from ansor_mini.feature_symbols import where
from ansor_mini.regions import Extent, IteratorKey, Start, maximum, minimum
from runtime.expr import Binary, Const, Expr, Var
from runtime.expr_tree import free_variables

Interval = tuple[Extent, Extent]


def width(statement: Statement, access: Access, free: Mapping[IteratorKey, Extent]) -> tuple[Extent, ...]:
    """How many elements of each dimension an access touches while the loops in `free` (with their extents) run.

    Several loads are taken together: what lies between them counts too. Never more than the buffer has.
    """
    widths = []
    for number, whole in enumerate(access.shape):
        low, high = _span(statement, access.loads[0][number], free)
        for load in access.loads[1:]:
            other = _span(statement, load[number], free)
            low, high = minimum(low, other[0]), maximum(high, other[1])
        widths.append(minimum(high - low + 1, whole))
    return tuple(widths)


def _span(statement: Statement, dimension: Dimension, free: Mapping[IteratorKey, Extent]) -> Interval:
    low, high = _form_span(Start(dimension.const, dimension.terms), free)
    for factor, atom in dimension.atoms:
        ends = interval(atom, {name: _form_span(statement.axes[name], free) for name in free_variables(atom)})
        first, last = ends if factor > 0 else ends[::-1]
        low, high = low + factor * first, high + factor * last
    return low, high


def _form_span(form: Start, free: Mapping[IteratorKey, Extent]) -> Interval:
    low = high = form.const
    for key, coefficient in form.terms.items():
        if key in free:
            reach = coefficient * (free[key] - 1)
            low, high = low + minimum(reach, 0), high + maximum(reach, 0)
    return low, high


def interval(expr: Expr, ranges: Mapping[str, Interval]) -> Interval:
    """The least and the largest value of an integer expression; unknown operations give those of what they are made of.

    >>> i = Var("i")
    >>> interval((i + 1) // 2, {"i": (0, 6)}), interval(i % 4, {"i": (1, 2)}), interval(i % 4, {"i": (1, 6)})
    ((0, 3), (1, 2), (0, 3))
    """
    if isinstance(expr, Var):
        return ranges[expr.name]
    if isinstance(expr, Const):
        return int(expr.value), int(expr.value)
    if not isinstance(expr, Binary):
        return 0, 2**31 - 1
    a, b = interval(expr.a, ranges), interval(expr.b, ranges)
    if expr.op == "+":
        return a[0] + b[0], a[1] + b[1]
    if expr.op == "-":
        return a[0] - b[1], a[1] - b[0]
    if expr.op == "*":
        corners = [x * y for x in a for y in b]
        return (minimum(minimum(corners[0], corners[1]), minimum(corners[2], corners[3])),
                maximum(maximum(corners[0], corners[1]), maximum(corners[2], corners[3])))  # fmt: skip
    if expr.op in ("//", "%") and isinstance(expr.b, Const):
        divisor = b[0]
        first, last = a[0] // divisor, a[1] // divisor
        if expr.op == "//":
            return first, last
        whole = (first != last) * 1  # 1 where the interval goes over a multiple of the divisor
        start, end = a[0] - first * divisor, a[1] - last * divisor
        return start * (1 - whole), end + (divisor - 1 - end) * whole
    return minimum(a[0], b[0]), maximum(a[1], b[1])


def index_stride(statement: Statement, access: Access, key: IteratorKey) -> tuple[Extent, Extent]:
    """Whether any index depends on a loop, and how many elements one step of it moves the access, at least.

    The last dimension that depends on the loop counts.
    """
    found: tuple[Extent, Extent] = (False, 0)
    for load in access.loads:
        one: tuple[Extent, Extent] = (False, 0)
        step: Extent = 1
        for number in range(len(access.shape) - 1, -1, -1):
            depends, moved = index_step(statement, load[number], key)
            if depends is not False:
                one = (one[0] | depends, where(one[0], one[1], where(depends, moved * step, 0)))
            step = step * access.shape[number]
        least = where(one[0], minimum(found[1], one[1]), found[1])
        found = (found[0] | one[0], where(found[0], least, one[1]))
    return found


def index_step(statement: Statement, dimension: Dimension, key: IteratorKey) -> tuple[Extent, Extent]:
    """Whether an index depends on a loop, and how far its first step moves it: 1 at least if through an atom."""
    step = dimension.terms.get(key, 0)
    depends = step != 0
    if not dimension.atoms:
        return depends, abs(step)
    for factor, atom in dimension.atoms:
        forms = {name: statement.axes[name] for name in free_variables(atom)}
        for form in forms.values():
            depends = depends | (form.terms.get(key, 0) != 0)
        before = interval(atom, {name: (form.const, form.const) for name, form in forms.items()})[0]
        moved = {name: form.const + form.terms.get(key, 0) for name, form in forms.items()}
        step = step + factor * (interval(atom, {name: (at, at) for name, at in moved.items()})[0] - before)
    return depends, maximum(abs(step), 1)
