"""Which programs are not worth building, although they are legal.

A search draws some whose scratch buffers fit no cache, and some whose text keeps a compiler busy for seconds. They are
dropped before they cost a trial, with the reason.
"""

from __future__ import annotations

from runtime.emit_c import EmitError, emit_kernel
from runtime.loop_nest import Allocate, LoopNest, walk_stmts

LOCAL_LIMIT = 320 << 10  # bytes of scratch buffers of one thread; a panel of 1024 x 64 packed numbers takes 256 KiB
CODE_LIMIT = 16 << 10  # bytes of C; compilers take about 0.1 s for each KiB


def not_worth_building(nest: LoopNest, threads: int = 1) -> str:
    """The reason why a program is dropped; empty for one that is worth building.

    >>> from runtime.loop_nest_text import parse
    >>> not_worth_building(parse("def f() -> (C: float32[4]):\\n  for i in range(4):\\n    C[i] = 0.0"))
    ''
    """
    if local_bytes(nest) > LOCAL_LIMIT:
        return "local buffers are too large"
    try:
        size = len(emit_kernel(nest, threads=threads))
    except EmitError as error:
        return f"no C: {error}"
    return "too much code" if size > CODE_LIMIT else ""


def local_bytes(nest: LoopNest) -> int:
    """Bytes of all scratch buffers of one thread."""
    buffers = [stmt.buffer for stmt in walk_stmts(nest.body) if isinstance(stmt, Allocate)]
    return sum(buffer.nbytes for buffer in buffers if buffer.scope != "global")
