"""A nest as CUDA C: kernels for nvcc and, unchanged, for the checked run on a CPU.

Paper: Ansor §4.3

1. Index arithmetic is simplified; the root is cut into kernels (`gpu_kernels`).
2. Virtual threads are expanded (`gpu_vthreads`), reductions across threads get partial results (`gpu_reductions`).
3. Nested thread loops become phases (`gpu_threads`); tiles move to registers (`gpu_tiles`).
4. Barriers are put between phases that depend on one another (`gpu_barriers`), and the text is printed (`cuda_text`).
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from runtime.c_text.statements import EmitError
from runtime.cuda_text.expressions import CUDA_TYPES, cuda_name
from runtime.cuda_text.prelude import prelude
from runtime.cuda_text.statements import KernelBody, declaration
from runtime.cuda_text.tensor_cores import prelude_of
from runtime.cuda_text.tensor_kernel import tensor_kernel
from runtime.cuda_text.tensor_operations import TensorError, has_tensor_loops
from runtime.expr import Buffer, Var
from runtime.loop_nest import BLOCK, For, LoopNest, Stmt
from runtime.names import Names
from runtime.passes.gpu_barriers import place_barriers
from runtime.passes.gpu_kernels import KernelError, split_kernels
from runtime.passes.gpu_prefetch import load_ahead
from runtime.passes.gpu_reductions import WARP, reduce_across_threads, reduces_across_threads
from runtime.passes.gpu_simplify import simplify_nest
from runtime.passes.gpu_threads import ThreadError, block_size, share_buffers, spread
from runtime.passes.gpu_tiles import tiles_in_registers
from runtime.passes.gpu_vthreads import expand_vthreads
from runtime.passes.vector_loops import substitute_stmt
from runtime.passes.visits import accesses

__all__ = ["CudaModule", "EmitError", "Kernel", "Launch", "emit_cuda", "prepare_kernels"]

THREADS_LIMIT = 1024
SHARED_LIMIT = 48 * 1024  # bytes of static shared memory
ELEMENTS_LIMIT = 2**31


@dataclass(frozen=True)
class Launch:
    """One launch of a kernel: how many blocks of how many threads, on which buffers."""

    kernel: str
    grid: int
    block: int
    arguments: tuple[str, ...]
    shared_bytes: int


@dataclass(frozen=True)
class CudaModule:
    """The text of all kernels of a nest, and the launches that run it, in order."""

    text: str
    launches: tuple[Launch, ...]
    inputs: tuple[Buffer, ...]
    outputs: tuple[Buffer, ...]
    workspace: tuple[Buffer, ...]


@dataclass(frozen=True)
class Kernel:
    """One kernel before printing: phases and barriers over `thread`, in each of `grid` blocks."""

    name: str
    block_variable: Var | None
    grid: int
    thread: Var
    threads: int
    body: Stmt


def emit_cuda(nest: LoopNest, *, tensor_cores: str = "mma", prefetch: bool = False) -> CudaModule:
    """The CUDA text of a nest.

    tensor_cores: how tensor loops are printed, "mma" (mma.sync and ldmatrix), "mma-ahead" (with fragments loaded ahead)
    or "wmma" (the interface of <mma.h>). prefetch: whether threads load the next tiles into registers while they work
    on the present ones (`gpu_prefetch`).

    Raises: EmitError: the nest cannot run on a GPU as it is written, with the reason.

    >>> from runtime.loop_nest_text import parse
    >>> text = "def f(A: float32[64]) -> (C: float32[64]):\\n  for b in block(2):\\n    for t in thread(32):\\n"
    >>> module = emit_cuda(parse(text + "      C[b * 32 + t] = A[b * 32 + t] * 2.0"))
    >>> print(module.text)
    extern "C" __global__ void __launch_bounds__(32) f(const float* __restrict__ A, float* __restrict__ C) {
        const int block = blockIdx.x;
        const int thread = threadIdx.x;
        C[block * 32 + thread] = A[block * 32 + thread] * 2.0f;
    }
    <BLANKLINE>
    >>> module.launches
    (Launch(kernel='f', grid=2, block=32, arguments=('A', 'C'), shared_bytes=0),)
    """
    try:
        kernels, workspace = prepare_kernels(nest, prefetch=prefetch)
    except (KernelError, ThreadError) as error:
        raise EmitError(f"{nest.name}: {error}") from None
    buffers = {buffer.name: buffer for buffer in (*nest.inputs, *nest.outputs, *workspace)}
    for buffer in buffers.values():
        if buffer.size >= ELEMENTS_LIMIT:
            raise EmitError(f"{nest.name}: `{buffer.name}` has {buffer.size} elements, more than an int counts")
    printed = [_print(kernel, buffers, tensor_cores) for kernel in kernels]
    text = "\n".join(text for text, _ in printed)
    parts = [part for part in (_includes(text), prelude_of(text), prelude(text)) if part]
    launches = tuple(launch for _, launch in printed)
    return CudaModule("\n".join([*parts, text]), launches, nest.inputs, nest.outputs, workspace)


def _includes(text: str) -> str:
    if "nvcuda::wmma" in text:
        return "#include <cuda_bf16.h>\n#include <cuda_fp16.h>\n#include <mma.h>\n"
    return "#include <cuda_fp16.h>\n" if re.search(r"\bhalf\b|__float2half|to_bfloat16|mma_|cp_async", text) else ""


def prepare_kernels(nest: LoopNest, *, prefetch: bool = False) -> tuple[list[Kernel], tuple[Buffer, ...]]:
    """The kernels of a nest as phases, and its workspace."""
    roots = split_kernels(nest)
    names = Names.of(nest)
    block, thread = names.variable("block"), names.variable("thread")
    kernels = []
    for number, root in enumerate(roots.stmts):
        name = nest.name if len(roots.stmts) == 1 else f"{nest.name}_{number}"
        kernels.append(_prepare(name, root, block, thread, names, prefetch))
    return kernels, tuple(roots.workspace)


def _prepare(name: str, root: Stmt, block: Var, thread: Var, names: Names, prefetch: bool) -> Kernel:
    if has_tensor_loops(root):
        return Kernel(name, None, 0, thread, 0, root)
    root = expand_vthreads(simplify_nest(LoopNest(name, (), (), root)), names).body
    grid, variable, body = 1, None, root
    if isinstance(root, For) and root.kind == BLOCK:
        grid, variable = root.extent, block
        body = substitute_stmt(root.body, {root.var.name: block})
    threads = block_size(body)
    if reduces_across_threads(body):
        threads = -(-threads // WARP) * WARP
        body = reduce_across_threads(body, threads, names)
    if threads > THREADS_LIMIT:
        raise EmitError(f"{name}: a block has {threads} threads, more than {THREADS_LIMIT}")
    phases = spread(share_buffers(body), threads, thread)
    if prefetch:
        phases = load_ahead(phases, names)
    return Kernel(name, variable, grid, thread, threads, place_barriers(tiles_in_registers(phases, names)))


def _print(kernel: Kernel, buffers: dict[str, Buffer], tensor_cores: str) -> tuple[str, Launch]:
    """The text of a kernel and its launch."""
    if has_tensor_loops(kernel.body):
        return _print_tensor(kernel, buffers, tensor_cores)
    extents = {} if kernel.block_variable is None else {kernel.block_variable.name: kernel.grid}
    body = KernelBody(kernel.threads, kernel.thread, {**extents, kernel.thread.name: kernel.threads})
    body.stmt(kernel.body, 1)
    arguments, written = _arguments(kernel, buffers)
    parameters = ", ".join(
        f"{'' if b.name in written else 'const '}{CUDA_TYPES[b.dtype]}* __restrict__ {cuda_name(b.name)}"
        for b in arguments
    )
    shared_bytes = sum(-(-buffer.nbytes // 16) * 16 for buffer in body.shared)
    if shared_bytes > SHARED_LIMIT:
        raise EmitError(f"{kernel.name}: {shared_bytes} bytes of shared memory, more than {SHARED_LIMIT}")
    head = f'extern "C" __global__ void __launch_bounds__({kernel.threads}) {cuda_name(kernel.name)}({parameters}) {{'
    words = "\n".join(body.lines)
    lines = [f"    {declaration(buffer)}" for buffer in body.shared]
    for variable, source in ((kernel.block_variable, "blockIdx.x"), (kernel.thread, "threadIdx.x")):
        if variable is not None and _mentions(words, cuda_name(variable.name)):
            lines.append(f"    const int {cuda_name(variable.name)} = {source};")
    text = "\n".join((head, *lines, words, "}", ""))
    names = tuple(buffer.name for buffer in arguments)
    return text, Launch(cuda_name(kernel.name), kernel.grid, kernel.threads, names, shared_bytes)


def _arguments(kernel: Kernel, buffers: dict[str, Buffer]) -> tuple[list[Buffer], set[str]]:
    """The arguments of a kernel, in the order of the nest, and the names of those that it writes."""
    touched = accesses(kernel.body)
    used = {access.buffer.name for access in touched}
    written = {access.buffer.name for access in touched if access.is_store}
    return [buffer for name, buffer in buffers.items() if name in used], written


def _print_tensor(kernel: Kernel, buffers: dict[str, Buffer], tensor_cores: str) -> tuple[str, Launch]:
    """A kernel of tensor loops, which has a printer of its own."""
    arguments, written = _arguments(kernel, buffers)
    read = tuple(buffer for buffer in arguments if buffer.name not in written)
    made = tuple(buffer for buffer in arguments if buffer.name in written)
    try:
        done = tensor_kernel(kernel.body, cuda_name(kernel.name), read, made, tensor_cores)
    except TensorError as error:
        raise EmitError(str(error)) from None
    names = tuple(buffer.name for buffer in (*read, *made))
    return done.text, Launch(cuda_name(kernel.name), done.grid, done.block, names, done.shared_bytes)


def _mentions(text: str, name: str) -> bool:
    return re.search(rf"\b{re.escape(name)}\b", text) is not None
