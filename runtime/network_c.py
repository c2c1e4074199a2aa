"""A network as C text: its kernels, then one function that calls them in order.

    int NAME_run(const void *const *inputs, void *const *outputs, const void *weights, void *workspace);

Pointers must be 64-byte aligned and outputs may not overlap anything else. `weights` is the content of the weights
file, `workspace` is scratch memory; the sizes stand in a comment above the function. Kernels that differ only in names
are printed once, under names that begin with the network's, so that programs can hold several networks. Nothing is kept
between calls: threads may run the function at the same time with a workspace each.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from runtime.c_text.expressions import c_name
from runtime.c_text.prelude import prelude
from runtime.compile_c import declaration
from runtime.emit_c import emit_kernel, workspace_bytes
from runtime.expr import Expr, Load, Var
from runtime.expr_tree import transform
from runtime.loop_nest import Allocate, Block, For, If, LoopNest, Stmt, Store
from runtime.memory_plan import MemoryPlan, aligned, plan
from runtime.network import Network
from runtime.passes.prefetches import COLD


def c_identifier(name: str) -> str:
    """A name that C accepts.

    >>> c_identifier("squeezenet-1.1"), c_identifier("3d")
    ('squeezenet_1_1', '_3d')
    """
    text = re.sub(r"\W", "_", name, flags=re.ASCII)
    return text if text[:1].isalpha() or text[:1] == "_" else f"_{text}"


def entry_name(network: Network) -> str:
    """Name of the function that runs the network once."""
    return f"{c_identifier(network.name)}_run"


def profile_name(network: Network) -> str:
    """Name of the function that runs the network once with a clock."""
    return f"{c_identifier(network.name)}_profile"


@dataclass(frozen=True)
class WeightLayout:
    """First byte of each weight in the weights file, and the file's size."""

    offsets: Mapping[str, int]
    total_bytes: int


def weight_layout(network: Network) -> WeightLayout:
    """Put the weights that are used one after the other, each 64-byte aligned, in the order of first use."""
    used = [value for call in network.calls for value in call.inputs] + [source for _, source in network.copies()]
    offsets: dict[str, int] = {}
    total = 0
    for source in map(network.source_of, used):
        if source in network.weights and source not in offsets:
            offsets[source] = total
            total += aligned(network.type_of(source).nbytes)
    return WeightLayout(offsets, total)


def write_weights(network: Network, path: Path) -> None:
    """Write the weights file; at least one byte long, so that it can be mapped into memory."""
    layout = weight_layout(network)
    with path.open("wb") as file:
        for name, offset in layout.offsets.items():
            file.seek(offset)
            np.ascontiguousarray(network.weights[name]).tofile(file)
        file.truncate(max(1, layout.total_bytes))


def unique_kernels(network: Network) -> tuple[list[LoopNest], list[LoopNest]]:
    """The different kernels under names of their own, and for each call the one it uses."""
    kernels: dict[LoopNest, LoopNest] = {}
    prefix = c_identifier(network.name)
    for call in network.calls:
        key = canonical(call.nest)
        if key not in kernels:
            kernels[key] = replace(call.nest, name=f"{prefix}_k{len(kernels):02}_{c_identifier(call.nest.name)}")
    return list(kernels.values()), [kernels[canonical(call.nest)] for call in network.calls]


def canonical(nest: LoopNest) -> LoopNest:
    """The nest with all names replaced by numbers in order of appearance: equal for nests that do the same.

    >>> from runtime.expr import Buffer
    >>> a, b, i = Buffer("a", (4,)), Buffer("b", (4,)), Var("i")
    >>> print(canonical(LoopNest("copy", (a,), (b,), For(i, 4, "serial", Store(b, (i,), a[i])))).body.var)
    v0
    """
    buffers = {
        buffer.name: replace(buffer, name=f"b{number}") for number, buffer in enumerate((*nest.inputs, *nest.outputs))
    }
    variables = iter(Var(f"v{number}") for number in range(1 << 30))

    def rename_expr(expr: Expr, scope: Mapping[str, Var]) -> Expr:
        def visit(node: Expr) -> Expr | None:
            if isinstance(node, Var):
                return scope.get(node.name)
            return Load(buffers[node.buffer.name], node.indices) if isinstance(node, Load) else None

        return transform(expr, visit)

    def rename(stmt: Stmt, scope: Mapping[str, Var]) -> Stmt:
        if isinstance(stmt, For):
            var = next(variables)
            return For(var, stmt.extent, stmt.kind, rename(stmt.body, {**scope, stmt.var.name: var}))
        if isinstance(stmt, Store):
            indices = tuple(rename_expr(index, scope) for index in stmt.indices)
            return Store(buffers[stmt.buffer.name], indices, rename_expr(stmt.value, scope))
        if isinstance(stmt, Allocate):
            buffers[stmt.buffer.name] = replace(stmt.buffer, name=f"b{len(buffers)}")
            return Allocate(buffers[stmt.buffer.name], rename(stmt.body, scope))
        if isinstance(stmt, If):
            return If(rename_expr(stmt.condition, scope), rename(stmt.body, scope))
        if isinstance(stmt, Block):
            return Block(tuple(rename(part, scope) for part in stmt.stmts))
        raise TypeError(f"not a statement: {stmt!r}")

    arguments = tuple(buffers.values())
    count = len(nest.inputs)
    return LoopNest("kernel", arguments[:count], arguments[count:], rename(nest.body, {}))


# What `compile_c` tells the compiler, for whoever builds the file without: gcc 12 miscompiles some loops that it turns
# into masked ones (PR 114375), and prefers half of a wide vector register.
GCC_OPTIONS = """#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC optimize("no-tree-loop-if-convert")
#if defined(__AVX512F__)
#pragma GCC target("prefer-vector-width=512")
#endif
#endif
"""


class NetworkText:
    """The C text of a network; every kernel is emitted once, in however many files it stands."""

    def __init__(self, network: Network, *, threads: int = 1) -> None:
        """Emit the kernels.  Raises: EmitError: one cannot be printed."""
        self.kernels, per_call = unique_kernels(network)
        self._bodies = [emit_kernel(kernel, threads=threads, far=COLD) for kernel in self.kernels]
        self.memory = plan(network)
        self.steps = steps_of(network, self.memory, per_call)
        self._entry = entry_point(network, self.memory, self.steps)
        self._profile = profile_point(network, self.steps)

    def whole(self) -> str:
        """The whole network as one C file."""
        return f"{GCC_OPTIONS}{_library(self._bodies)}\n{self._entry}"

    def units(self, count: int = 1) -> list[str]:
        """The same as several C files to be compiled side by side: at most `count` with kernels, one that calls.

        That one has `profile_point` besides.
        """
        units = [_library(self._bodies[start::count]) for start in range(min(count, len(self._bodies)))]
        declarations = "\n".join(declaration(kernel) for kernel in self.kernels)
        return [*units, f"#include <stdint.h>\n{declarations}\n\n{self._entry}\n{self._profile}"]


def emit_network(network: Network, *, threads: int = 1) -> str:
    """The whole network as one C file."""
    return NetworkText(network, threads=threads).whole()


def _library(bodies: Sequence[str]) -> str:
    body = "\n".join(bodies)
    return f"{prelude(body)}\n{body}"


@dataclass(frozen=True)
class Step:
    """Something that a network does: the kernel's name (`copy` without one), what it computes, and how C says it."""

    kernel: str
    text: str
    statement: str


def entry_point(network: Network, memory: MemoryPlan, steps: Sequence[Step]) -> str:
    """C text of the function that runs the network."""
    lines = [f"    /* {_comment(step.text)} */\n    {step.statement}" for step in steps]
    include = "#include <string.h>\n" if network.copies() else ""
    head = _head_comment(network, memory, weight_layout(network))
    return f"{include}{head}int {entry_name(network)}({_PARAMETERS})\n{_body(lines)}"


def profile_point(network: Network, steps: Sequence[Step]) -> str:
    """C text of the same function with a clock: `seconds[n]` becomes the time of step n."""
    lines = ["    struct timespec before, now;", "    timespec_get(&before, TIME_UTC);"]
    for number, step in enumerate(steps):
        lines += [f"    {step.statement}", f"    LAP({number});"]
    return (
        "#include <string.h>\n#include <time.h>\n"
        "#define LAP(step) (timespec_get(&now, TIME_UTC), seconds[step] = (double)(now.tv_sec - before.tv_sec)"
        " + 1e-9 * (double)(now.tv_nsec - before.tv_nsec), before = now)\n"
        f"int {profile_name(network)}({_PARAMETERS}, double *seconds)\n{_body(lines)}"
    )


_PARAMETERS = "const void *const *inputs, void *const *outputs, const void *weights, void *workspace"


def _body(lines: Sequence[str]) -> str:
    return (
        "{\n"
        "#define WEIGHT(offset) ((const void *)((const char *)weights + (offset)))\n"
        "#define MEMORY(offset) ((void *)((char *)workspace + (offset)))\n"
        "    (void)inputs, (void)weights, (void)workspace;\n" + "\n".join(lines) + "\n    return 0;\n}\n"
    )


def steps_of(network: Network, memory: MemoryPlan, kernels: Sequence[LoopNest]) -> list[Step]:
    """The calls of a network, for each of which `kernels` has one, and the copies to further outputs."""
    weights = weight_layout(network)
    homes = network.homes()
    inputs, outputs = list(network.inputs), list(network.outputs)

    def pointer(value: str) -> str:
        source, start = network.source_of(value), network.start_of(value)
        if source in network.weights:
            return f"WEIGHT({weights.offsets[source] + start})"
        if source not in network.inputs and source not in homes:
            return f"MEMORY({memory.offsets[source] + start})"
        given = source in network.inputs
        place = f"inputs[{inputs.index(source)}]" if given else f"outputs[{outputs.index(homes[source])}]"
        return f"({'const ' * given}char *){place} + {start}" if start else place

    steps = []
    for call, kernel, scratch in zip(network.calls, kernels, memory.workspaces):
        results = ", ".join(f"{value}: {network.type_of(value)}" for value in call.outputs)
        pointers = ", ".join(pointer(value) for value in (*call.inputs, *call.outputs))
        # Not the start of the workspace for a kernel that needs none: a value may live there.
        own = f"MEMORY({scratch})" if workspace_bytes(kernel) else "0"
        text = f"{results} from {', '.join(call.inputs) or 'nothing'}"
        steps.append(Step(call.nest.name, text, f"{c_name(kernel.name)}({pointers}, {own});"))
    for output, source in network.copies():
        size = network.type_of(output).nbytes
        statement = f"memcpy(outputs[{outputs.index(output)}], {pointer(output)}, {size});"
        steps.append(Step("copy", f"{output} is {source}", statement))
    return steps


def _head_comment(network: Network, memory: MemoryPlan, weights: WeightLayout) -> str:
    lines = [f"Runs {network.name} once and returns 0."]
    for kind, types in (("inputs", network.inputs), ("outputs", network.outputs)):
        lines += [f"{kind}[{number}]  {name}: {kept}" for number, (name, kept) in enumerate(types.items())]
    lines.append(f"weights    {weights.total_bytes} bytes, the content of the weights file")
    lines.append(f"workspace  {memory.total_bytes} bytes of scratch memory")
    return "/* " + "\n * ".join(_comment(line) for line in lines) + " */\n"


def _comment(text: str) -> str:
    """Text that can stand in a C comment whatever the model's author called the values."""
    return text.replace("*/", "* /").replace("/*", "/ *").replace("\n", " ").replace("\\", "/")
