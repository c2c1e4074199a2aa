"""Every access to a buffer with the loops and guards around it: the fact base of the passes before emission."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from runtime.expr import Binary, Buffer, Const, Expr, Load, free_variables, substitute, walk
from runtime.index_forms import flat_index, fold, multiple_of, step
from runtime.loop_nest import VECTORIZE, Allocate, For, If, Stmt, Store, expressions, sub_stmts


@dataclass(frozen=True)
class Access:
    """One load or store: the loops and guards around it, outer first, and the statement that holds it."""

    buffer: Buffer
    indices: tuple[Expr, ...]
    is_store: bool
    loops: tuple[For, ...]
    guards: tuple[Expr, ...]
    stmt: Stmt

    @property
    def lane(self) -> For | None:
        """The vectorised loop around it."""
        return next((loop for loop in reversed(self.loops) if loop.kind == VECTORIZE), None)

    @property
    def variables(self) -> set[str]:
        """The variables in its indices."""
        return set().union(*(free_variables(index) for index in self.indices))


def accesses(stmt: Stmt, loops: tuple[For, ...] = (), guards: tuple[Expr, ...] = ()) -> Iterator[Access]:
    """All accesses below a statement, in program order, loads of a statement before its store."""
    for top in expressions(stmt):
        for node in walk(top):
            if isinstance(node, Load):
                yield Access(node.buffer, node.indices, False, loops, guards, stmt)
    if isinstance(stmt, Store):
        yield Access(stmt.buffer, stmt.indices, True, loops, guards, stmt)
    if isinstance(stmt, For):
        loops = (*loops, stmt)
    if isinstance(stmt, If):
        guards = (*guards, *conjuncts(stmt.condition))
    for part in sub_stmts(stmt):
        yield from accesses(part, loops, guards)


def conjuncts(condition: Expr) -> Iterator[Expr]:
    """The parts of a condition that must all hold."""
    if isinstance(condition, Binary) and condition.op == "and":
        yield from conjuncts(condition.a)
        yield from conjuncts(condition.b)
    else:
        yield condition


def vector_layout(allocation: Allocate, around: tuple[For, ...] = ()) -> int | None:
    """How many lanes one register of a thread's buffer holds: 1 for scalars, None when its accesses disagree.

    `around` are the loops around the allocation. A buffer allocated inside a vectorised loop has one element per lane.
    """
    lane_outside = next((loop for loop in around if loop.kind == VECTORIZE), None)
    if lane_outside is not None:
        return lane_outside.extent
    found = {
        access_lanes(access) for access in accesses(allocation.body) if access.buffer.name == allocation.buffer.name
    }
    return found.pop() if len(found) == 1 else None if found else 1


def access_lanes(access: Access) -> int | None:
    """1: one element; n: n consecutive elements that start at a multiple of n; None: anything else."""
    lane = access.lane
    if lane is None:
        return 1
    flat = flat_index(access.indices, access.buffer.shape)
    stride = step(flat, lane.var.name, lane.extent)
    if stride != 1:
        return 1 if stride == 0 else None
    base = fold(substitute(flat, {lane.var.name: Const(0)}))
    return lane.extent if multiple_of(base) % lane.extent == 0 else None
