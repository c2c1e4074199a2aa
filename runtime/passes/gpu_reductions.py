"""Reductions across the threads of a block: partial results in each thread, combined by warp shuffles.

Paper: Ansor §4.3

A `thread` loop over a reduction axis accumulates in a place that does not move with the thread. Each thread then keeps
a partial result of its own over all reduction loops around, from the neutral element on; the lanes of a warp combine
theirs with shuffles, the warps through shared memory, and every thread of the block adds the total to the accumulator.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from runtime.expr import Binary, Buffer, Call, Const, Expr, Load
from runtime.expr_tree import loads, substitute, transform_loads
from runtime.loop_nest import (
    BLOCK,
    THREAD,
    UNROLL,
    Allocate,
    For,
    If,
    Stmt,
    Store,
    block,
    change_parts,
    transform_stmts,
    walk_stmts,
)
from runtime.names import Names
from runtime.passes.visits import Access, accesses

WARP = 32
COMBINERS = {"+": "add", "*": "mul", "min": "min", "max": "max"}


def neutral(op: str, dtype: str) -> Const:
    """What a combiner leaves every value as it is with.

    >>> print(neutral("max", "float32"), neutral("+", "int32"))
    -inf 0
    """
    if op in ("+", "*"):
        value: float = 0 if op == "+" else 1
    elif dtype.startswith("float"):
        value = math.inf if op == "min" else -math.inf
    else:
        bits = 31 if dtype == "int32" else 63
        value = 2**bits - 1 if op == "min" else -(2**bits)
    return Const(float(value) if dtype.startswith("float") else value, dtype)


def combined(store: Store) -> tuple[str, Expr] | None:
    """The combiner and the new value of `T[s] = T[s] op value`; None for any other store."""
    value, place = store.value, Load(store.buffer, store.indices)
    if not isinstance(value, Binary) or value.op not in COMBINERS:
        return None
    for own, other in ((value.a, value.b), (value.b, value.a)):
        if own == place and all(load.buffer.name != store.buffer.name for load in loads(other)):
            return value.op, other
    return None


def reduce_across_threads(stmt: Stmt, threads: int, names: Names) -> Stmt:
    """The statement with partial results where thread loops reduce; `threads` is the size of the block."""
    return _below(stmt, threads, names, set())


def reduces_across_threads(stmt: Stmt) -> bool:
    """Whether a thread loop below a statement accumulates in a place that it does not move."""
    return any(_crosses(access) for access in accesses(stmt))


def _crosses(access: Access) -> bool:
    """Whether an access is an accumulation by all threads of a loop in one place."""
    if not access.is_store or not isinstance(access.stmt, Store) or combined(access.stmt) is None:
        return False
    thread = next((loop for loop in reversed(access.loops) if loop.kind == THREAD), None)
    own = {node.buffer.name for node in walk_stmts(thread.body) if isinstance(node, Allocate)} if thread else set()
    return thread is not None and thread.var.name not in access.variables and access.buffer.name not in own


def _below(stmt: Stmt, threads: int, names: Names, done: set[str]) -> Stmt:
    if isinstance(stmt, For) and stmt.kind != BLOCK:
        found = _accumulation(stmt, done)
        if found is not None:
            return _below(_with_partials(stmt, found, threads, names, done), threads, names, done)
    return change_parts(stmt, lambda part: _below(part, threads, names, done))


def _accumulation(loop: For, done: set[str]) -> Access | None:
    """A reduction across threads for which this is the outermost loop."""
    inside = accesses(loop)
    own = {node.buffer.name for node in walk_stmts(loop) if isinstance(node, Allocate)}
    for access in inside:
        name = access.buffer.name
        if name in own or name in done or loop.var.name in access.variables or not _crosses(access):
            continue
        assert isinstance(access.stmt, Store)
        rule = combined(access.stmt)
        same = all(
            other.indices == access.indices
            and (not other.is_store or (isinstance(other.stmt, Store) and _op(other.stmt) == _op(access.stmt)))
            and isinstance(other.stmt, Store)
            and other.stmt.buffer.name == name
            for other in inside
            if other.buffer.name == name
        )
        if same and rule is not None:
            return access
    return None


def _op(store: Store) -> str | None:
    rule = combined(store)
    return None if rule is None else rule[0]


def _with_partials(loop: For, access: Access, threads: int, names: Names, done: set[str]) -> Stmt:
    """The loop on partial results, and their combination after it."""
    assert isinstance(access.stmt, Store)
    op, target = _op(access.stmt) or "+", access.buffer
    moving = [outer for outer in access.loops if outer.var.name in access.variables]
    partial = Buffer(names.fresh(f"{target.name}_partial"), tuple(m.extent for m in moving), target.dtype, "register")
    here = tuple(m.var for m in moving)
    done.add(partial.name)

    def visit(stmt: Stmt) -> Stmt | None:
        if not isinstance(stmt, Store) or stmt.buffer.name != target.name:
            return None
        swapped = transform_loads(stmt.value, lambda load: partial[here] if load.buffer.name == target.name else None)
        return Store(partial, here, swapped)

    fresh = [For(names.variable(m.var.name), m.extent, UNROLL, m) for m in moving]
    place = tuple(f.var for f in fresh)
    renamed: dict[str, Expr] = {m.var.name: f.var for m, f in zip(moving, fresh)}
    goal = tuple(substitute(index, renamed) for index in access.indices)
    start = _loops(fresh, Store(partial, place, neutral(op, target.dtype)))
    shuffle = Store(partial, place, Call(f"warp_{COMBINERS[op]}", (partial[place],)))
    if threads <= WARP:
        total: Stmt = Store(target, goal, Binary(op, Load(target, goal), partial[place]))
        return Allocate(
            partial, block(start, transform_stmts(loop, visit), _loops(fresh, shuffle), _loops(fresh, total))
        )
    warps = Buffer(names.fresh(f"{target.name}_warps"), (*partial.shape, threads // WARP), target.dtype, "shared")
    thread, warp = names.variable("lane"), names.variable("warp")
    first = If(Binary("==", thread % WARP, Const(0)), Store(warps, (*place, thread // WARP), partial[place]))
    total = Store(target, goal, Binary(op, Load(target, goal), warps[(*place, warp)]))
    collect = For(thread, threads, THREAD, _loops(fresh, first))
    return Allocate(
        partial,
        Allocate(
            warps,
            block(
                start,
                transform_stmts(loop, visit),
                _loops(fresh, shuffle),
                collect,
                _loops(fresh, For(warp, threads // WARP, UNROLL, total)),
            ),
        ),
    )


def _loops(around: Sequence[For], stmt: Stmt) -> Stmt:
    for loop in reversed(around):
        stmt = For(loop.var, loop.extent, loop.kind, stmt)
    return stmt
