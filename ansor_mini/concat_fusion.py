"""Let kernels write straight into the tensor that a concat would copy them into.

Where each operand of a concat comes from a kernel of its own and is read by nothing else, those kernels become one:
they run one after the other and store at their offsets in the joined tensor. The copies are gone, and nothing is
computed differently.

    def left(A) -> (l):     l[i, c] = f(A[i, c])            def join(x0, x1) -> (y):
    def right(B) -> (r):    r[i, c] = g(B[i, c])      ->        y[i, c] = f(x0[i, c])
    y = concat(l, r, axis=1)                                    y[i, 4 + c] = g(x1[i, c])
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from runtime.expr import Buffer, Expr, Load, Var
from runtime.expr_tree import transform
from runtime.graph import Graph
from runtime.loop_nest import Allocate, For, If, LoopNest, Stmt, Store, block, rebuild_stmt, sub_stmts
from runtime.network import KernelCall


def join_concats(graph: Graph, calls: Sequence[KernelCall]) -> list[KernelCall]:
    """Merge the producers of concats into the concats' calls where that is possible; order and results stay."""
    producer = {output: call for call in calls for output in call.outputs}
    merged: dict[str, tuple[KernelCall, ...]] = {}
    for call in calls:
        value = call.outputs[0]
        if _is_concat(graph, value) and all(_writes_alone(graph, name, producer) for name in call.inputs):
            parts = tuple(producer[name] for name in call.inputs)
            if len(set(map(id, parts))) == len(parts):
                merged[value] = parts
    gone = {id(part) for parts in merged.values() for part in parts}
    kept = [call for call in calls if id(call) not in gone]
    return [_join(graph, call, merged[call.outputs[0]]) if call.outputs[0] in merged else call for call in kept]


def _is_concat(graph: Graph, value: str) -> bool:
    node = graph.producer(value)
    return node is not None and node.operator == "concat"


def _writes_alone(graph: Graph, value: str, producer: dict[str, KernelCall]) -> bool:
    """Whether a kernel computes just this value, in its own shape, and nothing but one concat reads it."""
    if value not in producer or value in graph.outputs or len(graph.users(value)) != 1:
        return False
    nest = producer[value].nest
    return not _is_concat(graph, value) and [out.shape for out in nest.outputs] == [graph.types[value].shape]


def _join(graph: Graph, call: KernelCall, parts: Sequence[KernelCall]) -> KernelCall:
    value = call.outputs[0]
    node = graph.producer(value)
    assert node is not None
    joined = Buffer("y", graph.types[value].shape, graph.types[value].dtype)
    axis = node["axis"] % len(joined.shape)
    bodies: list[Stmt] = []
    inputs: list[Buffer] = []
    values: list[str] = []
    offset = 0
    for number, part in enumerate(parts):
        names = _Renaming(f"p{number}_", part.nest.outputs[0].name, joined, axis, offset)
        inputs += [names.buffer(buffer) for buffer in part.nest.inputs]
        values += part.inputs
        bodies.append(names.stmt(part.nest.body))
        offset += part.nest.outputs[0].shape[axis]
    nest = LoopNest(call.nest.name, tuple(inputs), (joined,), block(*bodies))
    return KernelCall(nest, tuple(values), call.outputs)


@dataclass(frozen=True)
class _Renaming:
    """Gives the names of one kernel a prefix, and moves its output into a slice of the joined tensor."""

    prefix: str
    output: str
    joined: Buffer
    axis: int
    offset: int

    def buffer(self, buffer: Buffer) -> Buffer:
        return Buffer(self.prefix + buffer.name, buffer.shape, buffer.dtype, buffer.scope)

    def place(self, buffer: Buffer, indices: tuple[Expr, ...]) -> tuple[Buffer, tuple[Expr, ...]]:
        if buffer.name != self.output:
            return self.buffer(buffer), indices
        index = indices[self.axis] + self.offset if self.offset else indices[self.axis]
        return self.joined, (*indices[: self.axis], index, *indices[self.axis + 1 :])

    def expr(self, expr: Expr) -> Expr:
        def visit(node: Expr) -> Expr | None:
            if isinstance(node, Var):
                return Var(self.prefix + node.name, node.dtype)
            return Load(*self.place(node.buffer, node.indices)) if isinstance(node, Load) else None

        return transform(expr, visit)

    def stmt(self, stmt: Stmt) -> Stmt:
        if isinstance(stmt, Store):
            indices = tuple(map(self.expr, stmt.indices))
            return Store(*self.place(stmt.buffer, indices), self.expr(stmt.value))
        parts = tuple(map(self.stmt, sub_stmts(stmt)))
        if isinstance(stmt, For):
            return For(Var(self.prefix + stmt.var.name), stmt.extent, stmt.kind, parts[0])
        if isinstance(stmt, If):
            return If(self.expr(stmt.condition), parts[0])
        if isinstance(stmt, Allocate):
            return Allocate(self.buffer(stmt.buffer), parts[0])
        return rebuild_stmt(stmt, parts)
