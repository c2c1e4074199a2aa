"""Register tiles of a GPU thread: what its phases accumulate in, unrolled so that no register needs an address.

1. Accumulators in memory get a register tile around their reduction loops (`register_tiles`).
2. Reduction loops move out of the loops over a tile: each step then updates the whole tile, and loads every operand
   once. The order in which one element accumulates stays as it was.
3. Loops that index a thread's own arrays are unrolled.
4. Operands that several elements of the tile share are loaded into registers first (`gpu_operands`).
5. Rows of neighbouring elements are moved 16 bytes at a time (`gpu_rows`).
"""

from __future__ import annotations

from math import prod

from runtime.expr import Buffer
from runtime.expr_tree import free_variables
from runtime.loop_nest import (
    SERIAL,
    THREAD,
    UNROLL,
    VECTORIZE,
    Allocate,
    For,
    Stmt,
    Store,
    change_parts,
    sub_stmts,
)
from runtime.names import Names
from runtime.passes.gpu_operands import load_operands_once
from runtime.passes.gpu_reductions import combined
from runtime.passes.gpu_rows import move_rows
from runtime.passes.register_tiles import leaving_in_place, promote_below
from runtime.passes.replace_buffers import replace_buffers
from runtime.passes.visits import accesses, tile_loops

COPIES_LIMIT = 1024  # statements of a tile
UNROLLED_LIMIT = 2048  # statements after unrolling the loops around tiles as well
OWN = ("local", "register")  # scopes of one thread


def tiles_in_registers(body: Stmt, names: Names) -> Stmt:
    """The phases of a kernel with tiles in registers, see the module."""
    body = _in_phases(_own_arrays(body), names)
    body = roll_up(unroll_tiles(reductions_outside(body)))
    return move_rows(load_operands_once(body, names), names)


def _own_arrays(stmt: Stmt) -> Stmt:
    """All arrays of a thread as registers: what they are once their loops are unrolled."""
    if isinstance(stmt, Allocate) and stmt.buffer.scope == "local":
        old = stmt.buffer
        new = Buffer(old.name, old.shape, old.dtype, "register")
        stmt = Allocate(new, replace_buffers(stmt.body, {old.name: new}))
    return change_parts(stmt, _own_arrays)


def _in_phases(stmt: Stmt, names: Names) -> Stmt:
    if isinstance(stmt, For) and stmt.kind == THREAD:
        return change_parts(stmt, lambda part: promote_below(part, (), names, leaving_in_place(part)))
    return change_parts(stmt, lambda part: _in_phases(part, names))


def chain(stmt: Stmt) -> tuple[list[For], Stmt]:
    """The loops that stand directly in one another, and what is inside the last.

    >>> from runtime.loop_nest import Block
    >>> from runtime.expr import Var
    >>> loops, inside = chain(For(Var("i"), 4, SERIAL, For(Var("j"), 2, UNROLL, Block(()))))
    >>> [loop.var.name for loop in loops], inside
    (['i', 'j'], Block(stmts=()))
    """
    loops: list[For] = []
    while isinstance(stmt, For) and stmt.kind in (SERIAL, UNROLL, VECTORIZE):
        loops.append(stmt)
        stmt = stmt.body
    return loops, stmt


def reductions_outside(stmt: Stmt) -> Stmt:
    """Move reduction loops out of the loops over an accumulating tile.

    >>> from runtime.expr import Const, Var
    >>> T, i, k = Buffer("T", (4,), "float32", "register"), Var("i"), Var("k")
    >>> update = Store(T, (i,), T[i] + 1.0)
    >>> print(reductions_outside(For(i, 4, SERIAL, For(k, 2, SERIAL, update))))
    for k in range(2):
        for i in range(4):
            T[i] = T[i] + 1.0
    """
    loops, inside = chain(stmt)
    if len(loops) > 1 and isinstance(inside, Store) and inside.buffer.scope in OWN and combined(inside) is not None:
        moving = frozenset().union(*map(free_variables, inside.indices))
        tile = [loop for loop in loops if loop.var.name in moving]
        if prod(loop.extent for loop in tile) <= COPIES_LIMIT:
            rest = [loop for loop in loops if loop.var.name not in moving]
            return around([*rest, *tile], inside)
    return change_parts(stmt, reductions_outside)


def around(loops: list[For], stmt: Stmt) -> Stmt:
    """A statement in loops, outer first."""
    for loop in reversed(loops):
        stmt = For(loop.var, loop.extent, loop.kind, stmt)
    return stmt


def unroll_tiles(body: Stmt) -> Stmt:
    """Unroll the loops that index a thread's own arrays, where that does not copy too much."""
    chosen: set[int] = set()
    for access in accesses(body):
        if access.buffer.scope in OWN:
            moving = [loop for loop in tile_loops(access) if loop.kind != THREAD]
            if prod(loop.extent for loop in moving) <= COPIES_LIMIT:
                chosen |= {id(loop) for loop in moving}
    return _unrolled(body, chosen)


def roll_up(stmt: Stmt) -> Stmt:
    """Keep the loops rolled that would make too many copies and that no thread's own array needs unrolled."""
    if isinstance(stmt, For) and stmt.kind == UNROLL and _copies(stmt) > UNROLLED_LIMIT:
        own = [access for access in accesses(stmt.body) if access.buffer.scope in OWN]
        if not any(stmt.var.name in access.variables for access in own):
            stmt = For(stmt.var, stmt.extent, SERIAL, stmt.body)
    return change_parts(stmt, roll_up)


def _copies(stmt: Stmt) -> int:
    """Statements after unrolling."""
    if isinstance(stmt, Store):
        return 1
    inside = sum(_copies(part) for part in sub_stmts(stmt))
    return inside * stmt.extent if isinstance(stmt, For) and stmt.kind in (UNROLL, VECTORIZE) else inside


def _unrolled(stmt: Stmt, chosen: set[int]) -> Stmt:
    if isinstance(stmt, For):
        kind = UNROLL if id(stmt) in chosen and stmt.kind == SERIAL else stmt.kind
        body = _unrolled(stmt.body, chosen)
        accumulates = isinstance(body, Store) and body.buffer.scope in OWN and combined(body) is not None
        if kind == VECTORIZE and accumulates:
            kind = UNROLL
        return stmt if body is stmt.body and kind == stmt.kind else For(stmt.var, stmt.extent, kind, body)
    return change_parts(stmt, lambda part: _unrolled(part, chosen))
