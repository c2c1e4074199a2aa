"""Copy into another order of axes through registers: LoopNest -> LoopNest, meaning unchanged.

A copy that swaps two axes walks through memory along one of them on either side. As vectors, it stores neighbours and
gathers what it loads, element by element. Here blocks of lanes x lanes elements are loaded as rows, turned in
registers (`c_text.lane_helpers`), and stored as rows:

    for d in range(64):                                for d_block in range(4):
        for i_vec in unroll(8):                            for i_vec in range(8):
            for i in vectorize(16):                            with register(float32[16, 16]) as X_block:
                Y[d, i_vec * 16 + i]          ->                   for row in unroll(16):
                    = X[i_vec * 16 + i, d]                             for column in vectorize(16):
                                                                           X_block[row, column] = X[...]
                                                                   for row in unroll(16):
                                                                       for column in vectorize(16):
                                                                           Y[...] = X_block[column, row]

The loop that is cut (d) has nothing but the copy in it, no guard either; or several, as for the shorter vectors that
the lanes leave over, each then with a loop of its own. That is legal where its iterations write different elements:
in one dimension of the result all copies have the same index, which steps with the loop and with none inside. The
result is no source. What is left of the loop beyond whole blocks stays. Elements have 4 bytes, as the shuffles expect.
"""

from __future__ import annotations

from typing import NamedTuple

from runtime.expr import ITEM_SIZE, Buffer, Const, Expr, Load
from runtime.expr_tree import has_loads, substitute
from runtime.indices.index_forms import flat_step, fold
from runtime.loop_nest import (
    SERIAL,
    UNROLL,
    VECTORIZE,
    Allocate,
    Block,
    For,
    LoopNest,
    Stmt,
    Store,
    block,
    change_parts,
)
from runtime.names import Names
from runtime.passes.vector_loops import divides, substitute_stmt
from runtime.passes.visits import vector_layout

LANES = (4, 8, 16)
ITEM_BYTES = 4  # of the elements that the shuffles move


def turn_copies(nest: LoopNest) -> LoopNest:
    """Turn the blocks of copies between orders of axes in registers, see the module."""
    return LoopNest(nest.name, nest.inputs, nest.outputs, _below(nest.body, Names.of(nest)))


class Copy(NamedTuple):
    """A copy of single elements: the loops around it, outer to inner, the last over the lanes of a vector."""

    loops: tuple[For, ...]
    store: Store
    load: Load


def _below(stmt: Stmt, names: Names) -> Stmt:
    if isinstance(stmt, For) and stmt.kind in (SERIAL, UNROLL):
        copies = _copies_in(stmt)
        if any(map(_can_turn, copies)):
            return block(*(_turned(copy, names) if _can_turn(copy) else _whole(copy) for copy in copies))
    return change_parts(stmt, lambda part: _below(part, names))


def _copies_in(cut: For) -> list[Copy]:
    """The copies that are all that a loop does, if each may be done for all iterations before the next; else none."""
    copies = [_copy(cut, part) for part in (cut.body.stmts if isinstance(cut.body, Block) else (cut.body,))]
    found = [copy for copy in copies if copy is not None]
    targets, sources = {copy.store.buffer.name for copy in found}, {copy.load.buffer.name for copy in found}
    if len(found) < len(copies) or len(targets) != 1 or targets & sources:
        return []
    inner = {loop.var.name for copy in found for loop in copy.loops[1:]}
    columns = zip(*(copy.store.indices for copy in found))
    return found if any(divides(column, cut, inner) for column in columns) else []


def _copy(cut: For, part: Stmt) -> Copy | None:
    """The copy that is all that a part of a loop does."""
    loops = [cut]
    while isinstance(part, For) and part.kind in (SERIAL, UNROLL, VECTORIZE):
        loops.append(part)
        part = part.body
    if not isinstance(part, Store) or not isinstance(part.value, Load):
        return None
    plain = not any(has_loads(index) for index in (*part.indices, *part.value.indices))
    in_memory = "register" not in (part.buffer.scope, part.value.buffer.scope)
    return Copy(tuple(loops), part, part.value) if plain and in_memory else None


def _whole(copy: Copy) -> Stmt:
    """A copy as it was."""
    stmt: Stmt = copy.store
    for loop in reversed(copy.loops):
        stmt = For(loop.var, loop.extent, loop.kind, stmt)
    return stmt


def _can_turn(copy: Copy) -> bool:
    """Whether a copy stores neighbours lane by lane, and loads neighbours along its outermost loop, not the lanes."""
    cut, lane, source, target = copy.loops[0], copy.loops[-1], copy.load.buffer.shape, copy.store.buffer.shape
    return (
        lane.kind == VECTORIZE
        and lane.extent in LANES
        and cut.extent >= lane.extent
        and ITEM_SIZE[copy.load.dtype] == ITEM_BYTES
        and flat_step(copy.store.indices, target, lane.var.name, lane.extent) == 1
        and flat_step(copy.load.indices, source, lane.var.name, lane.extent) != 1
        and flat_step(copy.load.indices, source, cut.var.name, cut.extent) == 1
    )


def _turned(copy: Copy, names: Names) -> Stmt:
    """A copy in whole blocks, and then what is left of the loop that is cut."""
    (cut, *between, lane), store, load = copy
    lanes = lane.extent
    blocks, rest = divmod(cut.extent, lanes)
    number, row, column = (names.variable(f"{cut.var.name}_{part}") for part in ("block", "row", "column"))
    start = number * lanes if blocks > 1 else Const(0)
    tile = Buffer(names.fresh(f"{load.buffer.name}_block"), (lanes, lanes), load.dtype, "register")

    def at(indices: tuple[Expr, ...], along: Expr, across: Expr) -> tuple[Expr, ...]:
        values = {cut.var.name: fold(start + along), lane.var.name: across}
        return tuple(fold(substitute(index, values)) for index in indices)

    def each(stmt: Store) -> Stmt:
        return For(row, lanes, UNROLL, For(column, lanes, VECTORIZE, stmt))

    filled = each(Store(tile, (row, column), Load(load.buffer, at(load.indices, column, row))))
    stored = each(Store(store.buffer, at(store.indices, row, column), Load(tile, (column, row))))
    turned: Stmt = Allocate(tile, block(filled, stored))
    for loop in reversed(between):
        turned = For(loop.var, loop.extent, SERIAL, turned)
    turned = For(number, blocks, SERIAL, turned) if blocks > 1 else turned
    return block(turned, _last(_whole(copy), rest)) if rest else turned


def _last(loop: Stmt, count: int) -> Stmt:
    """The last iterations of a loop."""
    assert isinstance(loop, For)
    start = loop.extent - count
    if count == 1:
        return substitute_stmt(loop.body, {loop.var.name: Const(start)})
    return For(loop.var, count, loop.kind, substitute_stmt(loop.body, {loop.var.name: fold(loop.var + start)}))


def turned_block(allocation: Allocate) -> tuple[Stmt, Stmt] | None:
    """What fills a square block of registers, and what stores it once it is turned; None for other allocations.

    >>> from runtime.loop_nest_text import parse
    >>> nest = turn_copies(parse('''
    ... def f(X: float32[4, 6]) -> (Y: float32[6, 4]):
    ...     for d in range(6):
    ...         for i in vectorize(4):
    ...             Y[d, i] = X[i, d]
    ... '''))
    >>> print(nest)
    def f(X: float32[4, 6]) -> (Y: float32[6, 4]):
        with register(float32[4, 4]) as X_block:
            for d_row in unroll(4):
                for d_column in vectorize(4):
                    X_block[d_row, d_column] = X[d_row, d_column]
            for d_row in unroll(4):
                for d_column in vectorize(4):
                    Y[d_row, d_column] = X_block[d_column, d_row]
        for d in range(2):
            for i in vectorize(4):
                Y[d + 4, i] = X[i, d + 4]
    >>> print(turned_block(nest.body.stmts[0])[1])
    for d_row in unroll(4):
        for d_column in vectorize(4):
            Y[d_row, d_column] = X_block[d_row, d_column]
    """
    tile, parts = allocation.buffer, allocation.body.stmts if isinstance(allocation.body, Block) else ()
    if tile.scope != "register" or len(tile.shape) != 2 or tile.shape[0] != tile.shape[1] or len(parts) != 2:
        return None
    rows = parts[1]
    columns = rows.body if isinstance(rows, For) else rows
    if not isinstance(rows, For) or not isinstance(columns, For) or not isinstance(columns.body, Store):
        return None
    store = columns.body
    if (rows.kind, columns.kind) != (UNROLL, VECTORIZE) or store.value != Load(tile, (columns.var, rows.var)):
        return None
    straight = Store(store.buffer, store.indices, Load(tile, (rows.var, columns.var)))
    stored = For(rows.var, rows.extent, UNROLL, For(columns.var, columns.extent, VECTORIZE, straight))
    if (rows.extent, columns.extent) != tile.shape or store.buffer == tile or tile.shape[0] not in LANES:
        return None
    if ITEM_SIZE[tile.dtype] != ITEM_BYTES or vector_layout(Allocate(tile, block(parts[0], stored))) != tile.shape[0]:
        return None
    return parts[0], stored
