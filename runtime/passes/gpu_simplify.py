"""Index arithmetic of a nest in canonical form, without guards that the loops decide or loops of one iteration."""

from __future__ import annotations

from runtime.expr import Const, Expr
from runtime.expr_tree import free_variables
from runtime.indices.affine import Ranges
from runtime.indices.simplify import Simplifier
from runtime.loop_nest import Block, For, If, LoopNest, Stmt, Store, change_parts
from runtime.passes.register_tiles import drop_unit_loops


def simplify_nest(nest: LoopNest) -> LoopNest:
    """The same nest with simple expressions.

    >>> from runtime.loop_nest_text import parse
    >>> text = "def f() -> (C: float32[8]):\\n  for i in range(8):\\n    if i < 8:\\n      C[(i * 2 + 1) // 2] = 0.0"
    >>> print(simplify_nest(parse(text)))
    def f() -> (C: float32[8]):
        for i in range(8):
            C[i] = 0.0
    """
    nest = drop_unit_loops(nest)
    return LoopNest(nest.name, nest.inputs, nest.outputs, simplify_stmt(nest.body, {}))


def simplify_stmt(stmt: Stmt, ranges: Ranges) -> Stmt:
    """The same statement with simple expressions, under the ranges of the variables around it."""
    if isinstance(stmt, For):
        inner = {**ranges, stmt.var.name: (0, stmt.extent - 1)}
        return change_parts(stmt, lambda part: simplify_stmt(part, inner))
    simplifier = Simplifier(ranges)
    if isinstance(stmt, Store):
        indices = tuple([_simple(index, simplifier) for index in stmt.indices])
        return Store(stmt.buffer, indices, _simple(stmt.value, simplifier))
    if isinstance(stmt, If):
        condition, body = _simple(stmt.condition, simplifier), simplify_stmt(stmt.body, ranges)
        if isinstance(condition, Const):
            return body if condition.value else Block(())
        return If(condition, body)
    return change_parts(stmt, lambda part: simplify_stmt(part, ranges))


def _simple(expr: Expr, simplifier: Simplifier) -> Expr:
    return simplifier.value(expr) if free_variables(expr) else expr
