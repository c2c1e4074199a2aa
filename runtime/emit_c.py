"""Loop nests as C."""

from __future__ import annotations

from collections.abc import Sequence

from runtime.c_expr import C_TYPES, ScalarText, c_name
from runtime.c_prelude import prelude
from runtime.expr import Buffer
from runtime.loop_nest import Allocate, Block, For, If, LoopNest, Stmt, Store

WORKSPACE_ALIGNMENT = 64
LOCAL_LIMIT = 256 * 1024


class EmitError(ValueError):
    """A nest that the emitter refuses, with the reason."""


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


def emit_library(nests: Sequence[LoopNest], *, threads: int = 1) -> str:
    """One translation unit with a kernel per nest; their names must differ."""
    body = "\n".join(emit_kernel(nest, threads=threads) for nest in nests)
    return f"{prelude(body)}\n{body}"


def emit_kernel(nest: LoopNest, *, threads: int = 1) -> str:
    """The C function of a nest, without the prelude: `void NAME(inputs..., outputs..., void *restrict workspace)`."""
    return _Kernel(nest, threads).text()


class _Kernel:
    """Prints one nest."""

    def __init__(self, nest: LoopNest, threads: int) -> None:
        self.nest = nest
        self.threads = threads
        self.lines: list[str] = []
        self.extents: dict[str, int] = {}
        self.scalar = ScalarText(self.extents)

    def text(self) -> str:
        parameters = [f"const {C_TYPES[b.dtype]} *restrict {c_name(b.name)}" for b in self.nest.inputs]
        parameters += [f"{C_TYPES[b.dtype]} *restrict {c_name(b.name)}" for b in self.nest.outputs]
        head = f"void {self.nest.name}({', '.join([*parameters, 'void *restrict workspace'])})\n{{\n"
        self.stmt(self.nest.body, 1, 0)
        return head + "\n".join(self.lines) + "\n}\n"

    def line(self, depth: int, text: str) -> None:
        self.lines.append("    " * depth + text)

    def stmt(self, stmt: Stmt, depth: int, workspace: int) -> None:
        if isinstance(stmt, Block):
            for part in stmt.stmts:
                self.stmt(part, depth, workspace)
        elif isinstance(stmt, Store):
            value = self.scalar.text(stmt.value)
            self.line(depth, f"{self.scalar.element(stmt.buffer, stmt.indices)} = {value};")
        elif isinstance(stmt, If):
            self.line(depth, f"if ({self.scalar.text(stmt.condition)}) {{")
            self.stmt(stmt.body, depth + 1, workspace)
            self.line(depth, "}")
        elif isinstance(stmt, For):
            name = c_name(stmt.var.name)
            self.extents[stmt.var.name] = stmt.extent
            self.line(depth, f"for (int32_t {name} = 0; {name} < {stmt.extent}; {name}++) {{")
            self.stmt(stmt.body, depth + 1, workspace)
            self.line(depth, "}")
        elif isinstance(stmt, Allocate):
            self.line(depth, "{")
            if stmt.buffer.scope == "global":
                kind = C_TYPES[stmt.buffer.dtype]
                place = f"({kind} *)((char *)workspace + {workspace})"
                self.line(depth + 1, f"{kind} *restrict {c_name(stmt.buffer.name)} = {place};")
                workspace += -(-stmt.buffer.nbytes // WORKSPACE_ALIGNMENT) * WORKSPACE_ALIGNMENT
            else:
                self.line(depth + 1, self.local(stmt.buffer))
            self.stmt(stmt.body, depth + 1, workspace)
            self.line(depth, "}")

    def local(self, buffer: Buffer) -> str:
        if buffer.nbytes > LOCAL_LIMIT:
            raise EmitError(
                f"{self.nest.name}: local buffer `{buffer.name}` takes {buffer.nbytes} bytes of one thread's stack, "
                f"more than {LOCAL_LIMIT}"
            )
        kind = C_TYPES[buffer.dtype]
        return f"{kind} {c_name(buffer.name)}[{max(1, buffer.size)}] __attribute__((aligned({WORKSPACE_ALIGNMENT})));"
