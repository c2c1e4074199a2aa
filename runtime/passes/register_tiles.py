"""Keep what a kernel works on in registers: LoopNest -> LoopNest passes that run before emission.

Input: a nest whose vectorised loops are one vector long (`vector_loops`). In order:
1. `drop_unit_loops` removes loops of one iteration.
2. `promote_accumulators`: a store `T[s] = f(T[s], ...)` whose place `s` stays the same in a reduction loop works on a
   register tile instead, loaded before the outermost such loop for which the tile is small, and stored after it.
3. `to_registers`: a small local buffer indexed only by loops that can be unrolled moves to registers, and those loops
   are unrolled, for a register has no address.

Each result is a legal nest that prints and can be interpreted.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import prod

from runtime.expr import Buffer, Const, Expr, Load
from runtime.expr_tree import free_variables, has_loads, substitute, transform_loads
from runtime.indices.index_forms import flat_index, interval, step
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
    sub_stmts,
    transform_stmts,
    walk_stmts,
)
from runtime.names import Names
from runtime.passes.vector_loops import substitute_stmt
from runtime.passes.visits import Access, accesses, accesses_of, tile_loops, vector_layout

TILE_LIMIT = 48  # vectors (or scalars) of a register tile; x86-64 with AVX-512 has 32 registers, NEON too
COPIES_LIMIT = 512  # statements after unrolling


def register_tiles(nest: LoopNest) -> LoopNest:
    """All passes of this module, in order."""
    return to_registers(promote_accumulators(to_registers(drop_unit_loops(nest))))


def drop_unit_loops(nest: LoopNest) -> LoopNest:
    """Remove loops of one iteration, except parallel ones' meaning: their body simply runs once.

    >>> from runtime.loop_nest_text import parse
    >>> print(drop_unit_loops(parse("def f() -> (C: float32[4]):\\n  for i in range(1):\\n    C[i * 2] = 0.0")))
    def f() -> (C: float32[4]):
        C[0] = 0.0
    """

    def visit(stmt: Stmt) -> Stmt | None:
        if isinstance(stmt, For) and stmt.extent == 1:
            return substitute_stmt(stmt.body, {stmt.var.name: Const(0)})
        return None

    return LoopNest(nest.name, nest.inputs, nest.outputs, transform_stmts(nest.body, visit))


def promote_accumulators(nest: LoopNest) -> LoopNest:
    """Give accumulators a register tile around their reduction loops, see the module.

    >>> from runtime.loop_nest_text import parse
    >>> text = "def f(A: float32[8]) -> (C: float32[1]):\\n  C[0] = 0.0\\n  for k in range(8):\\n    C[0] = C[0] + A[k]"
    >>> print(promote_accumulators(parse(text)))
    def f(A: float32[8]) -> (C: float32[1]):
        with register(float32[()]) as C_tile:
            C_tile[()] = 0.0
            for k in range(8):
                C_tile[()] = C_tile[()] + A[k]
            C[0] = C_tile[()]
    """
    body = promote_below(nest.body, (), Names.of(nest), leaving_in_place(nest.body))
    return LoopNest(nest.name, nest.inputs, nest.outputs, body)


def leaving_in_place(stmt: Stmt, loops: frozenset[str] = frozenset()) -> frozenset[str]:
    """The loops below a statement that do not move everything which is stored inside them; most loops do.

    >>> from runtime.loop_nest_text import parse
    >>> sums = "def f(A: int32[4, 8]) -> (C: int32[4]):\\n for i in range(4):\\n  for k in range(8):\\n   C[i] = {}"
    >>> leaving_in_place(parse(sums.format("C[i] + A[i, k]")).body)
    frozenset({'k'})
    """
    if isinstance(stmt, For):
        loops |= {stmt.var.name}
    if isinstance(stmt, Store):
        return loops.difference(*map(free_variables, stmt.indices)) if stmt.buffer.scope != "register" else frozenset()
    return frozenset().union(*(leaving_in_place(part, loops) for part in sub_stmts(stmt)))


def promote_below(stmt: Stmt, loops: tuple[For, ...], names: Names, candidates: frozenset[str]) -> Stmt:
    """A statement, with these loops around it, whose accumulators have register tiles.

    candidates: the loops that may leave an accumulator in place.
    """
    if isinstance(stmt, Block):
        return _promote_block(stmt, loops, names, candidates)
    if isinstance(stmt, For):
        if stmt.kind in (SERIAL, UNROLL) and stmt.var.name in candidates:
            for found in accumulators(stmt, loops):
                return promote_below(with_tile(stmt, found, names, None), loops, names, candidates)
        loops = (*loops, stmt)
    return change_parts(stmt, lambda part: promote_below(part, loops, names, candidates))


def _promote_block(stmt: Block, loops: tuple[For, ...], names: Names, candidates: frozenset[str]) -> Stmt:
    """Promote in each part; a part that only initialises the accumulator of the next is absorbed by its tile."""
    done: list[Stmt] = []
    for part in stmt.stmts:
        while isinstance(part, For) and part.kind in (SERIAL, UNROLL) and part.var.name in candidates:
            found = next(iter(accumulators(part, loops)), None)
            if found is None:
                break
            start = initial_value(done[-1], found, part) if done else None
            if start is not None:
                done.pop()
            part = with_tile(part, found, names, start)
        done.append(promote_below(part, loops, names, candidates))
    return block(*done)


def accumulators(reduction: For, loops: tuple[For, ...]) -> list[Access]:
    """The stores below a loop that accumulate in a small tile which the loop leaves in place."""
    inside: dict[str, list[Access]] = {}
    for access in accesses(reduction.body):
        inside.setdefault(access.buffer.name, []).append(access)
    own = {stmt.buffer.name for stmt in walk_stmts(reduction.body) if isinstance(stmt, Allocate)}
    found = []
    for name, group in inside.items():
        store = next((access for access in group if access.is_store), None)
        if store is None or name in own or store.buffer.scope == "register":
            continue
        if reduction.var.name in store.variables or not any(not access.is_store for access in group):
            continue
        if _is_one_tile(store, group) and _copies_stay_inside(store, (*loops, reduction)):
            found.append(store)
    return found


def _is_one_tile(store: Access, group: list[Access]) -> bool:
    """Whether all accesses are to the store's place under the same loops, which make up a small tile of places."""
    tile = tile_loops(store)
    if any(access.indices != store.indices or tile_loops(access) != tile for access in group):
        return False
    if any(loop.kind == PARALLEL for loop in store.loops):
        return False
    if prod(loop.extent for loop in tile if loop.kind != VECTORIZE) > TILE_LIMIT:
        return False
    flat = flat_index(store.indices, store.buffer.shape)
    reach = 0
    strides = [(step(flat, loop.var.name, loop.extent), loop.extent) for loop in tile]
    if any(stride is None for stride, _ in strides):
        return False
    for stride, extent in sorted((abs(stride), extent) for stride, extent in strides if stride is not None):
        if stride <= reach:  # two points of the tile may be one place
            return False
        reach += stride * (extent - 1)
    return True


def _copies_stay_inside(store: Access, loops: tuple[For, ...]) -> bool:
    """Whether the tile may be copied without the guards that change inside the reduction."""
    extents = {loop.var.name: loop.extent for loop in (*loops, *store.loops)}
    for index, extent in zip(store.indices, store.buffer.shape):
        low, high = interval(index, extents)
        if low < 0 or high >= extent:
            return len(_fixed_guards(store, loops[-1])) == len(store.guards)
    return True


def _fixed_guards(store: Access, reduction: For) -> list[Expr]:
    """The guards around a store that do not change inside the reduction loop, but for the tile's own loops."""
    moving = {loop.var.name for loop in (reduction, *store.loops)} - {loop.var.name for loop in tile_loops(store)}
    return [guard for guard in store.guards if not free_variables(guard) & moving and not has_loads(guard)]


def with_tile(reduction: For, store: Access, names: Names, start: Expr | None) -> Stmt:
    """Run a reduction loop on a register tile; `start` is the value to begin with, None to load it."""
    tile = tile_loops(store)
    name = names.fresh(f"{store.buffer.name}_tile")
    register = Buffer(name, tuple(loop.extent for loop in tile), store.buffer.dtype, "register")
    place = tuple(loop.var for loop in tile)

    def swap(expr: Expr) -> Expr:
        return transform_loads(expr, lambda load: Load(register, place) if load.buffer == store.buffer else None)

    def visit(stmt: Stmt) -> Stmt | None:
        if isinstance(stmt, Store):
            if stmt.buffer == store.buffer:
                return Store(register, place, swap(stmt.value))
            return Store(stmt.buffer, tuple(swap(index) for index in stmt.indices), swap(stmt.value))
        return If(swap(stmt.condition), stmt.body) if isinstance(stmt, If) else None

    fresh = {loop.var.name: names.variable(f"{loop.var.name}_copy") for loop in tile}
    here = Load(register, tuple(fresh.values()))
    there = Load(store.buffer, tuple(substitute(index, fresh) for index in store.indices))
    guards = [substitute(guard, fresh) for guard in _fixed_guards(store, reduction)]

    def copy(target: Load, value: Expr) -> Stmt:
        stmt: Stmt = Store(target.buffer, target.indices, value)
        for guard in reversed(guards):
            stmt = If(guard, stmt)
        for loop in reversed(tile):
            stmt = For(fresh[loop.var.name], loop.extent, loop.kind, stmt)
        return stmt

    begin = copy(here, there if start is None else start)
    return Allocate(register, block(begin, transform_stmts(reduction, visit), copy(there, here)))


def initial_value(stmt: Stmt, store: Access, reduction: For) -> Expr | None:
    """The constant that a statement stores to exactly the places of a tile, or None when it does something else."""
    loops: list[For] = []
    while isinstance(stmt, For):
        loops.append(stmt)
        stmt = stmt.body
    tile = tile_loops(store)
    if not isinstance(stmt, Store) or stmt.buffer != store.buffer or not isinstance(stmt.value, Const):
        return None
    if [loop.extent for loop in loops] != [loop.extent for loop in tile] or _fixed_guards(store, reduction):
        return None
    renamed: Mapping[str, Expr] = {loop.var.name: other.var for loop, other in zip(loops, tile)}
    return stmt.value if tuple(substitute(index, renamed) for index in stmt.indices) == store.indices else None


def to_registers(nest: LoopNest) -> LoopNest:
    """Move small local buffers to registers and unroll the loops that index them, see the module."""
    return LoopNest(nest.name, nest.inputs, nest.outputs, _to_registers(nest.body, ()))


def _to_registers(stmt: Stmt, loops: tuple[For, ...]) -> Stmt:
    if isinstance(stmt, Allocate) and stmt.buffer.scope != "global":
        touched = accesses_of(stmt)
        stmt = _with_scope(stmt, "register" if fits_registers(stmt, loops, touched) else "local", touched)
    if isinstance(stmt, For):
        loops = (*loops, stmt)
    return change_parts(stmt, lambda part: _to_registers(part, loops))


def fits_registers(allocation: Allocate, around: tuple[For, ...], touched: Sequence[Access]) -> bool:
    """Whether every index of a buffer is known once some loops are unrolled, and both tile and code stay small."""
    lanes = vector_layout(allocation, around, touched)
    inside_lane = any(loop.kind == VECTORIZE for loop in around)
    if lanes is None or allocation.buffer.size // (1 if inside_lane else lanes or 8) > TILE_LIMIT:
        return False
    for access in touched:
        used = access.variables
        moving = [loop for loop in access.loops if loop.var.name in used and loop.kind != VECTORIZE]
        if used - {loop.var.name for loop in access.loops}:
            return False
        if any(loop.kind == PARALLEL for loop in access.loops):
            return False
        if prod(loop.extent for loop in moving) > COPIES_LIMIT:
            return False
        if moving and any(
            isinstance(stmt, For) and stmt.kind == SERIAL and stmt.var.name not in used
            for stmt in walk_stmts(moving[0].body)
        ):
            return False
    return True


def _with_scope(allocation: Allocate, scope: str, touched: Sequence[Access]) -> Stmt:
    """Move a buffer to a scope; the loops that index a register are unrolled."""
    old, body = allocation.buffer, allocation.body
    if scope == "register":
        body = _unrolled(body, {id(loop) for access in touched for loop in tile_loops(access) if loop.kind == SERIAL})
    if scope == old.scope:
        return Allocate(old, body)
    new = Buffer(old.name, old.shape, old.dtype, scope)

    def swap(expr: Expr) -> Expr:
        return transform_loads(expr, lambda load: Load(new, load.indices) if load.buffer == old else None)

    def visit(stmt: Stmt) -> Stmt | None:
        if isinstance(stmt, Store):
            buffer = new if stmt.buffer == old else stmt.buffer
            return Store(buffer, tuple([swap(index) for index in stmt.indices]), swap(stmt.value))
        return If(swap(stmt.condition), stmt.body) if isinstance(stmt, If) else None

    return Allocate(new, transform_stmts(body, visit))


def _unrolled(stmt: Stmt, loops: set[int]) -> Stmt:
    """Unroll the loops of these identities below a statement."""
    if isinstance(stmt, For) and id(stmt) in loops:
        stmt = For(stmt.var, stmt.extent, UNROLL, stmt.body)
    return change_parts(stmt, lambda part: _unrolled(part, loops)) if loops else stmt
