"""The stores of a kernel with what is around them: which loops are threads, which run in turn, which are unrolled.

A statement's *group* is what a compiler turns into straight code: virtual threads, the unrolled loops directly around
the statement, and the innermost serial loop, whole when it is short and in pieces of four when it is not. Loads of one
address in a group are one load; what is outside the group repeats.

- Of nested `thread` loops the innermost holds; the outer ones are the same threads.
- A loop whose variable indexes a local array is unrolled, or the array would not be in registers.
- A copy into shared memory that does not depend on a virtual thread is made once for all of them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

from runtime.expr import Buffer, Expr
from runtime.expr_tree import free_variables, loads
from runtime.loop_nest import (
    BLOCK,
    SERIAL,
    TENSOR,
    THREAD,
    UNROLL,
    VECTORIZE,
    VTHREAD,
    WARP,
    Allocate,
    Block,
    For,
    If,
    LoopNest,
    Stmt,
    Store,
    expressions,
    stores,
    walk_stmts,
)

GROUP = 128  # iterations that a compiler unrolls of its own accord
LANES = 32
PIECE = 4  # iterations of a longer serial loop that it unrolls
IN_REGISTERS = ("local", "register", "fragment")


@dataclass(frozen=True)
class Kernel:
    """One root statement: a launch of `grid` blocks of `threads` threads."""

    body: Stmt
    grid: int
    threads: int
    sites: tuple[Site, ...]
    allocated: tuple[tuple[Buffer, int], ...]  # with the copies that virtual threads make of it

    @property
    def shared_bytes(self) -> int:
        """Of one block."""
        return sum(buffer.nbytes for buffer, _ in self.allocated if buffer.scope == "shared")


@dataclass(frozen=True)
class Site:
    """A store and the loops around it, outer to inner; thread: the innermost thread loop.

    collective: the threads add up their values into one element that all of them get.
    """

    store: Store
    loops: tuple[For, ...]
    guards: tuple[Expr, ...]
    thread: For | None
    collective: bool
    indexing: frozenset[str]

    @property
    def threads(self) -> int:
        """Threads of a block that run it with different values."""
        if self.thread is None and self.warp is not None:
            return LANES * self.warp.extent
        return self.thread.extent if self.thread is not None else 1

    @cached_property
    def warp(self) -> For | None:
        """The loop whose iterations are warps."""
        return next((loop for loop in self.loops if loop.kind == WARP), None)

    @property
    def workers(self) -> tuple[For, ...]:
        """The loops that run side by side in a block: threads, or warps with the elements of their fragments."""
        if self.thread is not None:
            return (self.thread,)
        return (*((self.warp,) if self.warp is not None else ()), *self.tensor)

    @cached_property
    def block(self) -> For | None:
        """The loop over blocks."""
        return next((loop for loop in self.loops if loop.kind == BLOCK), None)

    @cached_property
    def virtual(self) -> tuple[For, ...]:
        """The virtual threads that each repeat the statement."""
        once = self.store.buffer.scope == "shared"
        used = _variables(self.store, self.guards)
        return tuple(loop for loop in self.loops if loop.kind == VTHREAD and (not once or loop.var.name in used))

    @cached_property
    def tensor(self) -> tuple[For, ...]:
        """The loops that one instruction of a tensor core stands for."""
        return tuple(loop for loop in self.loops if loop.kind == TENSOR)

    @cached_property
    def sequential(self) -> tuple[For, ...]:
        """Serial and unrolled loops, outer to inner."""
        return tuple(loop for loop in self.loops if loop.kind in (SERIAL, UNROLL, VECTORIZE) or loop.kind == "parallel")

    @cached_property
    def grouped(self) -> tuple[tuple[For, int], ...]:
        """The loops of the group, outer to inner, with their iterations in one group."""
        points, inner = 1, []
        for loop in reversed(self.sequential):
            straight = self.is_unrolled(loop)
            if not straight and _has_barrier(loop):
                break
            if straight or points * loop.extent <= GROUP:
                inner.append((loop, loop.extent))
                points *= loop.extent
                continue
            if points * PIECE <= GROUP:
                inner.append((loop, PIECE))
            break
        whole = tuple((loop, loop.extent) for loop in self.virtual)
        return (*whole, *reversed(inner))

    @cached_property
    def outer(self) -> tuple[tuple[For, int], ...]:
        """The sequential loops outside the group, outer to inner, with the times each repeats the group."""
        inside = {loop.var.name: count for loop, count in self.grouped}
        rest = [(loop, -(-loop.extent // inside.get(loop.var.name, 1))) for loop in self.sequential]
        return tuple((loop, count) for loop, count in rest if inside.get(loop.var.name) != loop.extent)

    def is_unrolled(self, loop: For) -> bool:
        """Whether a loop is straight code: because it says so, or because its variable indexes registers."""
        return loop.kind in (UNROLL, VECTORIZE) or loop.var.name in self.indexing

    @property
    def points(self) -> int:
        """Iterations in one group."""
        return _product(count for _, count in self.grouped)

    @property
    def repeats(self) -> int:
        """Groups that one thread runs."""
        return _product(count for _, count in self.outer)


def kernels(nest: LoopNest) -> Iterator[Kernel]:
    """The launches of a nest, in order."""
    for body in roots(nest.body):
        loops = [stmt for stmt in walk_stmts(body) if isinstance(stmt, For)]
        grid = max((loop.extent for loop in loops if loop.kind == BLOCK), default=1)
        threads = max((loop.extent for loop in loops if loop.kind == THREAD), default=1)
        finder = _Finder(_indexing(body))
        finder.visit(body, (), (), {})
        yield Kernel(body, grid, threads, tuple(finder.sites), tuple(finder.allocated))


def roots(body: Stmt) -> Iterator[Stmt]:
    """The statements that are launches of their own: those at the top, and inside allocations of workspace."""
    if isinstance(body, Block):
        for stmt in body.stmts:
            yield from roots(stmt)
    elif isinstance(body, Allocate) and body.buffer.scope == "global":
        yield from roots(body.body)
    else:
        yield body


class _Finder:
    """Walks a kernel and notes its stores and allocations."""

    def __init__(self, indexing: frozenset[str]) -> None:
        self.indexing = indexing
        self.sites: list[Site] = []
        self.allocated: list[tuple[Buffer, int]] = []

    def visit(self, stmt: Stmt, loops: tuple[For, ...], guards: tuple[Expr, ...], homes: dict[str, int]) -> None:
        """homes: for each allocated buffer, how many thread loops are around its allocation."""
        if isinstance(stmt, Store):
            self.sites.append(self._site(stmt, loops, guards, homes))
        elif isinstance(stmt, For):
            self.visit(stmt.body, (*loops, stmt), guards, homes)
        elif isinstance(stmt, If):
            self.visit(stmt.body, loops, (*guards, stmt.condition), homes)
        elif isinstance(stmt, Allocate):
            copies = _product(loop.extent for loop in loops if loop.kind == VTHREAD)
            self.allocated.append((stmt.buffer, 1 if stmt.buffer.scope == "shared" else copies))
            inside = sum(loop.kind == THREAD for loop in loops)
            self.visit(stmt.body, loops, guards, {**homes, stmt.buffer.name: inside})
        elif isinstance(stmt, Block):
            for part in stmt.stmts:
                self.visit(part, loops, guards, homes)

    def _site(self, store: Store, loops: tuple[For, ...], guards: tuple[Expr, ...], homes: dict[str, int]) -> Site:
        threads = [loop for loop in loops if loop.kind == THREAD]
        thread = threads[-1] if threads else None
        shared_by_all = homes.get(store.buffer.name, 0) < len(threads) and store.buffer.scope in IN_REGISTERS
        collective = thread is not None and shared_by_all and not _uses(store.indices, thread.var.name)
        return Site(store, loops, guards, thread, collective, self.indexing)


def _has_barrier(loop: For) -> bool:
    """Whether threads wait for each other in every iteration: what is copied to shared memory is then used."""
    inside = stores(loop.body)
    return len(inside) > 1 and any(store.buffer.scope == "shared" for store in inside)


def _indexing(body: Stmt) -> frozenset[str]:
    """Variables in the indices of arrays that are to be in registers."""
    found: set[str] = set()
    for stmt in walk_stmts(body):
        if isinstance(stmt, Store) and stmt.buffer.scope in IN_REGISTERS:
            found.update(*map(free_variables, stmt.indices))
        for expr in expressions(stmt):
            for load in loads(expr):
                if load.buffer.scope in IN_REGISTERS:
                    found.update(*map(free_variables, load.indices))
    return frozenset(found)


def _variables(store: Store, guards: Sequence[Expr]) -> frozenset[str]:
    return frozenset().union(*map(free_variables, (*store.indices, store.value, *guards)))


def _uses(indices: Sequence[Expr], name: str) -> bool:
    return any(name in free_variables(index) for index in indices)


def _product(values: Iterator[int]) -> int:
    result = 1
    for value in values:
        result *= value
    return result
