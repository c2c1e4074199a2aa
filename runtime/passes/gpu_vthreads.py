"""Virtual threads: each thread runs the iterations of a `vthread` loop side by side.

Paper: Ansor §4.3

The loop moves inwards, past reductions, to the statements that depend on it, and is unrolled there: operands that
several virtual threads read are then loaded once. What does not depend on it, such as a copy to shared memory, runs
once for all of them; a buffer inside the loop that does depend gets one part per iteration.

    for v in vthread(2):                          with local(float32[2]) as acc:
        with local(float32[()]) as acc:               for k in range(4):
            for k in range(4):                ->          for v in unroll(2):
                acc[()] = acc[()] + A[k, v]                   acc[v] = acc[v] + A[k, v]
"""

from __future__ import annotations

from collections.abc import Set
from dataclasses import dataclass

from runtime.expr import Binary, Buffer, Const, Expr, Load, Var
from runtime.expr_tree import free_variables, loads, walk
from runtime.loop_nest import (
    THREAD,
    UNROLL,
    VECTORIZE,
    VTHREAD,
    Allocate,
    Block,
    For,
    If,
    LoopNest,
    Stmt,
    Store,
    change_parts,
    expressions,
    stores,
    transform_stmts,
    walk_stmts,
)
from runtime.names import Names
from runtime.passes.gpu_simplify import simplify_stmt
from runtime.passes.replace_buffers import map_accesses
from runtime.passes.vector_loops import substitute_stmt
from runtime.passes.visits import accesses


def expand_vthreads(nest: LoopNest, names: Names | None = None) -> LoopNest:
    """The nest without `vthread` loops, see the module; `names` are those taken outside as well.

    >>> from runtime.loop_nest_text import parse
    >>> text = "def f(A: float32[8]) -> (C: float32[8]):\\n  for v in vthread(2):\\n    for t in thread(4):\\n"
    >>> print(expand_vthreads(parse(text + "      C[v * 4 + t] = A[v * 4 + t]")))
    def f(A: float32[8]) -> (C: float32[8]):
        for t in thread(4):
            for v in unroll(2):
                C[v * 4 + t] = A[v * 4 + t]
    """
    taken = names or Names.of(nest)

    def visit(stmt: Stmt) -> Stmt | None:
        if not isinstance(stmt, For) or stmt.kind != VTHREAD:
            return None
        return _Expansion(stmt.var, stmt.extent, _dependent(stmt), _own(stmt.body), taken).push(stmt.body)

    return LoopNest(nest.name, nest.inputs, nest.outputs, transform_stmts(nest.body, visit))


def _own(stmt: Stmt) -> frozenset[str]:
    return frozenset(node.buffer.name for node in walk_stmts(stmt) if isinstance(node, Allocate))


def _dependent(loop: For) -> frozenset[str]:
    """The buffers allocated inside a loop whose contents differ between its iterations."""
    own, found = _own(loop.body), set[str]()
    touched = [access for access in accesses(loop.body) if access.is_store and access.buffer.name in own]
    while True:
        more = {
            access.buffer.name
            for access in touched
            if isinstance(access.stmt, Store)
            and any(
                loop.var.name in free_variables(expr) or any(load.buffer.name in found for load in loads(expr))
                for expr in (*access.indices, access.stmt.value, *access.guards)
            )
        }
        if more <= found:
            return frozenset(found)
        found |= more


@dataclass(frozen=True)
class _Expansion:
    """Moves one loop inwards. dependent, own: buffers that differ between its iterations; all allocated inside."""

    var: Var
    extent: int
    dependent: Set[str]
    own: Set[str]
    names: Names

    def push(self, stmt: Stmt) -> Stmt:
        if not self.touches(stmt):
            return stmt
        if isinstance(stmt, Allocate):
            return self.allocate(stmt)
        if isinstance(stmt, Block) or (isinstance(stmt, If) and self.passes_guard(stmt)):
            return change_parts(stmt, self.push)
        if isinstance(stmt, For) and self.passes_loop(stmt):
            return change_parts(stmt, self.push)
        return self.here(stmt)

    def touches(self, stmt: Stmt) -> bool:
        """Whether a statement must run for each iteration."""
        for node in walk_stmts(stmt):
            for expr in expressions(node):
                if self.differs(expr):
                    return True
            if isinstance(node, Store) and (node.buffer.name in self.dependent or node.buffer.name not in self.own):
                return True
        return False

    def differs(self, expr: Expr) -> bool:
        return self.var.name in free_variables(expr) or any(load.buffer.name in self.dependent for load in loads(expr))

    def allocate(self, stmt: Allocate) -> Stmt:
        """A buffer that depends on the loop gets one part per iteration."""
        old = stmt.buffer
        if old.name not in self.dependent:
            return change_parts(stmt, self.push)
        new = Buffer(old.name, (self.extent, *old.shape), old.dtype, old.scope)

        def load(node: Load) -> Expr | None:
            return Load(new, (self.var, *node.indices)) if node.buffer.name == old.name else None

        def store(node: Store) -> Store:
            return Store(new, (self.var, *node.indices), node.value) if node.buffer.name == old.name else node

        return Allocate(new, self.push(map_accesses(stmt.body, load, store)))

    def passes_guard(self, stmt: If) -> bool:
        return not self.differs(stmt.condition)

    def passes_loop(self, loop: For) -> bool:
        """Whether the expanded loop goes inside another: past threads, reductions, and what runs only once."""
        if loop.kind == VECTORIZE:
            return False
        if loop.kind == THREAD or any(isinstance(node, For) and node.kind == THREAD for node in walk_stmts(loop.body)):
            return True
        below = stores(loop.body)
        fixed = any(not any(loop.var.name in free_variables(index) for index in store.indices) for store in below)
        return fixed or any(not self.touches(store) for store in below)

    def here(self, stmt: Stmt) -> Stmt:
        """The unrolled loop around a statement; as two loops where its variable only occurs divided."""
        parts = {
            int(node.b.value)
            for part in walk_stmts(stmt)
            for expr in expressions(part)
            for node in walk(expr)
            if isinstance(node, Binary) and node.op in ("//", "%") and node.a == self.var and isinstance(node.b, Const)
        }
        inner = next((part for part in parts if 1 < part < self.extent and self.extent % part == 0), None)
        if inner is None or len(parts) > 1:
            return For(self.var, self.extent, UNROLL, stmt)
        high, low = self.names.variable(f"{self.var.name}_0"), self.names.variable(f"{self.var.name}_1")
        ranges = {high.name: (0, self.extent // inner - 1), low.name: (0, inner - 1)}
        body = simplify_stmt(substitute_stmt(stmt, {self.var.name: high * inner + low}), ranges)
        return For(high, self.extent // inner, UNROLL, For(low, inner, UNROLL, body))
