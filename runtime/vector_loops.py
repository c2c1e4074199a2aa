"""Bring vectorised loops to the machine's width: LoopNest -> LoopNest, meaning unchanged.

Each `vectorize(n)` loop becomes a loop over vectors around a `vectorize(lanes)` loop, where lanes is the largest power
of two that divides n and fits the registers. A loop whose iterations may not run side by side, or that has no such
power of two above 1, becomes a plain loop. Afterwards every vectorised loop is one vector operation per statement.

    for j in vectorize(64):              for j_vec in unroll(4):
        C[j] = A[j] * 2.0        ->          for j_lane in vectorize(16):
                                                 C[j_vec * 16 + j_lane] = A[j_vec * 16 + j_lane] * 2.0
"""

from __future__ import annotations

from runtime.expr import ITEM_SIZE, Expr, Load, Var, free_variables, substitute, walk
from runtime.index_forms import fold, step
from runtime.loop_nest import (
    PARALLEL,
    SERIAL,
    UNROLL,
    VECTORIZE,
    Allocate,
    For,
    If,
    LoopNest,
    Stmt,
    Store,
    reads,
    rebuild_stmt,
    stores,
    sub_stmts,
    walk_stmts,
)

UNROLLED_VECTORS = 8  # a row of at most so many vectors is unrolled


def vectorize_loops(nest: LoopNest, vector_bytes: int = 64) -> LoopNest:
    """Split or drop every vectorised loop of a nest, see the module."""
    names = {stmt.var.name for stmt in walk_stmts(nest.body) if isinstance(stmt, For)}
    return LoopNest(nest.name, nest.inputs, nest.outputs, _rewrite(nest.body, vector_bytes, names))


def _rewrite(stmt: Stmt, vector_bytes: int, names: set[str]) -> Stmt:
    parts = tuple(_rewrite(part, vector_bytes, names) for part in sub_stmts(stmt))
    if parts:
        stmt = rebuild_stmt(stmt, parts)
    if not isinstance(stmt, For) or stmt.kind != VECTORIZE:
        return stmt
    lanes = lane_count(stmt, vector_bytes)
    while lanes > 1:
        split = split_loop(stmt, lanes, names)
        if obstacle(split if stmt.extent == lanes else split.body) is None:  # type: ignore[attr-defined]
            return split
        lanes //= 2
    return For(stmt.var, stmt.extent, SERIAL, stmt.body)


def lane_count(loop: For, vector_bytes: int) -> int:
    """The largest power of two that divides the extent and whose elements fit one register."""
    buffers = [access.buffer for access in (*reads(loop.body), *stores(loop.body))]
    width = max([ITEM_SIZE[buffer.dtype] for buffer in buffers] + [4])
    return min(loop.extent & -loop.extent, vector_bytes // width)


def split_loop(loop: For, lanes: int, names: set[str]) -> For:
    """A loop over vectors around a loop over lanes; the loop itself when it is one vector."""
    if loop.extent == lanes:
        return loop
    outer, inner = (Var(_fresh(f"{loop.var.name}_{part}", names)) for part in ("vec", "lane"))
    body = substitute_stmt(loop.body, {loop.var.name: outer * lanes + inner})
    count = loop.extent // lanes
    return For(outer, count, UNROLL if count <= UNROLLED_VECTORS else SERIAL, For(inner, lanes, VECTORIZE, body))


def _fresh(name: str, names: set[str]) -> str:
    while name in names:
        name += "_"
    names.add(name)
    return name


def substitute_stmt(stmt: Stmt, values: dict[str, Expr]) -> Stmt:
    """Replace loop variables by expressions in a statement, and fold the indices that result."""

    def new(expr: Expr) -> Expr:
        return fold(substitute(expr, values))

    if isinstance(stmt, Store):
        return Store(stmt.buffer, tuple(new(index) for index in stmt.indices), new(stmt.value))
    if isinstance(stmt, If):
        return If(new(stmt.condition), substitute_stmt(stmt.body, values))
    return rebuild_stmt(stmt, tuple(substitute_stmt(part, values) for part in sub_stmts(stmt)))


def obstacle(loop: For) -> str | None:
    """Why the iterations of a loop may not run in lockstep; None when they may.

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
    accesses = [*reads(loop.body), *stores(loop.body)]
    for name in {store.buffer.name for store in stores(loop.body)}:
        indices = [access.indices for access in accesses if access.buffer.name == name]
        if name in own:
            if any(var in free_variables(index) for access in indices for index in access):
                return f"each iteration has its own {name}, indexed by {var}"
        elif not any(_divides(column, loop, inner) for column in zip(*indices)):
            return f"iterations may meet in {name}"
    return None


def _divides(column: tuple[Expr, ...], loop: For, inner: set[str]) -> bool:
    first = column[0]
    if any(index != first for index in column) or free_variables(first) & inner:
        return False
    return not any(isinstance(node, Load) for node in walk(first)) and bool(step(first, loop.var.name, loop.extent))
