"""Walking and rewriting expression trees."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from runtime.expr import Binary, Call, Cast, Expr, Load, Select, Var


def children(expr: Expr) -> tuple[Expr, ...]:
    """The direct subexpressions."""
    if isinstance(expr, Binary):
        return (expr.a, expr.b)
    if isinstance(expr, Select):
        return (expr.condition, expr.then, expr.otherwise)
    if isinstance(expr, Call):
        return expr.args
    if isinstance(expr, Cast):
        return (expr.value,)
    if isinstance(expr, Load):
        return expr.indices
    return ()


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
    yield expr
    for child in children(expr):
        yield from walk(child)


def transform(expr: Expr, visit: Callable[[Expr], Expr | None]) -> Expr:
    """Rewrite bottom up: `visit` sees each node after its children and returns a replacement, or None to keep it."""
    parts = children(expr)
    if parts:
        new_parts = tuple(transform(part, visit) for part in parts)
        if any(new is not old for new, old in zip(new_parts, parts)):
            expr = rebuild(expr, new_parts)
    replacement = visit(expr)
    return expr if replacement is None else replacement


def substitute(expr: Expr, values: Mapping[str, Expr]) -> Expr:
    """Replace variables by name.

    >>> i = Var("i")
    >>> print(substitute(i * 4 + 1, {"i": Var("i0") * 2 + Var("i1")}))
    (i0 * 2 + i1) * 4 + 1
    """
    return transform(expr, lambda node: values.get(node.name) if isinstance(node, Var) else None)


def loads(expr: Expr) -> list[Load]:
    """All loads in an expression, outer first."""
    return [node for node in walk(expr) if isinstance(node, Load)]


def free_variables(expr: Expr) -> set[str]:
    """Names of the variables in an expression."""
    return {node.name for node in walk(expr) if isinstance(node, Var)}
