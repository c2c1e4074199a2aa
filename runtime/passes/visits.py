"""Every access to a buffer with the loops and guards around it: the fact base of the passes before emission."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from runtime.expr import Binary, Buffer, Const, Expr
from runtime.expr_tree import free_variables, has_loads, loads, substitute
from runtime.indices.index_forms import fold, interval, multiple_of, step
from runtime.loop_nest import VECTORIZE, Allocate, For, If, Stmt, Store, sub_stmts


class Access(NamedTuple):
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
    def variables(self) -> frozenset[str]:
        """The variables in its indices."""
        return frozenset().union(*map(free_variables, self.indices))


def tile_loops(access: Access) -> tuple[For, ...]:
    """The loops around an access that move its place."""
    moving = access.variables
    return tuple([loop for loop in access.loops if loop.var.name in moving])


def accesses(stmt: Stmt) -> list[Access]:
    """All accesses below a statement, in program order, loads of a statement before its store."""
    found: list[Access] = []
    _add_accesses(stmt, (), (), found)
    return found


def _add_accesses(stmt: Stmt, loops: tuple[For, ...], guards: tuple[Expr, ...], found: list[Access]) -> None:
    if isinstance(stmt, For):
        _add_accesses(stmt.body, (*loops, stmt), guards, found)
    elif isinstance(stmt, Store):
        for top in (*stmt.indices, stmt.value):
            if has_loads(top):
                found += [Access(load.buffer, load.indices, False, loops, guards, stmt) for load in loads(top)]
        found.append(Access(stmt.buffer, stmt.indices, True, loops, guards, stmt))
    else:
        if isinstance(stmt, If):
            found += [Access(load.buffer, load.indices, False, loops, guards, stmt) for load in loads(stmt.condition)]
            guards = (*guards, *conjuncts(stmt.condition))
        for part in sub_stmts(stmt):
            _add_accesses(part, loops, guards, found)


def conjuncts(condition: Expr) -> Iterator[Expr]:
    """The parts of a condition that must all hold."""
    if isinstance(condition, Binary) and condition.op == "and":
        yield from conjuncts(condition.a)
        yield from conjuncts(condition.b)
    else:
        yield condition


def accesses_of(allocation: Allocate) -> list[Access]:
    """All accesses to a buffer."""
    name = allocation.buffer.name
    return [access for access in accesses(allocation.body) if access.buffer.name == name]


def vector_layout(
    allocation: Allocate, around: tuple[For, ...] = (), touched: Sequence[Access] | None = None
) -> int | None:
    """How many lanes one item of a thread's buffer holds; 1 for scalars.

    Where accesses have different widths it is 0, or None when they may also overlap in part. `around` are the loops
    around the allocation: a buffer allocated inside a vectorised loop has one element per lane. `touched` are the
    accesses to it, where they are known.
    """
    lane_outside = next((loop for loop in around if loop.kind == VECTORIZE), None)
    if lane_outside is not None:
        return lane_outside.extent
    buffer = allocation.buffer
    spans = [vector_span(access) for access in (accesses_of(allocation) if touched is None else touched)]
    known = {span for span in spans if span is not None}
    if len(known) < len(set(spans)):
        return None
    widths = {span.lanes for span in known}
    if widths <= {1}:
        return 1
    if len(widths) == 1 and all(multiple_of(span.first) % span.lanes == 0 for span in known):
        if buffer.shape[-1] % min(widths) == 0:
            return widths.pop()
    ordered = sorted({(span.low, span.end, span.lanes) for span in known})
    apart = all(before[1] <= after[0] for before, after in zip(ordered, ordered[1:]))
    whole = all(multiple_of(fold(span.first - int(span.low))) % span.lanes == 0 for span in known if span.low >= 0)
    return 0 if apart and whole and ordered[0][0] >= 0 else None


@dataclass(frozen=True)
class Span:
    """What an access touches along the last dimension: `lanes` elements from `first`, all within low .. end - 1."""

    first: Expr
    low: float
    end: float
    lanes: int


def vector_span(access: Access) -> Span | None:
    """The span of an access; None when its lanes are not neighbours in the last dimension."""
    extents = {loop.var.name: loop.extent for loop in access.loops}
    last = access.indices[-1] if access.indices else Const(0)
    lane = access.lane
    lanes = 1
    if lane is not None:
        steps = [step(index, lane.var.name, lane.extent) for index in access.indices]
        if any(steps[:-1]) or None in steps or (steps and steps[-1] not in (0, 1)):
            return None
        lanes = lane.extent if steps and steps[-1] == 1 else 1
        last = fold(substitute(last, {lane.var.name: Const(0)}))
    low, high = interval(last, extents)
    return Span(last, low, high + lanes, lanes)
