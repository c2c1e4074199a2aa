"""From a nest to kernels: each statement at the root is one launch, what lies between them is workspace."""

from __future__ import annotations

from dataclasses import dataclass, field

from runtime.expr import Buffer
from runtime.expr_tree import free_variables, loads
from runtime.loop_nest import BLOCK, Allocate, Block, For, If, LoopNest, Stmt, change_parts, walk_stmts
from runtime.names import Names
from runtime.passes.replace_buffers import replace_buffers


class KernelError(ValueError):
    """A nest cannot be cut into kernels."""


@dataclass
class Roots:
    """The kernels of a nest, in order, and the buffers that live between them."""

    stmts: list[Stmt] = field(default_factory=list)
    workspace: list[Buffer] = field(default_factory=list)


def split_kernels(nest: LoopNest) -> Roots:
    """Cut a nest at its root.

    Raises: KernelError: block loops stand inside other loops.

    >>> from runtime.loop_nest_text import parse
    >>> text = "def f() -> (C: float32[8]):\\n  with workspace(float32[8]) as T:\\n    for b in block(8):\\n"
    >>> text += "      T[b] = 1.0\\n    for b in block(8):\\n      C[b] = T[b]"
    >>> roots = split_kernels(parse(text))
    >>> len(roots.stmts), [buffer.name for buffer in roots.workspace]
    (2, ['T'])
    """
    roots = Roots()
    _cut(unique_names(nest).body, roots)
    return roots


def _has_blocks(stmt: Stmt) -> bool:
    return any(isinstance(node, For) and node.kind == BLOCK for node in walk_stmts(stmt))


def _cut(stmt: Stmt, roots: Roots) -> None:
    if isinstance(stmt, Block):
        for part in stmt.stmts:
            _cut(part, roots)
    elif isinstance(stmt, Allocate) and (stmt.buffer.scope == "global" or _has_blocks(stmt.body)):
        old = stmt.buffer
        buffer = Buffer(old.name, old.shape, old.dtype, "global")
        roots.workspace.append(buffer)
        _cut(stmt.body if old == buffer else replace_buffers(stmt.body, {old.name: buffer}), roots)
    elif isinstance(stmt, If) and isinstance(stmt.body, For) and stmt.body.kind == BLOCK and not loads(stmt.condition):
        loop = stmt.body
        assert not free_variables(stmt.condition)
        roots.stmts.append(For(loop.var, loop.extent, BLOCK, If(stmt.condition, loop.body)))
    elif isinstance(stmt, (For, If)) and _has_blocks(stmt.body):
        raise KernelError(f"block loops stand at the root, not inside `{str(stmt).splitlines()[0]}`")
    else:
        roots.stmts.append(stmt)


def unique_names(nest: LoopNest) -> LoopNest:
    """The same nest in which no two allocations share a name."""
    taken: set[str] = set()
    names = Names.of(nest)

    def rename(stmt: Stmt) -> Stmt:
        if isinstance(stmt, Allocate):
            old = stmt.buffer
            if old.name in taken:
                new = Buffer(names.fresh(old.name), old.shape, old.dtype, old.scope)
                stmt = Allocate(new, replace_buffers(stmt.body, {old.name: new}))
            taken.add(stmt.buffer.name)
        return change_parts(stmt, rename)

    return LoopNest(nest.name, nest.inputs, nest.outputs, rename(nest.body))
