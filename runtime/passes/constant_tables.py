"""Unrolled loops that index a table of constants are written out, and products with its zeros left out.

A tensor that reads nothing becomes a chain of selects on the indices when it is inlined; with the loops around it
unrolled each of its elements is a number. Multiplying by 0 and 1 then costs nothing, which is what Winograd's
transforms live on. As for padding, the other factor of a 0 is taken to be finite.

>>> from runtime.loop_nest_text import parse
>>> print(fold_tables(parse('''
... def f(X: float32[3]) -> (Y: float32[1]):
...     Y[0] = 0.0
...     for a in unroll(3):
...         Y[0] = Y[0] + X[a] * select(a == 0, 1.0, select(a == 1, 0.0, -2.0))
... ''')))
def f(X: float32[3]) -> (Y: float32[1]):
    Y[0] = 0.0
    Y[0] = Y[0] + X[0]
    Y[0] = Y[0] + X[2] * (-2.0)
"""

from __future__ import annotations

from collections.abc import Iterator

from runtime.expr import Binary, Const, Expr, Load, Select
from runtime.expr_tree import children, free_variables, loads, transform
from runtime.loop_nest import (
    UNROLL,
    Block,
    For,
    If,
    LoopNest,
    Stmt,
    Store,
    block,
    change_parts,
    expressions,
    rebuild_stmt,
    sub_stmts,
    walk_stmts,
)
from runtime.passes.vector_loops import substitute_stmt

COPIES_LIMIT = 2048  # iterations that are written out at most


def fold_tables(nest: LoopNest) -> LoopNest:
    """Write out the unrolled loops that index tables, see the module."""
    unrolled = {node.var.name for node in walk_stmts(nest.body) if isinstance(node, For) and node.kind == UNROLL}
    names = frozenset(name for used in _tables(nest.body) if used <= unrolled for name in used)
    if not names:
        return nest
    return LoopNest(nest.name, nest.inputs, nest.outputs, _written_out(nest.body, names, 1))


def _tables(stmt: Stmt) -> Iterator[frozenset[str]]:
    """The variables of every chain of selects between constants."""
    for node in walk_stmts(stmt):
        for top in expressions(node):
            yield from _tables_in(top)


def _tables_in(expr: Expr) -> Iterator[frozenset[str]]:
    if isinstance(expr, Select) and isinstance(expr.then, Const) and not loads(expr):
        yield free_variables(expr)
        return
    for part in children(expr):
        yield from _tables_in(part)


def _written_out(stmt: Stmt, names: frozenset[str], copies: int) -> Stmt:
    if isinstance(stmt, For) and stmt.var.name in names and copies * stmt.extent <= COPIES_LIMIT:
        cases = [substitute_stmt(stmt.body, {stmt.var.name: Const(value)}) for value in range(stmt.extent)]
        return block(*(_written_out(_without_zeros(case), names, copies * stmt.extent) for case in cases))
    return change_parts(stmt, lambda part: _written_out(part, names, copies))


def _without_zeros(stmt: Stmt) -> Stmt:
    """The statement with its zero and unit factors folded; what adds nothing is left out."""
    if isinstance(stmt, Store):
        value = transform(stmt.value, _fold)
        return Block(()) if value == Load(stmt.buffer, stmt.indices) else Store(stmt.buffer, stmt.indices, value)
    parts = sub_stmts(stmt)
    new = tuple(_without_zeros(part) for part in parts)
    if isinstance(stmt, (For, If)) and new == (Block(()),):
        return Block(())
    return rebuild_stmt(stmt, new)


def _fold(node: Expr) -> Expr | None:
    """Fold a sum or product of floats with a constant: x * 0, x * 1, x + 0, a * b, (x * a) * b."""
    if not isinstance(node, Binary) or not node.dtype.startswith("float") or not isinstance(node.b, Const):
        return None
    a, number = node.a, node.b.value
    if node.op == "*" and isinstance(a, Const):
        return Const(a.value * number, node.dtype)
    if node.op == "*" and number == 0:
        return node.b
    if (node.op == "*" and number == 1) or (node.op in ("+", "-") and number == 0):
        return a
    if node.op == "*" and isinstance(a, Binary) and a.op == "*" and isinstance(a.b, Const):
        product = Binary("*", a.a, Const(a.b.value * number, node.dtype))
        folded = _fold(product)
        return product if folded is None else folded
    return None
