"""Loop nests as C for gcc and clang, written so that the compiler cannot spoil what the nest decided.

A nest is first freed of copies (`direct_stores`), cut at its borders and brought to registers (`borders`,
`vector_loops`, `register_tiles`, `guard_loops`, `window_loads`, `bounded_unrolling`, `operand_rows`, `turned_copies`),
told what to fetch ahead (`prefetches`), then printed as directly as that form allows:

- `vectorize` loops are vector types; one value per lane, loads and stores at any alignment.
- register buffers are arrays of vectors whose indices are constants once the loops around are unrolled by pragma.
- loops around register tiles are kept rolled by pragma, since gcc unrolls short ones by itself and spills.
- the body of a parallel loop is a function, because pointers lose `restrict` inside an OpenMP region.
"""

from __future__ import annotations

from collections.abc import Sequence

from runtime.c_text.prelude import prelude
from runtime.c_text.statements import WORKSPACE_ALIGNMENT, EmitError, KernelText
from runtime.expr import NARROW_FLOATS, Binary, Call
from runtime.expr_tree import walk
from runtime.loop_nest import Allocate, Block, For, If, LoopNest, Stmt, expressions, walk_stmts
from runtime.passes.borders import split_borders
from runtime.passes.bounded_unrolling import bound_unrolling
from runtime.passes.constant_tables import fold_tables
from runtime.passes.direct_stores import store_directly
from runtime.passes.few_cases import write_out_cases
from runtime.passes.gpu_as_serial import as_serial
from runtime.passes.guard_loops import clear_guards
from runtime.passes.operand_rows import share_rows
from runtime.passes.prefetches import FAR, prefetch_far
from runtime.passes.register_tiles import register_tiles
from runtime.passes.turned_copies import turn_copies
from runtime.passes.vector_loops import vectorize_loops
from runtime.passes.window_loads import share_windows

__all__ = ["EmitError", "emit_kernel", "emit_library", "prepare", "workspace_bytes"]


def workspace_bytes(nest: LoopNest) -> int:
    """Bytes of workspace that the kernel of a nest needs: its "global" allocations, stacked while both are alive."""
    return _workspace_end(nest.body, 0)


def _workspace_end(stmt: Stmt, start: int) -> int:
    if isinstance(stmt, Allocate):
        if stmt.buffer.scope == "global":
            start += -(-stmt.buffer.nbytes // WORKSPACE_ALIGNMENT) * WORKSPACE_ALIGNMENT
        return _workspace_end(stmt.body, start)
    if isinstance(stmt, Block):
        return max((_workspace_end(part, start) for part in stmt.stmts), default=start)
    return _workspace_end(stmt.body, start) if isinstance(stmt, (For, If)) else start


def native_vector_bytes() -> int:
    """The vector width that the compiler at hand targets; 32 when there is none."""
    from runtime.compile_c import CompilerNotFound, find_compiler

    try:
        return find_compiler().vector_bytes
    except CompilerNotFound:
        return 32


def prepare(nest: LoopNest, *, vector_bytes: int | None = None, far: int = FAR) -> LoopNest:
    """The nest that is printed: whole tiles unguarded, vectors one register long, small tiles in registers.

    It means the same.
    """
    whole = split_borders(fold_tables(store_directly(as_serial(nest))))
    tiled = register_tiles(vectorize_loops(whole, vector_bytes or native_vector_bytes()))
    plain = turn_copies(share_rows(bound_unrolling(share_windows(clear_guards(write_out_cases(tiled))))))
    return prefetch_far(plain, far)


def emit_library(nests: Sequence[LoopNest], *, threads: int = 1, vector_bytes: int | None = None) -> str:
    """One translation unit with a kernel per nest, prelude included.

    Raises: ValueError: two nests share a name.  EmitError: a nest cannot be printed.
    """
    names = [nest.name for nest in nests]
    if len(set(names)) < len(names):
        raise ValueError(f"kernels in one library need different names, got {', '.join(sorted(names))}")
    body = "\n".join(emit_kernel(nest, threads=threads, vector_bytes=vector_bytes) for nest in nests)
    return f"{prelude(body)}\n{body}"


def emit_kernel(nest: LoopNest, *, threads: int = 1, vector_bytes: int | None = None, far: int = FAR) -> str:
    """The C functions of a nest, without the prelude: `void NAME(inputs..., outputs..., void *restrict workspace)`.

    Args: threads: how many run a parallel loop; 1 emits no OpenMP.  vector_bytes: by default the machine's.
    far: bytes from which on operands are fetched ahead.
    Raises: EmitError: local buffers do not fit a thread's stack, or a program computes in floats of 16 bits.
    """
    if threads < 1:
        raise ValueError(f"threads must be at least 1, got {threads}")
    if any(buffer.dtype in NARROW_FLOATS for buffer in (*nest.inputs, *nest.outputs)):
        _check_narrow(nest)
    return KernelText(prepare(nest, vector_bytes=vector_bytes, far=far), threads).text()


def _check_narrow(nest: LoopNest) -> None:
    tops = (top for stmt in walk_stmts(nest.body) for top in expressions(stmt))
    for node in (node for top in tops for node in walk(top)):
        operand = node.a if isinstance(node, Binary) else node.args[0] if isinstance(node, Call) else None
        if operand is not None and operand.dtype in NARROW_FLOATS:
            raise EmitError(f"{nest.name}: `{node}` computes in {operand.dtype}; cast its operands to float32")
