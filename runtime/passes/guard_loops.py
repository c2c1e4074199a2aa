"""Move guards out of the way of register tiles: LoopNest -> LoopNest.

Input: a nest whose tiles are in registers (`register_tiles`). In order:
1. `whole_vectors`: a select that differs between lanes is asked first for the whole vector.
2. `padded_tap`: adding a product with a padded zero becomes not adding: `if c: T += x * w` instead of
   `T += select(c, x, 0) * w` (likewise the maximum with a padded -infinity). The result differs only where w is
   infinite or NaN.
3. `hoist_guards`: what a condition asks of outer loops is asked there; `drop_known`: what always holds is not asked.
4. edges: a guard that depends on a position inside an unrolled tile is asked once for the whole tile, and the
   common case in which all positions pass runs without guards. Where only the tile and a short loop (the width of a
   convolution's window) decide, that loop is unrolled instead, so that the compiler decides.
"""

from __future__ import annotations

from math import prod

from runtime.expr import Binary, Const, Expr, Load, Select
from runtime.expr_tree import free_variables, loads, substitute, transform
from runtime.indices.index_forms import fold, step
from runtime.indices.simplify import simplify
from runtime.loop_nest import (
    PARALLEL,
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
    transform_stmts,
    walk_stmts,
)
from runtime.passes.visits import conjuncts

UNROLLED_TAPS = 8  # of a kernel's width, so that its column guards are constants
_NEGATIONS = {"<": ">=", ">=": "<", ">": "<=", "<=": ">"}


def clear_guards(nest: LoopNest) -> LoopNest:
    """All passes of this module, in order."""
    body = hoist_guards(_skip(whole_vectors(nest.body), frozenset()))
    return LoopNest(nest.name, nest.inputs, nest.outputs, _split(drop_known(body, {}), {}, frozenset()))


def drop_known(stmt: Stmt, ranges: dict[str, tuple[int, int]]) -> Stmt:
    """Drop the guards that hold for all values of the loops around; `ranges` are those of the loops outside."""
    if isinstance(stmt, For):
        ranges = {**ranges, stmt.var.name: (0, stmt.extent - 1)}
    if isinstance(stmt, If):
        body = drop_known(stmt.body, ranges)
        return guard([c for c in conjuncts(stmt.condition) if simplify(c, ranges) != Const(True, "bool")], body)
    return change_parts(stmt, lambda part: drop_known(part, ranges))


def whole_vectors(stmt: Stmt, lane: For | None = None) -> Stmt:
    """Ask a select that differs between lanes first for all of them at once: most vectors lie wholly inside.

    `select(c, x, y)` becomes `select(c holds in every lane, x, select(c, x, y))`, whose outer condition is one scalar.
    """
    if isinstance(stmt, Store) and (lane is None or lane.var.name not in free_variables(stmt.value)):
        return stmt

    def visit(expr: Expr) -> Expr | None:
        if not isinstance(expr, Select) or lane is None or lane.var.name not in free_variables(expr.condition):
            return None
        every = [_for_all(condition, [lane]) for condition in conjuncts(expr.condition)]
        known = [condition for condition in every if condition is not None]
        if len(known) < len(every) or any(loads(condition) for condition in known):
            return None
        whole = fold(_all_of(known))
        if isinstance(whole, Const):
            return expr.then if whole.value else None
        return Select(whole, expr.then, expr)

    if isinstance(stmt, Store):
        return Store(stmt.buffer, stmt.indices, transform(stmt.value, visit))
    if isinstance(stmt, For) and stmt.kind == VECTORIZE:
        lane = stmt
    return change_parts(stmt, lambda part: whole_vectors(part, lane))


def _skip(stmt: Stmt, lanes: frozenset[str]) -> Stmt:
    """Skip padded taps below a statement; `lanes` are the vectorised loops around, over which a guard must not vary."""
    if isinstance(stmt, For) and stmt.kind == VECTORIZE:
        lanes = lanes | {stmt.var.name}
    if isinstance(stmt, Store):
        found = padded_tap(stmt)
        return stmt if found is None or free_variables(found[0]) & lanes else If(*found)
    return change_parts(stmt, lambda part: _skip(part, lanes))


def padded_tap(store: Store) -> tuple[Expr, Store] | None:
    """The condition under which an accumulation does anything, and the accumulation without it."""
    value = store.value
    if store.buffer.scope != "register" or not isinstance(value, Binary) or value.op not in ("+", "max"):
        return None
    if value.a != Load(store.buffer, store.indices):
        return None
    found = _without_padding(value.b, 0.0) if value.op == "+" else _without_padding(value.b, float("-inf"))
    if found is None or loads(found[0]):
        return None
    return found[0], Store(store.buffer, store.indices, Binary(value.op, value.a, found[1]))


def _without_padding(expr: Expr, padding: float) -> tuple[Expr, Expr] | None:
    if isinstance(expr, Select) and isinstance(expr.otherwise, Const) and expr.otherwise.value == padding:
        return expr.condition, expr.then
    if isinstance(expr, Binary) and expr.op == "*" and padding == 0:
        for part, other in ((expr.a, expr.b), (expr.b, expr.a)):
            found = _without_padding(part, padding)
            if found is not None:
                kept = (found[1], other) if part is expr.a else (other, found[1])
                return found[0], Binary("*", *kept)
    return None


def hoist_guards(stmt: Stmt) -> Stmt:
    """Move the parts of guards that do not depend on a loop out of it."""

    def visit(node: Stmt) -> Stmt | None:
        if isinstance(node, If) and isinstance(node.body, If):
            return If(Binary("and", node.condition, node.body.condition), node.body.body)
        if isinstance(node, For) and node.kind != PARALLEL and isinstance(node.body, If):
            parts = list(conjuncts(node.body.condition))
            outer = [c for c in parts if node.var.name not in free_variables(c) and not loads(c)]
            inner = [c for c in parts if c not in outer]
            loop = For(node.var, node.extent, node.kind, guard(inner, node.body.body))
            return guard(outer, loop) if outer else None
        return None

    return transform_stmts(stmt, visit)


def guard(conditions: list[Expr], stmt: Stmt) -> Stmt:
    """The statement under all the conditions."""
    return If(_all_of(conditions), stmt) if conditions else stmt


def _all_of(conditions: list[Expr]) -> Expr:
    result = conditions[0]
    for condition in conditions[1:]:
        result = Binary("and", result, condition)
    return result


def _split(stmt: Stmt, ranges: dict[str, tuple[int, int]], taps: frozenset[str]) -> Stmt:
    """Split the edges of the tiles below a statement, outer loops first; `taps` are the loops unrolled for guards."""
    if isinstance(stmt, For):
        guards = tile_guards(stmt) if stmt.kind in (SERIAL, UNROLL) else None
        if guards is not None:
            unrolled = _unroll_taps(stmt, guards)
            whole = None if unrolled is not None else _whole_tile(stmt, guards, ranges, taps)
            if whole is not None:
                return whole
            if unrolled is not None:
                stmt, taps = unrolled, taps | {unrolled.var.name}
        ranges = {**ranges, stmt.var.name: (0, stmt.extent - 1)}
    return change_parts(stmt, lambda part: _split(part, ranges, taps))


def tile_guards(loop: For) -> list[Expr] | None:
    """The guards on register tiles below a loop; None when the loop holds anything but one guarded accumulation."""
    stmt, found = loop.body, list[Expr]()
    while isinstance(stmt, (For, If)):
        if isinstance(stmt, If):
            found += conjuncts(stmt.condition)
        stmt = stmt.body
    return found if found and isinstance(stmt, Store) and stmt.buffer.scope == "register" else None


def _loops_below(loop: For) -> list[For]:
    return [part for part in walk_stmts(loop) if isinstance(part, For)]


def _unroll_taps(loop: For, guards: list[Expr]) -> For | None:
    """Unroll a short serial loop when it and the tile's own loops alone decide the guards."""
    if loop.kind != SERIAL or loop.extent > UNROLLED_TAPS:
        return None
    tile = {inner.var.name for inner in _loops_below(loop) if inner.kind in (UNROLL, VECTORIZE)}
    deciding = [g for g in guards if loop.var.name in free_variables(g) and free_variables(g) & tile]
    if not deciding or any(free_variables(g) - tile - {loop.var.name} for g in deciding):
        return None
    copies = prod(inner.extent for inner in _loops_below(loop) if inner.kind == UNROLL) * loop.extent
    return For(loop.var, loop.extent, UNROLL, loop.body) if copies <= 256 else None


def _whole_tile(loop: For, guards: list[Expr], ranges: dict[str, tuple[int, int]], taps: frozenset[str]) -> Stmt | None:
    """The loop twice: without guards where they hold for the whole tile, as it was elsewhere."""
    inner = _loops_below(loop)
    tile = [part for part in inner if part.kind in (UNROLL, VECTORIZE)]
    serial = {part.var.name for part in inner if part.kind == SERIAL}
    names = {part.var.name for part in tile}
    moving = [g for g in guards if free_variables(g) & names and free_variables(g) - names - taps]
    if not moving or any(free_variables(g) & serial or loads(g) for g in moving):
        return None
    every = [condition for g in moving if (condition := _for_all(g, tile)) is not None]
    if len(every) < len(moving):
        return None
    needed = [
        c for c in (simplify(condition, ranges) for condition in dict.fromkeys(every)) if c != Const(True, "bool")
    ]
    if any(isinstance(condition, Const) for condition in needed):
        return None
    fast = _drop_guards(loop, moving)
    if not needed:
        return fast
    fails = _opposite(needed[0])
    for condition in needed[1:]:
        fails = Binary("or", fails, _opposite(condition))
    return block(guard(needed, fast), If(fails, loop))


def _for_all(condition: Expr, tile: list[For]) -> Expr | None:
    """A condition under which `condition` holds at every point of the tile loops; None when it is no inequality."""
    if not isinstance(condition, Binary) or condition.op not in _NEGATIONS:
        return None
    difference = condition.a - condition.b
    worst: dict[str, Expr] = {}
    for loop in tile:
        stride = step(difference, loop.var.name, loop.extent)
        if stride is None:
            return None
        largest = stride > 0 if condition.op in ("<", "<=") else stride < 0
        worst[loop.var.name] = Const(loop.extent - 1 if largest else 0)
    return fold(substitute(condition, worst))


def _opposite(condition: Expr) -> Expr:
    assert isinstance(condition, Binary)
    if condition.op in _NEGATIONS:
        return Binary(_NEGATIONS[condition.op], condition.a, condition.b)
    return Binary("==", condition, Const(False, "bool"))


def _drop_guards(stmt: Stmt, dropped: list[Expr]) -> Stmt:
    def visit(node: Stmt) -> Stmt | None:
        if isinstance(node, If):
            return guard([c for c in conjuncts(node.condition) if c not in dropped], node.body)
        return None

    return transform_stmts(stmt, visit)
