"""A nest for a GPU as one for a CPU: blocks are parallel iterations, all else of a GPU is serial.

The nest means the same before and after, since every loop kind means a serial loop. Threads of a block are one thread
then, so what they share is that thread's own.
"""

from __future__ import annotations

from runtime.expr import Buffer
from runtime.loop_nest import (
    BLOCK,
    GPU_KINDS,
    PARALLEL,
    SERIAL,
    Allocate,
    For,
    LoopNest,
    Stmt,
    transform_stmts,
    walk_stmts,
)
from runtime.passes.replace_buffers import replace_buffers

THREAD_SCOPES = ("shared", "fragment")  # scopes that only a GPU has


def as_serial(nest: LoopNest) -> LoopNest:
    """Replace the kinds and scopes that only a GPU has; a nest without any stays itself.

    >>> from runtime.loop_nest_text import parse
    >>> text = "def f() -> (C: float32[8]):\\n  for b in block(2):\\n    for t in thread(4):\\n      C[b * 4 + t] = 0.0"
    >>> print(as_serial(parse(text)))
    def f() -> (C: float32[8]):
        for b in parallel(2):
            for t in range(4):
                C[b * 4 + t] = 0.0
    """
    if not any(_for_gpu(stmt) for stmt in walk_stmts(nest.body)):
        return nest

    def visit(stmt: Stmt) -> Stmt | None:
        if not _for_gpu(stmt):
            return None
        if isinstance(stmt, For):
            return For(stmt.var, stmt.extent, PARALLEL if stmt.kind == BLOCK else SERIAL, stmt.body)
        assert isinstance(stmt, Allocate)
        old = stmt.buffer
        new = Buffer(old.name, old.shape, old.dtype, "local")
        return Allocate(new, replace_buffers(stmt.body, {old.name: new}))

    return LoopNest(nest.name, nest.inputs, nest.outputs, transform_stmts(nest.body, visit))


def _for_gpu(stmt: Stmt) -> bool:
    if isinstance(stmt, Allocate):
        return stmt.buffer.scope in THREAD_SCOPES
    return isinstance(stmt, For) and stmt.kind in GPU_KINDS
