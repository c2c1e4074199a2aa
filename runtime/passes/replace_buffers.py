"""Put one buffer for another in a statement."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from runtime.expr import Buffer, Expr, Load
from runtime.expr_tree import transform_loads
from runtime.loop_nest import If, Stmt, Store, transform_stmts


def replace_buffers(stmt: Stmt, new: Mapping[str, Buffer]) -> Stmt:
    """The statement with other buffers in place of those named; indices stay.

    >>> from runtime.expr import Var
    >>> A, B, i = Buffer("A", (4,)), Buffer("B", (4,)), Var("i")
    >>> print(replace_buffers(Store(A, (i,), A[i] + 1.0), {"A": B}))
    B[i] = B[i] + 1.0
    """

    def swap(load: Load) -> Expr | None:
        return Load(new[load.buffer.name], load.indices) if load.buffer.name in new else None

    def store(node: Store) -> Store:
        return Store(new.get(node.buffer.name, node.buffer), node.indices, node.value)

    return map_accesses(stmt, swap, store)


def map_accesses(stmt: Stmt, load: Callable[[Load], Expr | None], store: Callable[[Store], Store]) -> Stmt:
    """Rewrite every load and then every store below a statement; a load for which None comes back stays."""

    def swap(expr: Expr) -> Expr:
        return transform_loads(expr, load)

    def visit(node: Stmt) -> Stmt | None:
        if isinstance(node, Store):
            return store(Store(node.buffer, tuple([swap(index) for index in node.indices]), swap(node.value)))
        return If(swap(node.condition), node.body) if isinstance(node, If) else None

    return transform_stmts(stmt, visit)
