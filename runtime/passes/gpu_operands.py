"""Operands of a register tile, loaded once: the rows and columns of a small matrix product in a thread's registers.

for i in unroll(4):                              for i in unroll(4): A_r[i] = As[k, i]
for j in unroll(4):                    ->    for j in unroll(4): B_r[j] = Bs[k, j]
T[i, j] = T[i, j] + As[k, i] * Bs[k, j]  for i, j: T[i, j] = T[i, j] + A_r[i] * B_r[j]
"""

from __future__ import annotations

from math import prod

from runtime.expr import Buffer, Expr, Load, Select
from runtime.expr_tree import children, free_variables, loads, rebuild
from runtime.indices.index_forms import flat_index, step
from runtime.loop_nest import UNROLL, Allocate, For, Stmt, Store, block, change_parts
from runtime.names import Names

REGISTERS_LIMIT = 128  # for the operands of one tile
OWN = ("local", "register")


def load_operands_once(stmt: Stmt, names: Names) -> Stmt:
    """Load the operands of each unrolled tile before it, see the module."""
    tile: list[For] = []
    inside = stmt
    while isinstance(inside, For) and inside.kind == UNROLL:
        tile.append(inside)
        inside = inside.body
    if len(tile) > 1 and isinstance(inside, Store) and inside.buffer.scope in OWN:
        return _Tile(tile, inside, names).with_operands()
    return change_parts(stmt, lambda part: load_operands_once(part, names))


class _Tile:
    """The unrolled loops around one store."""

    def __init__(self, loops: list[For], store: Store, names: Names) -> None:
        self.loops, self.store, self.names = loops, store, names
        self.operands: dict[Expr, Load] = {}
        self.fills: list[tuple[Buffer, Stmt]] = []

    def with_operands(self) -> Stmt:
        """The loops on operands in registers."""
        value = self.rewrite(self.store.value)
        body: Stmt = Store(self.store.buffer, self.store.indices, value)
        for loop in reversed(self.loops):
            body = For(loop.var, loop.extent, UNROLL, body)
        done = block(*(fill for _, fill in self.fills), body)
        for buffer, _ in reversed(self.fills):
            done = Allocate(buffer, done)
        return done

    def rewrite(self, expr: Expr) -> Expr:
        """An expression in which operands that do not move with all loops are read from registers."""
        memory = [load for load in loads(expr) if load.buffer.scope not in OWN]
        if not memory:
            return expr
        moving = [loop for loop in self.loops if loop.var.name in free_variables(expr)]
        private = len(memory) < len(loads(expr)) or self.store.buffer.name in {load.buffer.name for load in loads(expr)}
        if not private and 0 < len(moving) < len(self.loops):
            operand = self.operand(expr, memory[0], moving)
            return expr if operand is None else operand
        if isinstance(expr, Select):
            return expr  # a branch that is not taken may not be loaded
        return rebuild(expr, tuple(self.rewrite(part) for part in children(expr)))

    def operand(self, expr: Expr, memory: Load, moving: list[For]) -> Load | None:
        """The register that holds an operand; None when there are too many."""
        if expr not in self.operands:
            used = sum(buffer.size for buffer, _ in self.fills)
            if used + prod(loop.extent for loop in moving) > REGISTERS_LIMIT:
                return None
            place = flat_index(memory.indices, memory.buffer.shape)
            moving = sorted(moving, key=lambda loop: step(place, loop.var.name, loop.extent) == 1)  # innermost: a row
            shape = tuple(loop.extent for loop in moving)
            buffer = Buffer(self.names.fresh(f"{memory.buffer.name}_r"), shape, expr.dtype, "register")
            at = tuple(loop.var for loop in moving)
            fill: Stmt = Store(buffer, at, expr)
            for loop in reversed(moving):
                fill = For(loop.var, loop.extent, UNROLL, fill)
            self.fills.append((buffer, fill))
            self.operands[expr] = Load(buffer, at)
        return self.operands[expr]
