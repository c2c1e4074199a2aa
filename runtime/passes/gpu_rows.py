"""Rows of neighbouring elements as vectors of 16 or 8 bytes, where alignment is proved.

The innermost loop of a store becomes a `vectorize` loop of 4 or 2 when the store, or what it loads, runs along a row.
"""

from __future__ import annotations

from runtime.cuda_text.vectors import load_width, vector_width
from runtime.expr import Load
from runtime.expr_tree import free_variables, loads
from runtime.loop_nest import SERIAL, UNROLL, VECTORIZE, For, Stmt, Store, change_parts
from runtime.names import Names
from runtime.passes.vector_loops import substitute_stmt


def move_rows(stmt: Stmt, names: Names) -> Stmt:
    """Vectorize the innermost loops over rows, see the module."""
    if isinstance(stmt, For) and stmt.kind in (SERIAL, UNROLL) and isinstance(stmt.body, Store):
        return _row(stmt, stmt.body, names)
    return change_parts(stmt, lambda part: move_rows(part, names))


def _row(loop: For, store: Store, names: Names) -> Stmt:
    place = Load(store.buffer, store.indices)
    if any(load.buffer == store.buffer and load != place for load in loads(store.value)):
        return loop
    if not any(loop.var.name in free_variables(index) for index in store.indices):
        return loop  # all iterations store one element
    width = vector_width(place, loop)
    if width == 1 and store.buffer.scope not in ("global", "shared"):
        width = load_width(store.value, loop)
    if width == 1:
        return loop
    if width == loop.extent:
        return For(loop.var, width, VECTORIZE, store)
    high, low = names.variable(f"{loop.var.name}_0"), names.variable(f"{loop.var.name}_1")
    body = substitute_stmt(store, {loop.var.name: high * width + low})
    return For(high, loop.extent // width, loop.kind, For(low, width, VECTORIZE, body))
