"""Bring vectorised loops to the machine's width: LoopNest -> LoopNest, meaning unchanged.

Each `vectorize(n)` loop becomes loops over vectors around `vectorize(lanes)` loops: as many of the widest as fit n,
then narrower ones for the rest (40 is 16 + 16 + 8). Narrower vectors are also taken where wider ones would have to
gather their elements. A loop whose iterations may not run side by side becomes a plain loop. Afterwards every
vectorised loop is one vector operation per statement.

    for j in vectorize(64):              for j_vec in unroll(4):
        C[j] = A[j] * 2.0        ->          for j_lane in vectorize(16):
                                                 C[j_vec * 16 + j_lane] = A[j_vec * 16 + j_lane] * 2.0
"""

from __future__ import annotations

from runtime.expr import ITEM_SIZE, Const, Expr, Load
from runtime.expr_tree import free_variables, has_loads, substitute, transform_loads
from runtime.indices.index_forms import flat_step, fold, step
from runtime.loop_nest import (
    PARALLEL,
    SERIAL,
    UNROLL,
    VECTORIZE,
    Allocate,
    Block,
    For,
    If,
    LoopNest,
    Stmt,
    Store,
    block,
    change_parts,
    walk_stmts,
)
from runtime.names import Names
from runtime.passes.visits import Access, accesses

UNROLLED_VECTORS = 8  # a row of at most so many vectors is unrolled


def vectorize_loops(nest: LoopNest, vector_bytes: int = 64) -> LoopNest:
    """Split or drop every vectorised loop of a nest, see the module."""
    return LoopNest(nest.name, nest.inputs, nest.outputs, _rewrite(nest.body, vector_bytes, Names.of(nest)))


def _rewrite(stmt: Stmt, vector_bytes: int, names: Names) -> Stmt:
    stmt = change_parts(stmt, lambda part: _rewrite(part, vector_bytes, names))
    if not isinstance(stmt, For) or stmt.kind != VECTORIZE:
        return stmt
    lanes, choices = widest(stmt, vector_bytes), []
    while lanes > 1:
        pieces = cut(stmt, lanes, names)
        loops = [part for piece in pieces for part in walk_stmts(piece) if isinstance(part, For)]
        loops = [loop for loop in loops if loop.kind == VECTORIZE]
        touched = [accesses(loop.body) for loop in loops]
        if loops and all(obstacle(loop, inside) is None for loop, inside in zip(loops, touched)):
            choices.append((sum(map(scattered, loops, touched)), -lanes, pieces))
            if choices[-1][0] == 0:
                break
        lanes = shorter(lanes)
    if not choices:
        return For(stmt.var, stmt.extent, SERIAL, stmt.body)
    return block(*(_settle(piece) for piece in min(choices, key=lambda choice: choice[:2])[2]))


def _settle(stmt: Stmt) -> Stmt:
    """Simplify the loads of all vectors below a statement."""
    if isinstance(stmt, For) and stmt.kind == VECTORIZE:
        return For(stmt.var, stmt.extent, stmt.kind, without_lane(stmt.body, stmt))
    return change_parts(stmt, _settle)


def widest(loop: For, vector_bytes: int) -> int:
    """The largest power of two that is at most the extent and whose elements fit one register; 1 instead of 2."""
    buffers = [access.buffer for access in accesses(loop.body)]
    width = max([ITEM_SIZE[buffer.dtype] for buffer in buffers] + [4])
    lanes = min(1 << (loop.extent.bit_length() - 1), vector_bytes // width)
    return lanes if lanes > 2 else 1


def shorter(lanes: int) -> int:
    """The next shorter vector; there is none of 2 lanes, on which gcc 12 runs out of time and memory.

    >>> [shorter(lanes) for lanes in (16, 8, 4, 2)]
    [8, 4, 1, 1]
    """
    return lanes // 2 if lanes > 4 else 1


def cut(loop: For, lanes: int, names: Names) -> list[Stmt]:
    """The loop in pieces: whole vectors, then ever shorter ones for what remains."""
    pieces: list[Stmt] = []
    start = 0
    while start < loop.extent:
        while lanes > loop.extent - start:
            lanes = shorter(lanes)
        count = (loop.extent - start) // lanes
        pieces.append(_piece(loop, start, count, lanes, names))
        start += count * lanes
    return pieces


def _piece(loop: For, start: int, count: int, lanes: int, names: Names) -> Stmt:
    """Iterations start .. start + count * lanes - 1 as vectors."""
    if count * lanes == loop.extent and count == 1:
        return loop
    outer, inner = (names.variable(f"{loop.var.name}_{part}") for part in ("vec", "lane"))
    place = outer * lanes if count > 1 else Const(0)
    stmt = substitute_stmt(loop.body, {loop.var.name: fold(place + start + (inner if lanes > 1 else 0))})
    if lanes > 1:
        stmt = For(inner, lanes, VECTORIZE, stmt)
    return For(outer, count, UNROLL if count <= UNROLLED_VECTORS else SERIAL, stmt) if count > 1 else stmt


def without_lane(stmt: Stmt, lane: For) -> Stmt:
    """Write the loads that are the same in all lanes without the lane, such as X[(c0 * 16 + lane) // 16].

    >>> from runtime.loop_nest_text import parse
    >>> body = "C[c0 * 4 + c] = X[(c0 * 4 + c) // 8]"
    >>> text = f"def f(X: int32[1]) -> (C: int32[8]):\\n for c0 in range(2):\\n  for c in vectorize(4):\\n   {body}"
    >>> print(vectorize_loops(parse(text)))
    def f(X: int32[1]) -> (C: int32[8]):
        for c0 in range(2):
            for c in vectorize(4):
                C[c0 * 4 + c] = X[c0 * 4 // 8]
    """

    def visit(load: Load) -> Expr | None:
        if lane.var.name not in free_variables(load):
            return None
        if any(step(index, lane.var.name, lane.extent) != 0 for index in load.indices):
            return None
        return Load(load.buffer, tuple(fold(substitute(index, {lane.var.name: Const(0)})) for index in load.indices))

    if isinstance(stmt, Store):
        return Store(stmt.buffer, stmt.indices, transform_loads(stmt.value, visit))
    return change_parts(stmt, lambda part: without_lane(part, lane))


def scattered(loop: For, touched: list[Access]) -> int:
    """How many of a loop's accesses step by neither 0 nor 1 element from lane to lane."""
    moving = [access for access in touched if loop.var.name in access.variables]
    steps = [flat_step(access.indices, access.buffer.shape, loop.var.name, loop.extent) for access in moving]
    return sum(each not in (0, 1) for each in steps)


def substitute_stmt(stmt: Stmt, values: dict[str, Expr]) -> Stmt:
    """Replace loop variables by expressions in a statement, and fold the indices that result."""

    def new(expr: Expr) -> Expr:
        return fold(substitute(expr, values))

    if isinstance(stmt, Store):
        return Store(stmt.buffer, tuple(new(index) for index in stmt.indices), new(stmt.value))
    if isinstance(stmt, If):
        condition = new(stmt.condition)
        if isinstance(condition, Const):
            return substitute_stmt(stmt.body, values) if condition.value else Block(())
        return If(condition, substitute_stmt(stmt.body, values))
    return change_parts(stmt, lambda part: substitute_stmt(part, values))


def obstacle(loop: For, touched: list[Access]) -> str | None:
    """Why the iterations of a loop, with the accesses in it, may not run in lockstep; None when they may.

    They may when each buffer that the body writes is divided among the iterations: some dimension of it is indexed
    everywhere by one expression that steps with the loop and does not move inside the body.
    """
    var, inner = loop.var.name, {stmt.var.name for stmt in walk_stmts(loop.body) if isinstance(stmt, For)}
    own: set[str] = set()
    for stmt in walk_stmts(loop.body):
        if isinstance(stmt, For) and stmt.kind in (PARALLEL, VECTORIZE):
            return f"a {stmt.kind} loop is inside"
        if isinstance(stmt, Allocate):
            own.add(stmt.buffer.name)
    for name in {access.buffer.name for access in touched if access.is_store}:
        indices = [access.indices for access in touched if access.buffer.name == name]
        if name in own:
            if any(var in free_variables(index) for access in indices for index in access):
                return f"each iteration has its own {name}, indexed by {var}"
        elif not any(divides(column, loop, inner) for column in zip(*indices)):
            return f"iterations may meet in {name}"
    return None


def divides(column: tuple[Expr, ...], loop: For, inner: set[str]) -> bool:
    """Whether one dimension's indices, all alike, step with a loop and stand still in the loops `inner`."""
    first = column[0]
    if any(index != first for index in column) or free_variables(first) & inner:
        return False
    return not has_loads(first) and bool(step(first, loop.var.name, loop.extent))
