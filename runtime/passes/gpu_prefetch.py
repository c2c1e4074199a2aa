"""Loads of the next tile while this one is computed with: software pipelining through a thread's registers.

A loop that copies tiles from global to shared memory and then works on them waits for memory once an iteration. Here
each thread loads its part of the next tiles into registers before it works on the present ones, and stores them to
shared memory in the next iteration:

    for k in range(n):                      R = A[0, t]
        S[t] = A[k, t]                      for k in range(n):
        barrier                      ->         S[t] = R
        work on S                               barrier
                                                if k + 1 < n: R = A[k + 1, t]
                                                work on S
"""

from __future__ import annotations

from math import prod

from runtime.expr import Binary, Buffer, Const, Expr, Load, Var
from runtime.expr_tree import loads
from runtime.loop_nest import (
    SERIAL,
    THREAD,
    UNROLL,
    VECTORIZE,
    Allocate,
    Block,
    For,
    If,
    Stmt,
    Store,
    block,
    change_parts,
    walk_stmts,
)
from runtime.names import Names
from runtime.passes.gpu_simplify import simplify_stmt
from runtime.passes.gpu_threads import has_threads
from runtime.passes.replace_buffers import map_accesses
from runtime.passes.vector_loops import substitute_stmt
from runtime.passes.visits import accesses

REGISTERS_LIMIT = 32  # of each thread, for the tiles of one loop


def load_ahead(body: Stmt, names: Names) -> Stmt:
    """The phases of a kernel with loads ahead of their use, see the module."""
    written = {access.buffer.name for access in accesses(body) if access.is_store}
    return _below(body, written, names)


def _below(stmt: Stmt, written: set[str], names: Names) -> Stmt:
    if isinstance(stmt, For) and stmt.kind == SERIAL and stmt.extent > 1 and has_threads(stmt):
        done = _ahead(stmt, written, names)
        if done is not None:
            return done
    return change_parts(stmt, lambda part: _below(part, written, names))


def _ahead(loop: For, written: set[str], names: Names) -> Stmt | None:
    """The loop with its leading copies pipelined; None when there are none, or too many."""
    shared: list[Buffer] = []
    inside = loop.body
    phases: list[Stmt] = []
    while True:  # the phases of the body, through the allocations around them
        if isinstance(inside, Allocate) and inside.buffer.scope == "shared":
            shared.append(inside.buffer)
            inside = inside.body
        elif isinstance(inside, Block) and inside.stmts:
            phases += inside.stmts[:-1]
            inside = inside.stmts[-1]
        else:
            phases.append(inside)
            break
    copies = [_Copy.of(part, written, names) for part in phases]
    count = next((at for at, copy in enumerate(copies) if copy is None), len(copies))
    ahead = [copy for copy in copies[:count] if copy is not None]
    if not ahead or count == len(phases) or sum(copy.registers.size for copy in ahead) > REGISTERS_LIMIT:
        return None
    later = loop.var + 1
    fills = [copy.fill for copy in ahead]
    first = block(*(_at(fill, loop, Const(0)) for fill in fills))
    following = If(Binary("<", loop.var, Const(loop.extent - 1)), block(*(_at(fill, loop, later) for fill in fills)))
    done: Stmt = block(*(copy.put for copy in ahead), following, *phases[count:])
    for buffer in reversed(shared):
        done = Allocate(buffer, done)
    done = block(first, For(loop.var, loop.extent, loop.kind, done))
    for copy in reversed(ahead):
        done = Allocate(copy.registers, done)
    return done


def _at(stmt: Stmt, loop: For, value: Expr) -> Stmt:
    return simplify_stmt(substitute_stmt(stmt, {loop.var.name: value}), {loop.var.name: (0, loop.extent - 2)})


class _Copy:
    """A phase that copies to shared memory, in two halves. fill: into registers. put: from there to shared memory."""

    def __init__(self, registers: Buffer, fill: Stmt, put: Stmt) -> None:
        self.registers, self.fill, self.put = registers, fill, put

    @staticmethod
    def of(phase: Stmt, written: set[str], names: Names) -> _Copy | None:
        """The halves of a phase; None when it does anything but copy what no kernel writes."""
        if not isinstance(phase, (For, If)) or not has_threads(phase):
            return None
        stores = [access for access in accesses(phase) if access.is_store]
        if len(stores) != 1 or not isinstance(stores[0].stmt, Store) or stores[0].buffer.scope != "shared":
            return None
        if any(access.buffer.name in written for access in accesses(phase) if not access.is_store):
            return None
        if not loads(stores[0].stmt.value) or any(isinstance(node, Allocate) for node in walk_stmts(phase)):
            return None
        around = [loop for loop in stores[0].loops if loop.kind != THREAD]
        if any(loop.kind not in (SERIAL, UNROLL, VECTORIZE) for loop in around):
            return None
        if prod(loop.extent for loop in around) > REGISTERS_LIMIT:
            return None
        store = stores[0].stmt
        shape = tuple(loop.extent for loop in around)
        registers = Buffer(names.fresh(f"{store.buffer.name}_next"), shape, store.buffer.dtype, "register")
        place: tuple[Expr, ...] = tuple(Var(loop.var.name) for loop in around)
        fill = map_accesses(phase, lambda load: None, lambda node: Store(registers, place, node.value))
        put = map_accesses(
            phase, lambda load: None, lambda node: Store(node.buffer, node.indices, Load(registers, place))
        )
        return _Copy(registers, fill, put)
