"""The phases of one kernel as CUDA C text."""

from __future__ import annotations

from runtime.cuda_text.expressions import CUDA_TYPES, CudaText, cuda_name
from runtime.cuda_text.vectors import vector_lines
from runtime.expr import Buffer, Var
from runtime.loop_nest import THREAD, UNROLL, VECTORIZE, Allocate, Block, For, If, Stmt, Store
from runtime.passes.gpu_barriers import Barrier

ALIGNMENT = 16  # bytes; what a float4 needs


class KernelBody:
    """Prints the body of a kernel; `lines` is the text, `shared` the block's buffers, hoisted to its start."""

    def __init__(self, threads: int, thread: Var, extents: dict[str, int]) -> None:
        self.threads, self.thread = threads, thread
        self.extents = dict(extents)
        self.lines: list[str] = []
        self.shared: list[Buffer] = []

    def line(self, depth: int, text: str) -> None:
        """Print one line."""
        self.lines.append("    " * depth + text)

    @property
    def scalars(self) -> CudaText:
        """The printer of expressions."""
        return CudaText(self.extents)

    def stmt(self, stmt: Stmt, depth: int) -> None:
        """Print a statement."""
        if isinstance(stmt, Block):
            for part in stmt.stmts:
                self.stmt(part, depth)
        elif isinstance(stmt, Barrier):
            self.line(depth, "__syncthreads();")
        elif isinstance(stmt, Store):
            text = self.scalars
            self.line(depth, f"{text.element(stmt.buffer, stmt.indices)} = {text.text(stmt.value)};")
        elif isinstance(stmt, If):
            self.braces(depth, f"if ({self.scalars.text(stmt.condition)})", stmt.body)
        elif isinstance(stmt, Allocate):
            self.allocate(stmt, depth)
        elif isinstance(stmt, For):
            self.loop(stmt, depth)
        else:
            raise TypeError(f"not a statement of a kernel: {stmt!r}")

    def braces(self, depth: int, head: str, body: Stmt) -> None:
        """Print a statement in braces after a head."""
        self.line(depth, f"{head} {{")
        self.stmt(body, depth + 1)
        self.line(depth, "}")

    def allocate(self, stmt: Allocate, depth: int) -> None:
        """Declare a thread's own array here, a block's at the start of the kernel."""
        buffer = stmt.buffer
        if buffer.scope == "shared":
            self.shared.append(buffer)
        else:
            self.line(depth, declaration(buffer))
        self.stmt(stmt.body, depth)

    def loop(self, stmt: For, depth: int) -> None:
        """Print a loop; one over threads is what each of them does."""
        outer = self.extents.get(stmt.var.name)
        self.extents[stmt.var.name] = stmt.extent
        if stmt.kind == THREAD:
            if stmt.extent < self.threads:
                self.braces(depth, f"if ({cuda_name(self.thread.name)} < {stmt.extent})", stmt.body)
            else:
                self.stmt(stmt.body, depth)
        elif stmt.kind == VECTORIZE and isinstance(stmt.body, Store):
            for text in vector_lines(stmt, stmt.body, self.scalars):
                self.line(depth, text)
        else:
            if stmt.kind in (UNROLL, VECTORIZE):
                self.line(depth, "#pragma unroll")
            name = cuda_name(stmt.var.name)
            self.braces(depth, f"for (int {name} = 0; {name} < {stmt.extent}; ++{name})", stmt.body)
        if outer is not None:
            self.extents[stmt.var.name] = outer


def declaration(buffer: Buffer) -> str:
    """An array of one thread, or of the block."""
    dims = "".join(f"[{extent}]" for extent in buffer.shape)
    shared = f"__shared__ __align__({ALIGNMENT}) " if buffer.scope == "shared" else ""
    return f"{shared}{CUDA_TYPES[buffer.dtype]} {cuda_name(buffer.name)}{dims};"
