"""Barriers between phases: one wherever a thread may touch what another has stored, or store what it has loaded.

A greedy walk in program order keeps what was touched since the last barrier and puts the next barrier as late as
possible. A loop whose end conflicts with its own beginning gets one at the end of its body, or at the start when what
precedes the loop needs one there as well.

Whether two accesses conflict is decided by listing, for every element, the threads that reach it: the same thread alone
needs no barrier. Places too many to list, or read from memory, count as conflicts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from runtime.c_text.places import split_place
from runtime.expr import Expr, Var
from runtime.expr_tree import free_variables
from runtime.indices.index_forms import flat_index
from runtime.indices.index_grid import Grid
from runtime.loop_nest import THREAD, Allocate, Block, For, If, Stmt, block, rebuild_stmt, walk_stmts
from runtime.passes.gpu_threads import ThreadError
from runtime.passes.visits import Access, accesses

POINTS_LIMIT = 1 << 19  # places of one access that are listed


@dataclass(frozen=True, slots=True)
class Barrier(Stmt):
    """All threads of the block meet; what they stored before is seen by all after."""


@dataclass(frozen=True)
class Touch:
    """One access of a phase; `loops` are the loops around the phase that all threads pass together."""

    access: Access
    loops: tuple[For, ...]

    @property
    def thread(self) -> For:
        """The loop over the threads of its phase."""
        return next(loop for loop in self.access.loops if loop.kind == THREAD)

    @property
    def all_loops(self) -> tuple[For, ...]:
        """The loops around the access, outer first."""
        return (*self.loops, *self.access.loops)

    @property
    def place(self) -> Expr:
        """The row-major position of the element."""
        return flat_index(self.access.indices, self.access.buffer.shape)

    @property
    def outside(self) -> frozenset[str]:
        """Variables of the place that no loop of the kernel moves: the number of the block."""
        return self.access.variables - {loop.var.name for loop in self.all_loops}


Touches = tuple[Touch, ...]


@dataclass(frozen=True)
class _Reached:
    """Elements in ascending order, with the first and the last thread that reaches each."""

    elements: np.ndarray
    first: np.ndarray
    last: np.ndarray


@dataclass(frozen=True)
class _Placed:
    """A statement with its barriers. first, last: what it touches before its first and after its last barrier."""

    stmt: Stmt
    first: Touches
    last: Touches
    meets: bool


def place_barriers(body: Stmt) -> Stmt:
    """The phases of a kernel with barriers between them."""
    written = {access.buffer.name for access in accesses(body) if access.is_store}
    return _Placer(written).place(body, ()).stmt


class _Placer:
    def __init__(self, written: set[str]) -> None:
        self.written = written
        self.known: dict[tuple, _Reached | None] = {}

    def place(self, stmt: Stmt, loops: tuple[For, ...]) -> _Placed:
        if isinstance(stmt, Barrier):
            return _Placed(stmt, (), (), True)
        if isinstance(stmt, For) and stmt.kind == THREAD:
            touched = tuple(
                Touch(access, loops)
                for access in dict.fromkeys(accesses(stmt))
                if access.buffer.scope in ("shared", "global") and access.buffer.name in self.written
            )
            for touch in touched:
                self.check_apart(touch)
            return _Placed(stmt, touched, touched, False)
        if isinstance(stmt, Block):
            return self.sequence(stmt, loops)
        if isinstance(stmt, For):
            return self.loop(stmt, loops)
        if isinstance(stmt, (If, Allocate)):
            inner = self.place(stmt.body, loops)
            done = rebuild_stmt(stmt, (inner.stmt,))
            if isinstance(stmt, Allocate) or not inner.meets:
                return _Placed(done, inner.first, inner.last, inner.meets)
            everything = tuple(dict.fromkeys((*inner.first, *inner.last)))  # the guard may skip its barriers
            return _Placed(done, everything, everything, False)
        return _Placed(stmt, (), (), False)

    def sequence(self, stmt: Block, loops: tuple[For, ...]) -> _Placed:
        done: list[Stmt] = []
        first: Touches = ()
        last: Touches = ()
        meets = False
        for part in stmt.stmts:
            placed = self.place(part, loops)
            if self.conflict(last, placed.first, {loop.var.name for loop in loops}, None):
                done.append(Barrier())
                last, meets = (), True
            if not meets:
                first += placed.first
            last = placed.last if placed.meets else last + placed.last
            meets = meets or placed.meets
            done.append(placed.stmt)
        return _Placed(block(*done), first, last, meets)

    def loop(self, stmt: For, loops: tuple[For, ...]) -> _Placed:
        inner = self.place(stmt.body, (*loops, stmt))
        outer = {loop.var.name for loop in loops}
        body, last, meets = inner.stmt, inner.last, inner.meets
        if stmt.extent > 1 and self.conflict(last, inner.first, outer, stmt if meets else None):
            body, last, meets = block(body, Barrier()), (), True
        done = For(stmt.var, stmt.extent, stmt.kind, body)
        return _Placed(done, inner.first, last, meets)

    def conflict(self, before: Sequence[Touch], after: Sequence[Touch], common: set[str], next_of: For | None) -> bool:
        """Whether two threads meet at an element; `next_of`: `after` belongs to the next iteration of that loop."""
        return any(
            one.access.buffer.name == other.access.buffer.name
            and (one.access.is_store or other.access.is_store)
            and self.meet(one, other, common, next_of)
            for one in before
            for other in after
        )

    def check_apart(self, touch: Touch) -> None:
        """Within a phase no barrier helps: two threads may not store one element in the same iteration."""
        if not touch.access.is_store:
            return
        around = {loop.var.name for loop in touch.loops}
        _, place = split_place(touch.place, around | touch.outside)
        extents = {loop.var.name: loop.extent for loop in touch.all_loops}
        if any(Grid.over(extents, [guard], POINTS_LIMIT) is None for guard in touch.access.guards):
            return
        shared = tuple(sorted((free_variables(place).union(*map(free_variables, touch.access.guards))) & around))
        found = self.reached(touch, place, shared, None)
        if found is not None and bool((found.first != found.last).any()):
            element = f"{touch.access.buffer.name}[{', '.join(map(str, touch.access.indices))}]"
            raise ThreadError(f"two threads store to `{element}` with no barrier between")

    def meet(self, one: Touch, other: Touch, common: set[str], next_of: For | None) -> bool:
        """Whether two different threads may reach one element through two accesses."""
        later = next_of.var.name if next_of is not None else None
        fixed_a, place_a = split_place(one.place, common | one.outside)
        fixed_b, place_b = split_place(other.place, common | other.outside)
        if fixed_a != fixed_b:  # what all threads see alike does not cancel
            place_a, place_b = one.place, other.place
        used = (free_variables(place_a) | free_variables(place_b)) & (common | ({later} if later else set()))
        shared = tuple(sorted(used))
        a, b = self.reached(one, place_a, shared, None), self.reached(other, place_b, shared, later)
        if a is None or b is None:
            return True
        _, in_a, in_b = np.intersect1d(a.elements, b.elements, assume_unique=True, return_indices=True)
        least = np.minimum(a.first[in_a], b.first[in_b])
        most = np.maximum(a.last[in_a], b.last[in_b])
        return bool((least != most).any())

    def reached(self, touch: Touch, place: Expr, shared: tuple[str, ...], later: str | None) -> _Reached | None:
        """Who reaches what through one access; remembered, since most accesses are compared with several others."""
        extents = tuple((loop.var.name, loop.extent) for loop in touch.all_loops)
        key = (place, touch.access.guards, extents, shared, later)
        if key not in self.known:
            self.known[key] = _list_threads(touch, place, shared, later)
        return self.known[key]


def _list_threads(touch: Touch, place: Expr, shared: tuple[str, ...], later: str | None) -> _Reached | None:
    """List the elements of one access, for every value of the loops in `shared`, with their threads."""
    thread, extents = touch.thread, {loop.var.name: loop.extent for loop in touch.all_loops}
    extra: list[Expr] = [Var(name) for name in shared if name in extents]
    guards = [guard for guard in touch.access.guards if Grid.over(extents, [guard], POINTS_LIMIT) is not None]
    moves = thread.var.name in free_variables(place).union(*map(free_variables, guards))
    grid = Grid.over(extents, [place, *guards, *extra, *([thread.var] if moves else [])], POINTS_LIMIT)
    if grid is None:
        return None
    mask = grid.holds(guards)
    keys = grid.values(place)[mask].astype(np.int64)
    for name in shared:
        value = grid.values(Var(name))[mask] if name in extents else np.zeros_like(keys)
        keys = keys * (extents.get(name, 1) + 1) + value - (1 if name == later else 0)
    if not moves:
        elements = np.unique(keys)
        return _Reached(elements, np.zeros_like(elements), np.full_like(elements, thread.extent - 1))
    elements, position = np.unique(keys, return_inverse=True)
    owner = grid.values(thread.var)[mask]
    first, last = np.full(elements.shape, thread.extent), np.full(elements.shape, -1)
    np.minimum.at(first, position, owner)
    np.maximum.at(last, position, owner)
    return _Reached(elements, first, last)


def barriers(stmt: Stmt) -> list[Barrier]:
    """All barriers below a statement."""
    return [node for node in walk_stmts(stmt) if isinstance(node, Barrier)]
