"""Use what the taps of an unrolled window share as soon as it is loaded: LoopNest -> LoopNest.

Neighbouring outputs of a depthwise convolution or a pool read the same vectors under different taps. Tap by tap, a
vector is needed again long after it was loaded, so a compiler loads it anew for each multiply-add, or keeps a row of
the window in registers and spills. Vector by vector, it is loaded once, and gone after its last use:

    for k in unroll(2):                               X_use = X[0];  T[0] += X_use * W[0]
        for w in unroll(2):                    ->     X_use = X[1];  T[1] += X_use * W[0];  T[0] += X_use * W[1]
            T[w] = T[w] + X[w + k] * W[k]             X_use = X[2];  T[1] += X_use * W[1]

Only the innermost loop over taps is written out, for whole windows need more registers than there are, and only where
a quarter of the loads is saved. Every element of the tile meets its taps in the order in which it
met them before, so results keep their bits. Loops whose guards depend on more than what is unrolled, as at some
borders of an image, stay as they are.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import NamedTuple

from runtime.expr import Buffer, Const, Expr, Load, Var
from runtime.expr_tree import free_variables, loads, substitute, transform_loads
from runtime.indices.index_forms import fold
from runtime.indices.simplify import place_form
from runtime.loop_nest import (
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
    stores,
    walk_stmts,
)
from runtime.names import Names
from runtime.passes.bounded_unrolling import unrolled_size
from runtime.passes.operand_rows import always_read
from runtime.passes.vector_loops import substitute_stmt

SIZE_LIMIT = 256  # statements that a window may become
LOADS_LEFT = 0.75  # of those that a window has without sharing: for fewer saved, the longer text does not pay


class Copy(NamedTuple):
    """One copy of a statement: the vectorised loop around it, and the values of the unrolled loops around that."""

    lanes: For
    values: dict[str, int]


def share_windows(nest: LoopNest) -> LoopNest:
    """Write windows out vector by vector, see the module.

    >>> from runtime.loop_nest_text import parse
    >>> print(share_windows(parse('''
    ... def f(X: float32[48], W: float32[2, 16]) -> (C: float32[1]):
    ...     with register(float32[2, 16]) as T:
    ...         for k in unroll(2):
    ...             for w in unroll(2):
    ...                 for c in vectorize(16):
    ...                     T[w, c] = T[w, c] + X[w * 16 + k * 16 + c] * W[k, c]
    ... ''')))
    def f(X: float32[48], W: float32[2, 16]) -> (C: float32[1]):
        with register(float32[2, 16]) as T:
            with register(float32[16]) as X_use:
                for c in vectorize(16):
                    X_use[c] = X[c]
                    T[0, c] = T[0, c] + X_use[c] * W[0, c]
                    X_use[c] = X[16 + c]
                    T[1, c] = T[1, c] + X_use[c] * W[0, c]
                    T[0, c] = T[0, c] + X_use[c] * W[1, c]
                    X_use[c] = X[32 + c]
                    T[1, c] = T[1, c] + X_use[c] * W[1, c]
    """
    return LoopNest(nest.name, nest.inputs, nest.outputs, _below(nest.body, Names.of(nest)))


def _below(stmt: Stmt, names: Names) -> Stmt:
    changed = change_parts(stmt, lambda part: _below(part, names))
    if changed is stmt and isinstance(stmt, For) and stmt.kind == UNROLL and _is_tap(stmt):
        copies = _copies(stmt, {}) if unrolled_size(stmt) <= SIZE_LIMIT else None
        shared = _shared(copies, stmt.var.name) if copies else None
        if copies and shared is not None:
            return _in_order_of(copies, shared, names)
    return changed


def _is_tap(loop: For) -> bool:
    """Whether a loop alone moves something that is read below it, and no register: what decides most loops at once."""
    written = stores(loop)
    if any(store.buffer.scope != "register" for store in written):
        return False
    inner = (node.var.name for node in walk_stmts(loop) if isinstance(node, For) and node.kind == UNROLL)
    taps = [name for name in inner if not any(name in free_variables(Load(s.buffer, s.indices)) for s in written)]
    return taps == [loop.var.name] and any(taps[0] in free_variables(store.value) for store in written)


def _copies(stmt: Stmt, values: Mapping[str, int]) -> list[Copy] | None:
    """The statements that run, in order; None when more than the unrolled loops decides that."""
    if isinstance(stmt, For) and stmt.kind == VECTORIZE and isinstance(stmt.body, Store):
        return [Copy(stmt, dict(values))]
    if isinstance(stmt, For) and stmt.kind == UNROLL:
        parts = [_copies(stmt.body, {**values, stmt.var.name: value}) for value in range(stmt.extent)]
    elif isinstance(stmt, If):
        holds = fold(substitute(stmt.condition, _constants(values)))
        if not isinstance(holds, Const):
            return None
        parts = [_copies(stmt.body, values)] if holds.value else []
    elif isinstance(stmt, Block):
        parts = [_copies(part, values) for part in stmt.stmts]
    else:
        return None
    found: list[Copy] = []
    for part in parts:
        if part is None:
            return None
        found += part
    return found


def _shared(copies: Sequence[Copy], tap: str) -> Load | None:
    """The load by whose places the copies may be ordered: several values of `tap` lead to the same ones."""
    lanes = copies[0].lanes
    assert isinstance(lanes.body, Store)
    store, own = lanes.body, Load(lanes.body.buffer, lanes.body.indices)
    read, unrolled = loads(store.value), copies[0].values.keys()
    if own not in read or any(copy.lanes != lanes or copy.values.keys() != unrolled for copy in copies):
        return None
    elements = _places(own, copies)
    if elements is None or any(load.buffer == own.buffer and load != own for load in read):
        return None
    for load in always_read(store, lanes):  # a padded one may be outside its buffer where its guard is false
        if tap not in free_variables(load):
            continue
        places = _places(load, copies)
        if places is not None and len(set(places)) <= LOADS_LEFT * len(places):
            if _meet(places, copies, tap) and _keeps_order(places, elements):
                return load
    return None


def _places(load: Load, copies: Sequence[Copy]) -> list[int] | None:
    """Where each copy reads, relative to one another; None when that is not known."""
    form, unrolled = place_form(load.indices, load.buffer.shape), copies[0].values
    if any(not isinstance(atom, Var) and free_variables(atom) & set(unrolled) for atom in form.terms):
        return None
    moving = [(atom.name, factor) for atom, factor in form.terms.items() if isinstance(atom, Var)]
    moving = [(name, factor) for name, factor in moving if name in unrolled]
    return [sum(copy.values[name] * factor for name, factor in moving) for copy in copies]


def _meet(places: Sequence[int], copies: Sequence[Copy], tap: str) -> bool:
    """Whether several taps read the same place."""
    first: dict[int, int] = {}
    return any(first.setdefault(place, copy.values[tap]) != copy.values[tap] for place, copy in zip(places, copies))


def _keeps_order(places: Sequence[int], elements: Sequence[int]) -> bool:
    """Whether each element of the tile reads its places in ascending order."""
    last: dict[int, int] = {}
    for place, element in zip(places, elements):
        if last.get(element, place) > place:
            return False
        last[element] = place
    return True


def _in_order_of(copies: Sequence[Copy], shared: Load, names: Names) -> Stmt:
    """The copies ordered by the vector that they read, each vector loaded before the first of them."""
    lanes, places = copies[0].lanes, _places(shared, copies)
    assert places is not None and isinstance(lanes.body, Store)
    use = Buffer(names.fresh(f"{shared.buffer.name}_use"), (lanes.extent,), shared.dtype, scope="register")
    here = Load(use, (lanes.var,))
    value = transform_loads(lanes.body.value, lambda load: here if load == shared else None)
    loading, using = Store(use, here.indices, shared), Store(lanes.body.buffer, lanes.body.indices, value)
    written: list[Stmt] = []
    for _, group in groupby(sorted(zip(places, copies), key=lambda pair: pair[0]), key=lambda pair: pair[0]):
        values = [_constants(copy.values) for _, copy in group]
        written += [substitute_stmt(loading, values[0]), *(substitute_stmt(using, each) for each in values)]
    return Allocate(use, For(lanes.var, lanes.extent, VECTORIZE, block(*written)))


def _constants(values: Mapping[str, int]) -> dict[str, Expr]:
    return {name: Const(value) for name, value in values.items()}
