"""Operands of a register tile, loaded once: the rows and columns of a small matrix product in a thread's registers.

for i in unroll(4):                              for i in unroll(4): A_r[i] = As[k, i]
for j in unroll(4):                    ->    for j in unroll(4): B_r[j] = Bs[k, j]
T[i, j] = T[i, j] + As[k, i] * Bs[k, j]  for i, j: T[i, j] = T[i, j] + A_r[i] * B_r[j]
"""

from __future__ import annotations

from math import prod

from runtime.cuda_text.vectors import vector_width
from runtime.expr import Buffer, Expr, Load, Select
from runtime.expr_tree import children, free_variables, loads, rebuild
from runtime.indices.index_forms import flat_index, step
from runtime.loop_nest import SERIAL, UNROLL, Allocate, Block, For, Stmt, Store, block, change_parts
from runtime.names import Names
from runtime.passes.gpu_reductions import combined
from runtime.passes.vector_loops import substitute_stmt

STEPS_AT_ONCE = 4  # of a reduction whose operand is read as a row
REGISTERS_LIMIT = 200  # of a tile and its operands; a thread has 255
OWN = ("local", "register")


def load_operands_once(stmt: Stmt, names: Names) -> Stmt:
    """Load the operands of each unrolled tile before it, see the module."""
    loops: list[For] = []
    inside = stmt
    while isinstance(inside, For) and inside.kind in (SERIAL, UNROLL):
        loops.append(inside)
        inside = inside.body
    if not isinstance(inside, Store) or inside.buffer.scope not in OWN or combined(inside) is None:
        return change_parts(stmt, lambda part: load_operands_once(part, names))
    moving = frozenset().union(*map(free_variables, inside.indices))
    first = next((at for at, loop in enumerate(loops) if loop.var.name in moving), len(loops))
    tile = loops[first:]
    if any(loop.kind != UNROLL or loop.var.name not in moving for loop in tile):
        return stmt
    done: Stmt = _Tile(tile, inside, names).with_operands() if len(tile) > 1 else _nest(tile, inside)
    rest = loops[:first]
    if (
        rest
        and rest[-1].extent > STEPS_AT_ONCE
        and rest[-1].extent % STEPS_AT_ONCE == 0
        and _runs_along(rest[-1], inside)
    ):
        return load_operands_once(_nest(rest[:-1], _in_steps(rest[-1], tile, inside, names)), names)
    if rest and rest[-1].extent <= STEPS_AT_ONCE and _runs_along(rest[-1], inside):
        step = For(rest[-1].var, rest[-1].extent, UNROLL, Block(()))
        done = _Tile([step, *tile], inside, names, along=step).with_operands()
        rest = rest[:-1]
    return _nest(rest, done)


def _nest(loops: list[For], stmt: Stmt) -> Stmt:
    for loop in reversed(loops):
        stmt = For(loop.var, loop.extent, loop.kind, stmt)
    return stmt


def _runs_along(loop: For, store: Store) -> bool:
    """Whether a reduction loop reads an operand as a row: then one load serves several of its steps."""
    return any(vector_width(load, loop) > 1 for load in loads(store.value))


def _in_steps(loop: For, tile: list[For], store: Store, names: Names) -> Stmt:
    """A reduction loop as an outer loop and an unrolled one of few steps."""
    high, low = names.variable(f"{loop.var.name}_0"), names.variable(f"{loop.var.name}_1")
    body = substitute_stmt(store, {loop.var.name: high * STEPS_AT_ONCE + low})
    inner = For(low, STEPS_AT_ONCE, UNROLL, _nest(tile, body))
    return For(high, loop.extent // STEPS_AT_ONCE, loop.kind, inner)


class _Tile:
    """The unrolled loops around one store.

    along: the reduction loop that comes first among them, if any: operands that are rows along it are loaded before it,
    all others in each of its steps.
    """

    def __init__(self, loops: list[For], store: Store, names: Names, along: For | None = None) -> None:
        self.loops, self.store, self.names, self.along = loops, store, names, along
        self.operands: dict[Expr, Load] = {}
        self.fills: list[tuple[Buffer, Stmt]] = []

    def with_operands(self) -> Stmt:
        """The loops on operands in registers."""
        value = self.rewrite(self.store.value)
        store, loops = Store(self.store.buffer, self.store.indices, value), self.loops
        if self.along is not None:
            inner = loops[1:]
            once = _Tile(inner, store, self.names).with_operands() if len(inner) > 1 else _nest(inner, store)
            body: Stmt = For(self.along.var, self.along.extent, UNROLL, once)
        else:
            body = _nest(loops, store)
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
        if not private and self.fits(memory[0], moving):
            operand = self.operand(expr, memory[0], moving)
            return expr if operand is None else operand
        if isinstance(expr, Select):
            return expr  # a branch that is not taken may not be loaded
        return rebuild(expr, tuple(self.rewrite(part) for part in children(expr)))

    def fits(self, memory: Load, moving: list[For]) -> bool:
        """Whether an operand that moves with these loops is loaded before all of them."""
        if self.along is None:
            return 0 < len(moving) < len(self.loops)
        return self.along in moving and len(moving) < len(self.loops) and vector_width(memory, self.along) > 1

    def operand(self, expr: Expr, memory: Load, moving: list[For]) -> Load | None:
        """The register that holds an operand; None when there are too many."""
        if expr not in self.operands:
            used = self.store.buffer.size + sum(buffer.size for buffer, _ in self.fills)
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
