"""One root statement with tensor loops as a CUDA kernel.

The nest is printed as directly as it stands: `block` is blockIdx.x, `warp` threadIdx.x / 32, a `thread` loop inside is
this thread's share, `tensor` loops are calls of the prelude (`tensor_fragments`). Decided here:

- Shared tiles have their 16-byte chunks permuted, so that neither `ldmatrix` nor the copies meet bank conflicts.
- A `vectorize` loop that moves 16 neighbouring bytes from global to shared memory is one `cp.async`.
- Copies that run ahead of their use (`tensor_pipeline`) are waited for as late as can be; others at once, between two
  barriers.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from runtime.c_text.expressions import c_name
from runtime.cuda_text import tensor_pipeline as pipeline
from runtime.cuda_text.tensor_cores import prelude_of
from runtime.cuda_text.tensor_expressions import CUDA_TYPES, CudaText, chunk_elements
from runtime.cuda_text.tensor_fragments import PRAGMA_UNROLL, Lines, MmaAheadFragments, MmaFragments, indent, plain
from runtime.cuda_text.tensor_operations import TensorError, operation, outermost_tensor_loops, roles
from runtime.cuda_text.wmma_fragments import WmmaFragments
from runtime.expr import ITEM_SIZE, Buffer, Const, Expr, Load, Select
from runtime.expr_tree import free_variables, substitute
from runtime.indices.index_forms import flat_index, fold, multiple_of, step
from runtime.loop_nest import (
    BLOCK,
    TENSOR,
    THREAD,
    UNROLL,
    VECTORIZE,
    WARP,
    Allocate,
    Block,
    For,
    If,
    Stmt,
    Store,
    walk_stmts,
)
from runtime.passes.vector_loops import substitute_stmt

STATIC_SHARED = 48 << 10  # bytes that a kernel may declare; more is asked for at the launch


@dataclass(frozen=True)
class TensorKernel:
    """A kernel's text, without the prelude, and its launch. dynamic_bytes: shared memory beyond what it declares."""

    text: str
    grid: int
    block: int
    shared_bytes: int
    dynamic_bytes: int

    @property
    def source(self) -> str:
        """A translation unit of this kernel alone."""
        return f"#include <cuda_fp16.h>\n\n{prelude_of(self.text)}\n{self.text}"


# How fragments are printed: the instructions themselves, or the interface of <mma.h>.
INTERFACES: dict[str, type[MmaFragments] | type[WmmaFragments]] = {
    "mma": MmaFragments,
    "mma-ahead": MmaAheadFragments,
    "wmma": WmmaFragments,
}


def tensor_kernel(
    stmt: Stmt, name: str, inputs: tuple[Buffer, ...], outputs: tuple[Buffer, ...], interface: str = "mma"
) -> TensorKernel:
    """Print a root statement; `inputs` and `outputs` are the buffers that it takes as arguments.

    Raises: ValueError: no such interface.  TensorError: the statement has a form that this printer does not know.
    """
    if interface not in INTERFACES:
        raise ValueError(f"interface must be one of {', '.join(INTERFACES)}, got {interface!r}")
    return _Printer(stmt, name, (inputs, outputs), interface).kernel()


class _Printer:
    def __init__(
        self, stmt: Stmt, name: str, arguments: tuple[tuple[Buffer, ...], tuple[Buffer, ...]], interface: str
    ) -> None:
        self.root, self.name = stmt, name
        self.inputs, self.outputs = arguments
        loops = [node for node in walk_stmts(stmt) if isinstance(node, For)]
        warps = [32 * loop.extent for loop in loops if loop.kind == WARP]
        if not warps:
            raise TensorError(f"{name}: tensor loops stand inside a warp loop, and there is none")
        self.threads = max([*warps, *(loop.extent for loop in loops if loop.kind == THREAD)])
        self.grid = max([1, *(loop.extent for loop in loops if loop.kind == BLOCK)])
        self.shared = [n.buffer for n in walk_stmts(stmt) if isinstance(n, Allocate) and n.buffer.scope == "shared"]
        done = [operation(loop) for loop in outermost_tensor_loops(stmt)]
        self.expressions = CudaText({}, frozenset())
        self.fragments = INTERFACES[interface](roles(stmt), self.expressions, done, self.threads // 32)

    def kernel(self) -> TensorKernel:
        body = self.statement(self.root)
        lengths = [self.expressions.shared_size(buffer) for buffer in self.shared]
        sizes = [-(-length * ITEM_SIZE[buffer.dtype] // 128) * 128 for length, buffer in zip(lengths, self.shared)]
        total = sum(sizes)
        more = self.fragments.shared()
        scratch = self.threads // 32 * 1024 if more else 0
        dynamic = total if total > STATIC_SHARED else 0
        arguments = [f"const {CUDA_TYPES[b.dtype]}* __restrict__ {c_name(b.name)}" for b in self.inputs]
        arguments += [f"{CUDA_TYPES[b.dtype]}* __restrict__ {c_name(b.name)}" for b in self.outputs]
        lines = [
            f'extern "C" __global__ void __launch_bounds__({self.threads})',
            f"{self.name}({', '.join(arguments)}) {{",
        ]
        if _mentions(body, "lane"):
            more.append("const int lane = threadIdx.x % 32;")
        lines += indent([*self._declare_shared(sizes, dynamic), *more, *body])
        return TensorKernel("\n".join([*lines, "}"]) + "\n", self.grid, self.threads, total + scratch, dynamic)

    def _declare_shared(self, sizes: list[int], dynamic: int) -> Lines:
        if not dynamic:
            return [
                f"__shared__ __align__(128) {CUDA_TYPES[b.dtype]} {c_name(b.name)}[{self.expressions.shared_size(b)}];"
                for b in self.shared
            ]
        lines, start = ["extern __shared__ __align__(128) unsigned char shared_memory[];"], 0
        for buffer, size in zip(self.shared, sizes):
            kind = CUDA_TYPES[buffer.dtype]
            lines.append(f"{kind}* const {c_name(buffer.name)} = ({kind}*)(shared_memory + {start});")
            start += size
        return lines

    def statement(self, stmt: Stmt) -> Lines:
        """The lines of any statement."""
        if isinstance(stmt, Block):
            return self.sequence(stmt.stmts)
        if isinstance(stmt, Allocate):
            return [*self._allocate(stmt.buffer), *self.statement(stmt.body)]
        if isinstance(stmt, If):
            condition = self.expressions.text(stmt.condition)
            return [f"if ({condition}) {{", *indent(self.statement(stmt.body)), "}"]
        if isinstance(stmt, For):
            return self.loop(stmt)
        return plain(stmt, self.expressions)

    def _allocate(self, buffer: Buffer) -> Lines:
        if buffer.scope == "fragment":
            return self.fragments.declare(buffer)
        if buffer.scope == "shared":
            return []
        if buffer.scope == "global":
            raise TensorError(f"{self.name}: the workspace `{buffer.name}` is allocated inside the kernel")
        return [f"{CUDA_TYPES[buffer.dtype]} {c_name(buffer.name)}[{buffer.size}];"]

    def sequence(self, stmts: tuple[Stmt, ...]) -> Lines:
        """Statements in order; those that fill shared memory with the barriers around them."""
        lines: Lines = []
        position = 0
        while position < len(stmts):
            stmt = stmts[position]
            following = stmts[position + 1] if position + 1 < len(stmts) else None
            if pipeline.runs_ahead(stmt, following):
                assert isinstance(stmt, For) and isinstance(following, For)
                lines += self.pipelined(stmt, following)
                position += 2
                continue
            if not pipeline.fills_shared(stmt) or pipeline.reads_shared(stmt):
                lines += self.statement(stmt)
                position += 1
                continue
            group = []
            while position < len(stmts) and pipeline.fills_shared(stmts[position]):
                group.append(stmts[position])
                position += 1
            copies = self.copies(Block(tuple(group)))
            waits = ["cp_async_commit();", "cp_async_wait_0();"] if any("cp_async16" in line for line in copies) else []
            lines += ["__syncthreads();", *copies, *waits, "__syncthreads();"]
        return lines

    def pipelined(self, prologue: For, loop: For) -> Lines:
        """Copies for the first steps, then a loop that copies a later step while it works on this one."""
        ahead = prologue.extent
        assert isinstance(loop.body, Block)
        copies, *work = loop.body.stmts
        assert isinstance(copies, If)
        self._enter(prologue)
        self._enter(loop)
        first = [*self.copies(prologue.body), "cp_async_commit();"]
        wait = [f"cp_async_wait_{ahead - 1}();", "__syncthreads();"]
        later = [f"if ({self.expressions.text(copies.condition)}) {{", *indent(self.copies(copies.body)), "}"]
        start = [PRAGMA_UNROLL, *self._for(prologue, first)]
        inner = pipeline.inner_step(work) if self.fragments.ahead else None
        if inner is not None:
            later.append("cp_async_commit();")
            return [*start, *self._fragments_ahead(loop, inner, wait, later)]
        body = [*wait, *later, "cp_async_commit();", *self.sequence(tuple(work))]
        return [*start, "#pragma unroll 1", *self._for(loop, body)]

    def _fragments_ahead(self, loop: For, inner: pipeline.InnerStep, wait: Lines, later: Lines) -> Lines:
        """The loop with fragments in two sets of registers: one is loaded while the other is multiplied.

        The last multiplications of a step stand behind the barrier of the next one, so that its first fragments are on
        their way by then.
        """
        self.fragments.slots = {buffer.name: "[0]" for buffer in inner.fragments}
        declared = [line for buffer in inner.fragments for line in self.fragments.declare(buffer)]

        def load(step: Expr, part: int) -> Lines:
            self.fragments.slots = {buffer.name: f"[{part % 2}]" for buffer in inner.fragments}
            values: dict[str, Expr] = {loop.var.name: step, inner.loop.var.name: Const(part)}
            return self.statement(substitute_stmt(inner.loads, values))

        body: Lines = []
        parts = inner.loop.extent
        for part in range(parts):
            if part < parts - 1:
                body += load(loop.var, part + 1)
            else:
                following = [*wait, *load(loop.var + 1, 0)]
                body += [f"if ({c_name(loop.var.name)} + 1 < {loop.extent}) {{", *indent(following), "}"]
            body += later if part == 0 else []
            self.fragments.slots = {buffer.name: f"[{part % 2}]" for buffer in inner.fragments}
            body += self.statement(inner.multiply)
        begin = [*wait, *load(Const(0), 0)]
        return [*declared, *begin, "#pragma unroll 1", *self._for(loop, body)]

    def copies(self, stmt: Stmt) -> Lines:
        """What fills shared memory, without the barriers around it."""
        parts = stmt.stmts if isinstance(stmt, Block) else (stmt,)
        return [line for part in parts for line in self.statement(part)]

    def _enter(self, loop: For) -> None:
        self.expressions.extents = {**self.expressions.extents, loop.var.name: loop.extent}

    def _for(self, loop: For, body: Lines) -> Lines:
        name = c_name(loop.var.name)
        return [f"for (int {name} = 0; {name} < {loop.extent}; ++{name}) {{", *indent(body), "}"]

    def loop(self, loop: For) -> Lines:
        """A loop of any kind."""
        if loop.kind == TENSOR:
            return self.fragments.print(operation(loop))
        name = c_name(loop.var.name)
        self._enter(loop)
        if loop.kind in (BLOCK, WARP):
            value = "blockIdx.x" if loop.kind == BLOCK else "threadIdx.x / 32"
            guard = loop.kind == WARP and 32 * loop.extent < self.threads
            if guard:
                raise TensorError(f"{self.name}: {loop.extent} warps in a block of {self.threads} threads")
            body = self.statement(loop.body)
            return [f"const int {name} = {value};", *body] if _mentions(body, name) else body
        if loop.kind == THREAD:
            inner = [f"const int {name} = threadIdx.x;", *self.statement(loop.body)]
            if loop.extent < self.threads:
                inner = [inner[0], f"if ({name} < {loop.extent}) {{", *indent(inner[1:]), "}"]
            return ["{", *indent(inner), "}"]
        if loop.kind == VECTORIZE:
            return self.copy(loop) or [PRAGMA_UNROLL, *self._for(loop, self.statement(loop.body))]
        pragma = [PRAGMA_UNROLL] if loop.kind == UNROLL else ["#pragma unroll 1"]
        return [*pragma, *self._for(loop, self.statement(loop.body))]

    def copy(self, loop: For) -> Lines | None:
        """A loop that moves 16 bytes from global to shared memory, as one asynchronous copy."""
        store = loop.body
        if not isinstance(store, Store) or store.buffer.scope != "shared":
            return None
        condition: Expr | None = None
        value = store.value
        if isinstance(value, Select) and isinstance(value.otherwise, Const) and value.otherwise.value == 0:
            condition, value = value.condition, value.then
        if not isinstance(value, Load) or value.buffer.scope != "global" or value.dtype != store.buffer.dtype:
            return None
        per = chunk_elements(value.dtype)
        if loop.extent != per or not all(
            _neighbours(load, loop, per) for load in (value, Load(store.buffer, store.indices))
        ):
            return None
        if condition is not None and loop.var.name in free_variables(condition):
            return None
        first = {loop.var.name: Const(0)}
        to, source = ((load.buffer, tuple(fold(substitute(index, first)) for index in load.indices))
                      for load in (Load(store.buffer, store.indices), value))  # fmt: skip
        places = f"&{self.expressions.element(*to)}, &{self.expressions.element(*source)}"
        if condition is None:
            return [f"cp_async16({places});"]
        return [f"cp_async16_or_zero({places}, {self.expressions.text(condition)});"]


def _mentions(lines: Lines, name: str) -> bool:
    return any(re.search(rf"\b{re.escape(name)}\b", line) for line in lines)


def _neighbours(load: Load, loop: For, per: int) -> bool:
    """Whether a loop walks through 16 aligned bytes."""
    place = flat_index(load.indices, load.buffer.shape)
    start = fold(substitute(place, {loop.var.name: Const(0)}))
    return step(place, loop.var.name, loop.extent) == 1 and multiple_of(start) % per == 0
