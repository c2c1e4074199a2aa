"""Loop nests: the programs that Ansor writes and the emitters print.

A `LoopNest` is a function over dense buffers. Its body is built from six statements; `str` prints it as Python text and
`parse` reads that text back (see `loop_nest_text`).

    def matmul(A: float32[4, 4], B: float32[4, 4]) -> (C: float32[4, 4]):
        for i in parallel(4):
            for j in vectorize(4):
                C[i, j] = 0.0
                ...

Loop kinds: serial `range(n)`, `parallel(n)` (iterations on several cores), `vectorize(n)` (one SIMD operation per
statement), `unroll(n)` (copied n times). All run from 0 to extent - 1 and mean the same as a serial loop.

Kinds for GPUs, which mean the same as a serial loop too: `block(n)` (iterations are thread blocks), `thread(n)`
(iterations are the threads of one block), `vthread(n)` (virtual threads: iterations run interleaved in each thread),
`warp(n)` (iterations are the warps of one block: 32 threads together, for what a tensor core does), `tensor(n)` (the
loops of one operation of a tensor core, see `cuda_text.tensor_operations`). A `thread` loop inside another, or in a
`warp` loop, names the same threads again: serially each outer thread repeats the whole inner loop, which gives the same
values.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from operator import is_

from runtime.expr import Buffer, Expr, Var

SERIAL, PARALLEL, VECTORIZE, UNROLL = "serial", "parallel", "vectorize", "unroll"
BLOCK, THREAD, VTHREAD, WARP, TENSOR = "block", "thread", "vthread", "warp", "tensor"
GPU_KINDS = (BLOCK, THREAD, VTHREAD, WARP, TENSOR)
LOOP_KINDS = (SERIAL, PARALLEL, VECTORIZE, UNROLL, *GPU_KINDS)


class Stmt:
    """Base of all statements."""

    __slots__ = ()

    def __str__(self) -> str:
        from runtime.loop_nest_text import show_stmt

        return show_stmt(self)


@dataclass(frozen=True, slots=True)
class For(Stmt):
    """Run `body` for var = 0 .. extent - 1."""

    var: Var
    extent: int
    kind: str
    body: Stmt


@dataclass(frozen=True, slots=True)
class Store(Stmt):
    """buffer[indices] = value."""

    buffer: Buffer
    indices: tuple[Expr, ...]
    value: Expr


@dataclass(frozen=True, slots=True)
class If(Stmt):
    """Run `body` when `condition` holds."""

    condition: Expr
    body: Stmt


@dataclass(frozen=True, slots=True)
class Block(Stmt):
    """Statements one after the other."""

    stmts: tuple[Stmt, ...]


@dataclass(frozen=True, slots=True)
class Allocate(Stmt):
    """Make `buffer` exist, uninitialised, while `body` runs.

    A "global" buffer is a piece of the kernel's workspace and may be allocated outside parallel loops only; a "local"
    or "register" one belongs to the thread that runs the body. On a GPU a "shared" one belongs to the block of threads
    and a "fragment" one to the warp.
    """

    buffer: Buffer
    body: Stmt


@dataclass(frozen=True, slots=True)
class Prefetch(Stmt):
    """Ask for the cache line of an element, to go to the first- or second-level cache (`level` 1 or 2).

    It changes nothing but time, and may name an element beyond the end of the buffer.
    """

    buffer: Buffer
    indices: tuple[Expr, ...]
    level: int


@dataclass(frozen=True, slots=True)
class LoopNest:
    """One kernel: reads `inputs`, writes every element of `outputs`; all argument names differ."""

    name: str
    inputs: tuple[Buffer, ...]
    outputs: tuple[Buffer, ...]
    body: Stmt

    def __str__(self) -> str:
        from runtime.loop_nest_text import show_nest

        return show_nest(self)


def block(*stmts: Stmt) -> Stmt:
    """Join statements, flattening nested blocks; a single statement stays itself."""
    flat: list[Stmt] = []
    for stmt in stmts:
        flat.extend(stmt.stmts if isinstance(stmt, Block) else (stmt,))
    return flat[0] if len(flat) == 1 else Block(tuple(flat))


def sub_stmts(stmt: Stmt) -> tuple[Stmt, ...]:
    """The direct substatements."""
    if isinstance(stmt, (For, If, Allocate)):
        return (stmt.body,)
    return stmt.stmts if isinstance(stmt, Block) else ()


def rebuild_stmt(stmt: Stmt, parts: tuple[Stmt, ...]) -> Stmt:
    """The same statement over other substatements."""
    if isinstance(stmt, Block):
        return block(*parts)
    if not isinstance(stmt, (For, If, Allocate)) or parts[0] is stmt.body:
        return stmt
    if isinstance(stmt, For):
        return For(stmt.var, stmt.extent, stmt.kind, parts[0])
    return If(stmt.condition, parts[0]) if isinstance(stmt, If) else Allocate(stmt.buffer, parts[0])


def change_parts(stmt: Stmt, change: Callable[[Stmt], Stmt]) -> Stmt:
    """The same statement over changed direct substatements; itself where none changes.

    >>> loop = For(Var("i"), 4, SERIAL, Block(()))
    >>> change_parts(loop, lambda part: part) is loop
    True
    """
    if isinstance(stmt, (For, If, Allocate)):
        body = change(stmt.body)
        return stmt if body is stmt.body else rebuild_stmt(stmt, (body,))
    if isinstance(stmt, Block):
        parts = tuple([change(part) for part in stmt.stmts])
        return stmt if all(map(is_, parts, stmt.stmts)) else block(*parts)
    return stmt


def walk_stmts(stmt: Stmt) -> Iterator[Stmt]:
    """The statement and all its substatements, outer first, in program order."""
    waiting = [stmt]
    while waiting:
        node = waiting.pop()
        yield node
        waiting.extend(reversed(sub_stmts(node)))


def transform_stmts(stmt: Stmt, visit: Callable[[Stmt], Stmt | None]) -> Stmt:
    """Rewrite bottom up: `visit` returns a replacement, or None to keep the statement."""
    stmt = change_parts(stmt, lambda part: transform_stmts(part, visit))
    replacement = visit(stmt)
    return stmt if replacement is None else replacement


def expressions(stmt: Stmt) -> Iterator[Expr]:
    """The expressions a statement itself holds (not those of its substatements)."""
    if isinstance(stmt, Store):
        yield from stmt.indices
        yield stmt.value
    elif isinstance(stmt, If):
        yield stmt.condition
    elif isinstance(stmt, Prefetch):
        yield from stmt.indices


def stores(stmt: Stmt) -> list[Store]:
    """All stores below a statement, in program order."""
    return [node for node in walk_stmts(stmt) if isinstance(node, Store)]
