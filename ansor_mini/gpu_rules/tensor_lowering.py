"""The loop nest of a tensorised stage: tiles in shared memory, fragments in registers, copies that run ahead.

A block computes a tile of m x n results, a warp a part of it of warp_m x warp_n. In each step over k the block's
threads copy the tiles of both operands to shared memory, 16 bytes at a time where they lie together, `stages - 1` steps
ahead of the warps that multiply 16 x 16 fragments of them. Rows, columns and depths that the tiles do not divide are
filled with zeros on the way in and left out on the way out.

The nest means the same when it runs serially; see `runtime.cuda_text.tensor_kernel` for what becomes of it on a GPU.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from ansor_mini.gpu_rules.contraction import Contraction, Operand, axis_values, near, put_in
from runtime.expr import ITEM_SIZE, Binary, Buffer, Const, Expr, Load, Select, Var, cast
from runtime.expr_tree import free_variables, substitute, transform_loads
from runtime.indices.index_forms import fold
from runtime.indices.simplify import simplify
from runtime.loop_nest import (
    BLOCK,
    SERIAL,
    TENSOR,
    THREAD,
    UNROLL,
    VECTORIZE,
    WARP,
    Allocate,
    For,
    If,
    Stmt,
    Store,
    block,
    change_parts,
)

FRAGMENT = 16
CHUNK_BYTES = 16
Ranges = dict[str, tuple[int, int]]


@dataclass(frozen=True)
class TensorTiling:
    """Sizes of a tensorised program: the block's tile, the warp's, and how many steps of k are in shared memory."""

    m: int
    n: int
    k: int
    warp_m: int
    warp_n: int
    stages: int

    @property
    def threads(self) -> int:
        """Threads of a block."""
        return 32 * (self.m // self.warp_m) * (self.n // self.warp_n)

    def shared_bytes(self, dtype: str) -> int:
        """Shared memory of a block."""
        return self.stages * (self.m + self.n) * self.k * ITEM_SIZE[dtype]


@dataclass(frozen=True)
class Result:
    """Where results go: an element's place in `buffer`, and its value from the sum, both over the stage's axes."""

    buffer: Buffer
    indices: tuple[Expr, ...]
    value: Callable[[Expr], Expr]


def tensor_nest(
    work: Contraction, tiling: TensorTiling, result: Result, buffers: Mapping[str, Buffer] | None = None
) -> Stmt:
    """The nest of one contraction; `buffers` hold the tensors that it reads, by name, where they are not its inputs."""
    return _Builder(work, tiling, result, buffers or {}).nest()


class _Builder:
    def __init__(self, work: Contraction, tiling: TensorTiling, result: Result, buffers: Mapping[str, Buffer]) -> None:
        self.work, self.tiling, self.result, self.buffers = work, tiling, result, buffers
        t = tiling
        self.tiles_m, self.tiles_n = -(-work.rows.extent // t.m), -(-work.columns.extent // t.n)
        self.steps = -(-work.depth // t.k)
        self.stages = max(1, min(t.stages, self.steps + 1))
        self.chunk = CHUNK_BYTES // ITEM_SIZE[work.dtype]
        self.blocks = self.tiles_m * self.tiles_n * work.batches
        self.b, self.w = Var("b"), Var("w")
        warps = (t.m // t.warp_m, t.n // t.warp_n)
        self.ranges: Ranges = {"b": (0, self.blocks - 1), "w": (0, warps[0] * warps[1] - 1)}
        self.batch, self.block_m, self.block_n = self._places()
        self.warp_m = self._simple(self.w // warps[1] * t.warp_m)
        self.warp_n = self._simple(self.w % warps[1] * t.warp_n)

    def _simple(self, expr: Expr, **extents: int) -> Expr:
        return simplify(expr, {**self.ranges, **{name: (0, extent - 1) for name, extent in extents.items()}})

    def _places(self) -> tuple[dict[str, Expr], Expr, Expr]:
        """The batch, first row and first column of a block; blocks of a few rows of tiles run together.

        Their operands then meet in the L2 cache.
        """
        tiles = self.tiles_m * self.tiles_n
        group = next(size for size in (8, 4, 2, 1) if self.tiles_m % size == 0)
        tile = self.b % tiles if self.work.batches > 1 else self.b
        inside = tile % (group * self.tiles_n)
        row = tile // (group * self.tiles_n) * group + inside % group
        batch = axis_values(self.work.batch, self._simple(self.b // tiles), self.ranges) if self.work.batch else {}
        return batch, self._simple(row * self.tiling.m), self._simple(inside // group * self.tiling.n)

    def nest(self) -> Stmt:
        t, dtype = self.tiling, self.work.dtype
        a = self._tile("A_shared", self.work.rows, t.m)
        b = self._tile("B_shared", self.work.columns, t.n)
        shape = (t.warp_m // FRAGMENT, t.warp_n // FRAGMENT, FRAGMENT, FRAGMENT)
        sums = Buffer("sums", shape, "float32", "fragment")
        body = block(self._fill(sums), *self._loops(a, b, sums, dtype), self._store(sums))
        warps = For(self.w, self.ranges["w"][1] + 1, WARP, Allocate(sums, body))
        return For(self.b, self.blocks, BLOCK, Allocate(a, Allocate(b, warps)))

    def _tile(self, name: str, operand: Operand, width: int) -> Buffer:
        """Shared memory for an operand, with its contiguous dimension last."""
        shape = (width, self.tiling.k) if operand.inner_last else (self.tiling.k, width)
        return Buffer(name, (self.stages, *shape), self.work.dtype, "shared")

    def _loops(self, a: Buffer, b: Buffer, sums: Buffer, dtype: str) -> list[Stmt]:
        k, s = Var("k"), Var("s")
        ahead = self.stages - 1
        work = self._multiply(a, b, sums, k)
        if not ahead:
            return [For(k, self.steps, SERIAL, block(self._copies(a, b, k), work))]
        copies = self._copies(a, b, s)
        later = If(k + ahead < self.steps, substitute_stmt(copies, {"s": k + ahead}))
        return [For(s, ahead, UNROLL, copies), For(k, self.steps, SERIAL, block(later, work))]

    def _copies(self, a: Buffer, b: Buffer, number: Expr) -> Stmt:
        """The copies of one step of k, into the tile whose turn it is."""
        rows = self._copy(a, self.work.rows, self.block_m, number, "a")
        return block(rows, self._copy(b, self.work.columns, self.block_n, number, "b"))

    def _copy(self, tile: Buffer, operand: Operand, start: Expr, number: Expr, suffix: str) -> Stmt:
        lines, length = tile.shape[1:]
        per_line = length // self.chunk
        total, threads = lines * per_line, self.tiling.threads
        r, t, v = (Var(f"{name}_{suffix}") for name in "rtv")
        rounds = -(-total // threads)
        ranges: Ranges = {**self.ranges, t.name: (0, threads - 1), r.name: (0, rounds - 1), v.name: (0, self.chunk - 1)}
        ranges |= {name: (0, self.steps - 1) for name in free_variables(number)}
        which: Expr = r * threads + t if rounds > 1 else t
        line, first = simplify(which // per_line, ranges), simplify(which % per_line * self.chunk, ranges)
        outer, inner = (start + line, number * self.tiling.k + first) if operand.inner_last else (
            start + first, number * self.tiling.k + line
        )  # fmt: skip
        value = self._element(operand, outer, inner, v, ranges)
        turn = fold(number % self.stages) if self.stages > 1 else Const(0)
        copy: Stmt = For(v, self.chunk, VECTORIZE, Store(tile, (turn, line, fold(first + v)), value))
        if total % threads:
            copy = If(simplify(which < total, ranges), copy)
        if rounds > 1:
            copy = For(r, rounds, UNROLL, copy)
        return For(t, threads, THREAD, copy)

    def _element(self, operand: Operand, outer: Expr, inner: Expr, offset: Var, ranges: Ranges) -> Expr:
        """The element `offset` further than a place of an operand's matrix, or 0 outside of it and in its padding."""
        axes, depth = operand.outer, self.work.inner
        whole = {**ranges}
        limits = [(outer, operand.extent), (inner, self.work.depth)]
        outside, inside = axis_values(axes, outer, whole), axis_values(depth, inner, whole)
        moving, last = (inside, depth[-1]) if operand.inner_last else (outside, axes[-1])
        moved = near(moving, last, self.chunk, offset)
        if moved is None:  # the chunk may go over into the next line: every element finds its own place
            place = 1 if operand.inner_last else 0
            limits[place] = (limits[place][0] + offset, limits[place][1])
            moved = axis_values(depth if operand.inner_last else axes, limits[place][0], whole)
        values = {**self.batch, **outside, **inside, **moved}
        conditions = [simplify(position < extent, whole) for position, extent in limits]
        if operand.condition is not None:
            conditions.append(put_in(operand.condition, values, whole))
        indices = tuple(put_in(index, values, whole) for index in operand.load.indices)
        value: Expr = Load(self._buffer(operand.load.buffer), indices)
        condition = _all(conditions)
        return value if condition is None else Select(condition, value, Const(0.0, value.dtype))

    def _read(self, load: Load, total: Load, sums: Load) -> Expr:
        return sums if load == total else Load(self._buffer(load.buffer), load.indices)

    def _buffer(self, tensor: Buffer) -> Buffer:
        return self.buffers.get(tensor.name) or Buffer(tensor.name, tensor.shape, tensor.dtype)

    def _fill(self, sums: Buffer) -> Stmt:
        i, j, x, y = Var("i"), Var("j"), Var("x"), Var("y")
        store = Store(sums, (i, j, x, y), Const(0.0, "float32"))
        return _loops(((i, sums.shape[0]), (j, sums.shape[1])), (x, y), store)

    def _multiply(self, a: Buffer, b: Buffer, sums: Buffer, k: Var) -> Stmt:
        """All products of one step: for every 16 of k, the warp's fragments of both operands, then all pairs."""
        i, j, x, y, z, kk = (Var(name) for name in ("i", "j", "x", "y", "z", "kk"))
        turn = fold(k % self.stages) if self.stages > 1 else Const(0)
        dtype = self.work.dtype
        left = Buffer("a", (sums.shape[0], FRAGMENT, FRAGMENT), dtype, "fragment")
        right = Buffer("b_", (sums.shape[1], FRAGMENT, FRAGMENT), dtype, "fragment")
        depth = kk * FRAGMENT + z
        row, column = self._simple(self.warp_m + i * FRAGMENT + x), self._simple(self.warp_n + j * FRAGMENT + y)
        from_a = a[(turn, row, depth) if self.work.rows.inner_last else (turn, depth, row)]
        from_b = b[(turn, column, depth) if self.work.columns.inner_last else (turn, depth, column)]
        total = sums[i, j, x, y] + cast("float32", left[i, x, z]) * cast("float32", right[j, z, y])
        body = block(
            _loops(((i, sums.shape[0]),), (x, z), Store(left, (i, x, z), from_a)),
            _loops(((j, sums.shape[1]),), (z, y), Store(right, (j, z, y), from_b)),
            _loops(((i, sums.shape[0]), (j, sums.shape[1])), (x, y, z), Store(sums, (i, j, x, y), total)),
        )
        return For(kk, self.tiling.k // FRAGMENT, UNROLL, Allocate(left, Allocate(right, body)))

    def _store(self, sums: Buffer) -> Stmt:
        i, j, x, y = Var("i"), Var("j"), Var("x"), Var("y")
        ranges: Ranges = {**self.ranges, "i": (0, sums.shape[0] - 1), "j": (0, sums.shape[1] - 1)}
        ranges |= {"x": (0, FRAGMENT - 1), "y": (0, FRAGMENT - 1)}
        row = self.block_m + self.warp_m + i * FRAGMENT + x
        column = self.block_n + self.warp_n + j * FRAGMENT + y
        values = {**self.batch, **axis_values(self.work.rows.outer, row, ranges)}
        values |= axis_values(self.work.columns.outer, column, ranges)
        indices = tuple(put_in(index, values, ranges) for index in self.result.indices)
        total = Load(Buffer("sum", (), "float32"), ())
        value = put_in(self.result.value(total), values, ranges)
        value = transform_loads(value, lambda load: self._read(load, total, sums[i, j, x, y]))
        store: Stmt = Store(self.result.buffer, indices, value)
        inside = ((row, self.work.rows.extent), (column, self.work.columns.extent))
        condition = _all([simplify(place < extent, ranges) for place, extent in inside])
        if condition is not None:
            store = If(condition, store)
        return _loops(((i, sums.shape[0]), (j, sums.shape[1])), (x, y), store)


def _loops(outer: tuple[tuple[Var, int], ...], tile: tuple[Var, ...], body: Stmt) -> Stmt:
    """Unrolled loops over tiles around the tensor loops of one."""
    for var in reversed(tile):
        body = For(var, FRAGMENT, TENSOR, body)
    for var, extent in reversed(outer):
        body = For(var, extent, UNROLL, body)
    return body


def _all(conditions: list[Expr]) -> Expr | None:
    """The conjunction of what is not known to hold."""
    left = [condition for condition in conditions if not (isinstance(condition, Const) and condition.value)]
    result: Expr | None = None
    for condition in left:
        result = condition if result is None else Binary("and", result, condition)
    return result


def substitute_stmt(stmt: Stmt, values: Mapping[str, Expr]) -> Stmt:
    """The statement with expressions for some of its variables."""
    if isinstance(stmt, Store):
        indices = tuple(fold(substitute(index, values)) for index in stmt.indices)
        return Store(stmt.buffer, indices, substitute(stmt.value, values))
    if isinstance(stmt, If):
        return If(substitute(stmt.condition, values), substitute_stmt(stmt.body, values))
    return change_parts(stmt, lambda part: substitute_stmt(part, values))
