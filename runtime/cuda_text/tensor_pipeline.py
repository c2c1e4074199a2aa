"""Which copies to shared memory run ahead of the loop that uses them.

The form of a loop over k whose copies are `ahead` steps ahead, in rotating tiles [stages, ...], stages = ahead + 1:

    for s in unroll(ahead):                 copy step s into tile s % stages
    for k in range(steps):
        if k + ahead < steps:               copy step k + ahead into tile (k + ahead) % stages
        ...                                 work on tile k % stages

Serially this is plain. On a GPU the copies of a step are one group of `cp.async`: at the top of iteration k all groups
but the last `ahead - 1` have arrived, a barrier shows them to all threads and tells that iteration k - 1 is through
with the tile that is overwritten next. Anything that deviates from the form is not taken for it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from runtime.expr import Binary, Buffer, Const, Expr, Load
from runtime.expr_tree import loads, substitute, transform
from runtime.indices.index_forms import fold
from runtime.loop_nest import (
    SERIAL,
    UNROLL,
    Allocate,
    Block,
    For,
    If,
    Stmt,
    Store,
    block,
    change_parts,
    expressions,
    stores,
    walk_stmts,
)


def fills_shared(stmt: Stmt) -> bool:
    """Whether a statement writes shared memory."""
    return any(store.buffer.scope == "shared" for store in stores(stmt))


def shared_loads(stmt: Stmt) -> list[Load]:
    """The loads from shared memory below a statement."""
    found = [load for node in walk_stmts(stmt) for top in expressions(node) for load in loads(top)]
    return [load for load in found if load.buffer.scope == "shared"]


def reads_shared(stmt: Stmt) -> bool:
    """Whether a statement reads shared memory."""
    return bool(shared_loads(stmt))


def runs_ahead(prologue: Stmt, loop: Stmt | None) -> bool:
    """Whether two statements are the first copies and the loop of the form above."""
    if not (isinstance(prologue, For) and prologue.kind == UNROLL and isinstance(loop, For) and loop.kind == SERIAL):
        return False
    if not isinstance(loop.body, Block) or not isinstance(loop.body.stmts[0], If):
        return False
    ahead, (guarded, *work) = prologue.extent, loop.body.stmts
    assert isinstance(guarded, If)
    later = loop.var + ahead
    if guarded.condition != later.__lt__(loop.extent) or loop.extent < ahead:
        return False
    if _canonical(prologue.body, {prologue.var.name: later}) != _canonical(guarded.body, {}):
        return False
    copied = [store for store in stores(guarded) if store.buffer.scope == "shared"]
    if not copied or len(copied) != len(stores(guarded)) or any(fills_shared(part) for part in work):
        return False
    rotating = {store.buffer for store in copied}
    used = [load for part in work for load in shared_loads(part) if load.buffer in rotating]
    places = [(store.buffer, store.indices[0], later) for store in copied]
    places += [(load.buffer, load.indices[0], loop.var) for load in used]
    return all(buffer.shape[0] == ahead + 1 and _is_turn(index, of, ahead + 1) for buffer, index, of in places)


@dataclass(frozen=True)
class InnerStep:
    """Work on one tile of k, cut: for each of a few `loop` iterations, fragments are loaded, then multiplied."""

    loop: For
    fragments: tuple[Buffer, ...]
    loads: Stmt
    multiply: Stmt


def inner_step(work: Sequence[Stmt]) -> InnerStep | None:
    """The work of a pipelined loop in that form, with an even number of iterations; None for any other."""
    if len(work) != 1 or not isinstance(work[0], For) or work[0].kind != UNROLL or work[0].extent % 2:
        return None
    body, fragments = work[0].body, []
    while isinstance(body, Allocate) and body.buffer.scope == "fragment":
        fragments.append(body.buffer)
        body = body.body
    if not isinstance(body, Block) or not fragments:
        return None
    *loading, multiply = body.stmts
    filled = {store.buffer for part in loading for store in stores(part)}
    if filled != set(fragments) or reads_shared(multiply) or not all(map(reads_shared, loading)):
        return None
    return InnerStep(work[0], tuple(fragments), block(*loading), multiply)


def _is_turn(index: Expr, of: Expr, stages: int) -> bool:
    return fold(index) == fold(Binary("%", of, Const(stages)))


def _canonical(stmt: Stmt, values: dict[str, Expr]) -> Stmt:
    """The statement with variables replaced and constants folded, so that equal ones compare equal."""

    def rewrite(expr: Expr) -> Expr:
        return fold(transform(substitute(expr, values), lambda node: None))

    if isinstance(stmt, Store):
        return Store(stmt.buffer, tuple(rewrite(index) for index in stmt.indices), rewrite(stmt.value))
    if isinstance(stmt, If):
        return If(rewrite(stmt.condition), _canonical(stmt.body, values))
    if isinstance(stmt, Allocate):
        return Allocate(stmt.buffer, _canonical(stmt.body, values))
    if isinstance(stmt, Block):
        return block(*(_canonical(part, values) for part in stmt.stmts))
    return change_parts(stmt, lambda part: _canonical(part, values))
