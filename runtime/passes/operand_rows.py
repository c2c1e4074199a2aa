"""Load what all rows of a register tile share once: LoopNest -> LoopNest.

In `for i: for j: T[i, j] += A[i, k] * B[k, j]` every row i reads the same B[k, j]. For tiles of up to four rows gcc
folds each of those loads into its multiply-add, which loads every vector once per row; a tile of its own for the row
of B, kept in registers by the emitter, stops that. Taller tiles do not need it.

    for i in unroll(4):                      with register(float32[16]) as B_row:
        for j in vectorize(16):                  for j in vectorize(16):
            T[i, j] = ... B[k, j]      ->            B_row[j] = B[k, j]
                                                 for i in unroll(4):
                                                     for j in vectorize(16):
                                                         T[i, j] = ... B_row[j]
"""

from __future__ import annotations

from collections.abc import Iterator
from math import prod

from runtime.expr import Binary, Buffer, Expr, Load
from runtime.expr_tree import free_variables, substitute, transform_loads
from runtime.indices.index_forms import interval
from runtime.loop_nest import (
    UNROLL,
    VECTORIZE,
    Allocate,
    For,
    If,
    LoopNest,
    Stmt,
    Store,
    block,
    change_parts,
)
from runtime.names import Names

MAX_ROWS = 4
MAX_VECTORS = 16  # of one row; more would not stay in registers beside the tile


def share_rows(nest: LoopNest) -> LoopNest:
    """Stage shared operands of short register tiles, see the module."""
    return LoopNest(nest.name, nest.inputs, nest.outputs, _below(nest.body, Names.of(nest), ()))


def _below(stmt: Stmt, names: Names, around: tuple[For, ...], outer: tuple[For, ...] = ()) -> Stmt:
    """Stage below a statement; `around` are the loops around it, `outer` those unrolled directly around it."""
    if isinstance(stmt, For) and stmt.kind == UNROLL:
        staged = _stage(stmt, around, outer, names)
        if staged is not None:
            return staged
    if isinstance(stmt, For):
        around, outer = (*around, stmt), (*outer, stmt) if stmt.kind == UNROLL else ()
    elif not isinstance(stmt, If):
        outer = ()
    return change_parts(stmt, lambda part: _below(part, names, around, outer))


def _stage(first: For, around: tuple[For, ...], outer: tuple[For, ...], names: Names) -> Stmt | None:
    """A loop over rows with the loads that no row changes before it; None when it has none."""
    tile: list[For] = [first]
    stmt, guarded = first.body, False
    while isinstance(stmt, If) or (isinstance(stmt, For) and stmt.kind in (UNROLL, VECTORIZE)):
        if isinstance(stmt, For):
            tile.append(stmt)
        guarded = guarded or isinstance(stmt, If)
        stmt = stmt.body
    if not isinstance(stmt, Store) or stmt.buffer.scope != "register" or tile[-1].kind != VECTORIZE:
        return None
    result: Stmt = first
    for load in dict.fromkeys(always_read(stmt, tile[-1])):
        if guarded and not _is_inside(load, (*around, *tile)):  # the guard may be what keeps it inside
            continue
        rows = [loop.extent for loop in (*outer, *tile) if loop.var.name not in free_variables(load)]
        # Further out the same load is shared by more rows; where they are many, gcc keeps it in a register by itself.
        if first.var.name not in free_variables(load) and all(loop.var.name in free_variables(load) for loop in outer):
            if 1 < prod(rows) <= MAX_ROWS:
                columns = [loop for loop in tile if loop.var.name in free_variables(load)]
                if prod(loop.extent for loop in columns if loop.kind != VECTORIZE) > MAX_VECTORS:
                    continue
                result = _with_row(result, load, columns, names)
    return result if result is not first else None


def always_read(store: Store, lane: For) -> Iterator[Load]:
    """The vectors in memory that a statement reads whatever happens."""
    factors = [store.value]
    while factors:
        expr = factors.pop()
        if isinstance(expr, Binary):
            factors += [expr.b, expr.a]
        elif isinstance(expr, Load) and expr.buffer.scope != "register" and lane.var.name in free_variables(expr):
            yield expr


def _is_inside(load: Load, loops: tuple[For, ...]) -> bool:
    """Whether a load is inside its buffer whatever the loops around it do."""
    extents = {loop.var.name: loop.extent for loop in loops}
    spans = [interval(index, extents) for index in load.indices]
    return all(low >= 0 and high < extent for (low, high), extent in zip(spans, load.buffer.shape))


def _with_row(stmt: Stmt, load: Load, columns: list[For], names: Names) -> Stmt:
    row = Buffer(
        names.fresh(f"{load.buffer.name}_row"), tuple(loop.extent for loop in columns), load.dtype, scope="register"
    )
    here = Load(row, tuple(loop.var for loop in columns))
    fresh: dict[str, Expr] = {loop.var.name: names.variable(f"{loop.var.name}_row") for loop in columns}
    fill: Stmt = Store(row, tuple(fresh.values()), substitute(load, fresh))
    for loop in reversed(columns):
        fill = For(fresh[loop.var.name], loop.extent, loop.kind, fill)  # type: ignore[arg-type]

    def swap(part: Stmt) -> Stmt:
        if isinstance(part, Store):
            return Store(part.buffer, part.indices, transform_loads(part.value, lambda e: here if e == load else None))
        return change_parts(part, swap)

    if isinstance(stmt, Allocate):  # an operand staged before: keep its fill first
        return Allocate(row, block(fill, Allocate(stmt.buffer, swap(stmt.body))))
    return Allocate(row, block(fill, swap(stmt)))
