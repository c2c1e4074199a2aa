"""Walking and rewriting expression trees."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from operator import attrgetter, is_
from typing import Any

from runtime.expr import Binary, Call, Cast, Const, Expr, Load, Select, Var

_CHILDREN: dict[type[Expr], Callable[[Any], tuple[Expr, ...]]] = {
    Binary: attrgetter("a", "b"),
    Select: attrgetter("condition", "then", "otherwise"),
    Call: attrgetter("args"),
    Cast: lambda expr: (expr.value,),
    Load: attrgetter("indices"),
    Var: lambda expr: (),
    Const: lambda expr: (),
}


def children(expr: Expr) -> tuple[Expr, ...]:
    """The direct subexpressions."""
    parts = _CHILDREN.get(type(expr))
    return parts(expr) if parts is not None else ()


def rebuild(expr: Expr, parts: tuple[Expr, ...]) -> Expr:
    """The same node over other subexpressions."""
    if isinstance(expr, Binary):
        return Binary(expr.op, *parts)
    if isinstance(expr, Select):
        return Select(*parts)
    if isinstance(expr, Call):
        return Call(expr.name, parts)
    if isinstance(expr, Cast):
        return Cast(expr.dtype, *parts)
    if isinstance(expr, Load):
        return Load(expr.buffer, parts)
    return expr


def walk(expr: Expr) -> Iterator[Expr]:
    """The expression and all its subexpressions, outer first."""
    waiting = [expr]
    while waiting:
        node = waiting.pop()
        yield node
        waiting.extend(reversed(children(node)))


def transform(expr: Expr, visit: Callable[[Expr], Expr | None]) -> Expr:
    """Rewrite bottom up: `visit` sees each node after its children and returns a replacement, or None to keep it."""
    parts = children(expr)
    if parts:
        new_parts = tuple([transform(part, visit) for part in parts])
        if not all(map(is_, new_parts, parts)):
            expr = rebuild(expr, new_parts)
    replacement = visit(expr)
    return expr if replacement is None else replacement


def transform_loads(expr: Expr, visit: Callable[[Load], Expr | None]) -> Expr:
    """Like `transform`, for a `visit` that sees loads only: what holds none is not walked.

    >>> from runtime.expr import Buffer
    >>> A, B = Buffer("A", (4,)), Buffer("B", (4,))
    >>> print(transform_loads(A[Var("i")] * 2.0, lambda load: B[load.indices]))
    B[i] * 2.0
    """
    if not has_loads(expr):
        return expr
    parts = children(expr)
    new_parts = tuple([transform_loads(part, visit) for part in parts])
    if not all(map(is_, new_parts, parts)):
        expr = rebuild(expr, new_parts)
    replacement = visit(expr) if isinstance(expr, Load) else None
    return expr if replacement is None else replacement


def substitute(expr: Expr, values: Mapping[str, Expr]) -> Expr:
    """Replace variables by name.

    >>> i = Var("i")
    >>> print(substitute(i * 4 + 1, {"i": Var("i0") * 2 + Var("i1")}))
    (i0 * 2 + i1) * 4 + 1
    """
    if isinstance(expr, Var):
        return values.get(expr.name, expr)
    if free_variables(expr).isdisjoint(values):
        return expr
    if isinstance(expr, Binary):
        return Binary(expr.op, substitute(expr.a, values), substitute(expr.b, values))
    return rebuild(expr, tuple([substitute(part, values) for part in children(expr)]))


def loads(expr: Expr) -> list[Load]:
    """All loads in an expression, outer first."""
    return list(_loads(expr))


def has_loads(expr: Expr) -> bool:
    """Whether an expression reads memory."""
    return bool(_loads(expr))


def _loads(expr: Expr) -> tuple[Load, ...]:
    """All loads in an expression; found once for each node."""
    found = getattr(expr, "reads", None)
    if found is None:
        found = (expr,) if isinstance(expr, Load) else ()
        for part in children(expr):
            found += _loads(part)
        object.__setattr__(expr, "reads", found)
    return found


def free_variables(expr: Expr) -> frozenset[str]:
    """Names of the variables in an expression; found once for each node, since expressions never change.

    >>> sorted(free_variables(Var("i") * 4 + Var("j")))
    ['i', 'j']
    """
    found = getattr(expr, "variables", None)
    if found is None:
        if isinstance(expr, Var):
            found = frozenset((expr.name,))
        elif isinstance(expr, Binary):
            found = free_variables(expr.a) | free_variables(expr.b)
        else:
            found = frozenset().union(*map(free_variables, children(expr)))
        object.__setattr__(expr, "variables", found)
    return found
