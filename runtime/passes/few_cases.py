"""Write out short loops that decide which positions of a register tile count: LoopNest -> LoopNest.

A tile that spans a whole row of a padded image has its borders at fixed positions, if nothing else than the tap moves
it. Where the row also depends on a short outer loop, such as one over the residue classes of a strided transposed
convolution, the body of that loop is written once for each of its values. The guards then depend on the
position in the tile alone, and its loop runs over the positions that count.

    for q in range(2):                             for w in unroll(3):
        for w in unroll(4):                            T[w + 1] = T[w + 1] + X[w + 1]
            if w + q >= 1:                 ->      for w in unroll(4):
                T[w] = T[w] + X[w + q]                 T[w] = T[w] + X[w + 1]
"""

from __future__ import annotations

from runtime.expr import Const, Expr
from runtime.expr_tree import free_variables, substitute
from runtime.indices.index_forms import fold
from runtime.loop_nest import (
    SERIAL,
    UNROLL,
    VECTORIZE,
    For,
    If,
    LoopNest,
    Stmt,
    Store,
    block,
    change_parts,
    sub_stmts,
    transform_stmts,
    walk_stmts,
)
from runtime.passes.bounded_unrolling import unrolled_size
from runtime.passes.guard_loops import hoist_guards
from runtime.passes.vector_loops import substitute_stmt
from runtime.passes.visits import conjuncts

COPIES_LIMIT = 4  # times that one tile may be written
SIZE_LIMIT = 512  # statements, once unrolled, that may come of one loop


def write_out_cases(nest: LoopNest) -> LoopNest:
    """Write out the loops that decide borders, see the module.

    >>> from runtime.loop_nest_text import parse
    >>> print(write_out_cases(parse('''
    ... def f(X: float32[5]) -> (Y: float32[4]):
    ...     with register(float32[4]) as T:
    ...         for q in range(2):
    ...             for w in unroll(4):
    ...                 if w + q >= 1:
    ...                     T[w] = T[w] + X[w + q]
    ... ''')))
    def f(X: float32[5]) -> (Y: float32[4]):
        with register(float32[4]) as T:
            for w in unroll(3):
                T[w + 1] = T[w + 1] + X[w + 1]
            for w in unroll(4):
                T[w] = T[w] + X[w + 1]
    """
    conditions = [stmt.condition for stmt in walk_stmts(nest.body) if isinstance(stmt, If)]
    if not conditions:
        return nest
    guarding = frozenset().union(*map(free_variables, conditions))
    body = transform_stmts(hoist_guards(_below(nest.body, 1, guarding)), trim)
    return LoopNest(nest.name, nest.inputs, nest.outputs, body)


def _below(stmt: Stmt, copies: int, guarding: frozenset[str]) -> Stmt:
    """Write out below a statement; `guarding` are the variables in its guards."""
    short = isinstance(stmt, For) and stmt.var.name in guarding and copies * stmt.extent <= COPIES_LIMIT
    if isinstance(stmt, For) and short and decides_borders(stmt) and _stays_small(stmt):
        cases = [substitute_stmt(stmt.body, {stmt.var.name: Const(value)}) for value in range(stmt.extent)]
        return block(*(_below(case, copies * stmt.extent, guarding) for case in cases))
    return change_parts(stmt, lambda part: _below(part, copies, guarding))


def _stays_small(loop: For) -> bool:
    return loop.extent * unrolled_size(loop.body) <= SIZE_LIMIT


def decides_borders(loop: For) -> bool:
    """Whether a loop around register tiles is in guards that otherwise depend on the tile and loops inside alone."""
    return loop.kind == SERIAL and _decides(loop.body, loop.var.name, frozenset(), frozenset(), ())


def _decides(
    stmt: Stmt, name: str, tile: frozenset[str], taps: frozenset[str], guards: tuple[frozenset[str], ...]
) -> bool:
    if isinstance(stmt, Store):
        if stmt.buffer.scope != "register":
            return False
        return any(name in used and used & tile and used <= tile | taps | {name} for used in guards)
    if isinstance(stmt, For):
        if stmt.kind in (UNROLL, VECTORIZE):
            tile |= {stmt.var.name}
        elif stmt.kind == SERIAL:
            taps |= {stmt.var.name}
    if isinstance(stmt, If):
        guards += tuple(frozenset(free_variables(part)) for part in conjuncts(stmt.condition))
    return any(_decides(part, name, tile, taps, guards) for part in sub_stmts(stmt))


def trim(stmt: Stmt) -> Stmt | None:
    """An unrolled loop without the iterations at its ends that a guard on its variable alone leaves out."""
    if not isinstance(stmt, For) or stmt.kind != UNROLL or not isinstance(stmt.body, If):
        return None
    own = [part for part in conjuncts(stmt.body.condition) if free_variables(part) == {stmt.var.name}]
    values = [value for value in range(stmt.extent) if all(_holds(part, stmt.var.name, value) for part in own)]
    if not own or len(values) < 2 or values[-1] - values[0] + 1 != len(values):
        return None
    body = stmt.body.body
    for part in reversed([part for part in conjuncts(stmt.body.condition) if part not in own]):
        body = If(part, body)
    return For(stmt.var, len(values), UNROLL, substitute_stmt(body, {stmt.var.name: stmt.var + values[0]}))


def _holds(condition: Expr, name: str, value: int) -> bool:
    return fold(substitute(condition, {name: Const(value)})) != Const(False, "bool")
