"""Random legal loop nests: split, reordered, annotated loops around random arithmetic on small integers.

A nest computes `C[place] = epilogue(sum or max over reduction axes of f(inputs))`. Its loops may be split (with a guard
where the factor does not divide), run in any order, be of any kind, and accumulate in C itself or in a local tile.
Extents are tiny and awkward: 1, primes, and multiples of vector lengths.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

import numpy as np
from hypothesis import strategies as st

from runtime.expr import Binary, Buffer, Const, Expr, Load, Select, Var, as_expr, cast, maximum, minimum, select
from runtime.loop_nest import (
    PARALLEL,
    SERIAL,
    UNROLL,
    VECTORIZE,
    Allocate,
    For,
    If,
    LoopNest,
    Stmt,
    Store,
    block,
)

EXTENTS = st.sampled_from([1, 2, 3, 4, 5, 7, 8, 12, 16, 17, 32])
SMALL_EXTENTS = st.sampled_from([1, 2, 3, 4, 5, 8])
DTYPES = st.sampled_from(["float32", "float32", "float32", "float64", "int32", "int64"])
INNER_KINDS = st.sampled_from([SERIAL, SERIAL, VECTORIZE, VECTORIZE, UNROLL])


@dataclass(frozen=True)
class Axis:
    """One axis of the iteration space and the loops it became: its index and what guards it."""

    extent: int
    loops: tuple[tuple[Var, int], ...]
    index: Expr

    @property
    def guard(self) -> Expr | None:
        """The condition under which the index is inside, or None when it always is."""
        return self.index < self.extent if prod(extent for _, extent in self.loops) > self.extent else None


@st.composite
def axes(draw: st.DrawFn, name: str, extents: st.SearchStrategy[int]) -> Axis:
    """An axis, possibly split by a factor that need not divide it."""
    extent = draw(extents)
    if not draw(st.booleans()):
        var = Var(name)
        return Axis(extent, ((var, extent),), var)
    factor = draw(st.sampled_from([1, 2, 3, 4, 8, 16]))
    outer, inner = Var(f"{name}0"), Var(f"{name}1")
    return Axis(extent, ((outer, -(-extent // factor)), (inner, factor)), outer * factor + inner)


@st.composite
def indices(draw: st.DrawFn, extent: int, atoms: Sequence[Expr]) -> Expr:
    """An integer expression that stays in 0 .. extent - 1."""
    index = draw(st.sampled_from(list(atoms)))
    if draw(st.booleans()):
        index = index + draw(st.sampled_from(list(atoms)))
    form = draw(st.integers(0, 4))
    if form == 0:
        return minimum(maximum(index - draw(st.integers(0, 3)), 0), extent - 1)
    if form == 1:
        return (index * draw(st.integers(1, 3)) + draw(st.integers(-5, 5))) % extent
    if form == 2:
        return (index // draw(st.integers(1, 4))) % extent
    return index % extent


@st.composite
def leaves(draw: st.DrawFn, inputs: Sequence[Buffer], axis_list: Sequence[Axis], dtype: str) -> Expr:
    """A load, a guarded load, a constant, or a loop index as a value."""
    atoms = [axis.index for axis in axis_list] or [as_expr(0)]
    form = draw(st.integers(0, 6))
    if form == 0:
        return (
            Const(float(n) if dtype.startswith("float") else n, dtype)
            if (n := draw(st.integers(-3, 3)))
            else Const(1.0 if dtype.startswith("float") else 1, dtype)
        )
    if form == 1:
        return cast(dtype, draw(st.sampled_from(atoms)) % 5)
    buffer = draw(st.sampled_from(list(inputs)))
    if form == 2 and buffer.shape:
        shifted = draw(st.sampled_from(atoms)) + draw(st.integers(-2, 2))
        rest = tuple(draw(indices(extent, atoms)) for extent in buffer.shape[:-1])
        inside = (shifted >= 0) & (shifted < buffer.shape[-1])
        return select(inside, buffer[(*rest, shifted)], 0)
    plain = [axis for axis in axis_list if axis.guard is None]
    chosen = []
    for extent in buffer.shape:
        fitting = [axis.index for axis in plain if axis.extent <= extent]
        chosen.append(draw(st.sampled_from(fitting)) if fitting and form > 3 else draw(indices(extent, atoms)))
    return Load(buffer, tuple(chosen))


@st.composite
def values(draw: st.DrawFn, leaf: st.SearchStrategy[Expr], depth: int = 2) -> Expr:
    """Arithmetic whose result is a small integer when its leaves are."""
    form = draw(st.integers(0, 7)) if depth else 0
    if form in (0, 1):
        return draw(leaf)
    a, b = draw(values(leaf, depth - 1)), draw(values(leaf, depth - 1))
    if form == 2:
        return draw(leaf) * draw(leaf)
    if form == 3:
        return Select(Binary(draw(st.sampled_from(["<", "<=", "=="])), draw(leaf), draw(leaf)), a, b)
    return Binary(["+", "-", "min", "max"][form - 4], a, b)


@st.composite
def nests(draw: st.DrawFn) -> LoopNest:
    """A random legal nest with one or two inputs and the output C."""
    dtype = draw(DTYPES)
    shapes = st.lists(SMALL_EXTENTS, min_size=0, max_size=3).map(tuple)
    inputs = tuple(Buffer(name, draw(shapes), dtype) for name in ("A", "B")[: draw(st.integers(1, 2))])
    spatial = ("i", "j")[draw(st.integers(0, 1)) :]
    space = [draw(axes(name, EXTENTS if name == "j" else SMALL_EXTENTS)) for name in spatial]
    reduce = [draw(axes(name, SMALL_EXTENTS)) for name in ("r", "s")[: draw(st.integers(0, 2))]]
    output = Buffer("C", tuple(axis.extent for axis in space), dtype)
    update = draw(values(leaves(inputs, [*space, *reduce], dtype)))
    combiner = draw(st.sampled_from(["+", "max"]))
    epilogue = draw(values(leaves(inputs, space, dtype), 1))
    build = in_tile if draw(st.booleans()) else in_place
    body = build(draw, output, space, reduce, combiner, update, epilogue)
    return LoopNest("kernel", inputs, (output,), body)


def guarded(axis_list: Sequence[Axis], stmt: Stmt) -> Stmt:
    """The statement under the guards of the axes that need one."""
    for axis in reversed(axis_list):
        if axis.guard is not None:
            stmt = If(axis.guard, stmt)
    return stmt


def wrap(draw: st.DrawFn, loops: Sequence[tuple[Var, int]], stmt: Stmt, parallel_first: bool = False) -> Stmt:
    """The statement in loops, outer first, each of a drawn kind."""
    for position, (var, extent) in reversed(list(enumerate(loops))):
        kind = PARALLEL if parallel_first and position == 0 else draw(INNER_KINDS)
        stmt = For(var, extent, kind, stmt)
    return stmt


def in_place(
    draw: st.DrawFn, output: Buffer, space: list[Axis], reduce: list[Axis], combiner: str, update: Expr, epilogue: Expr
) -> Stmt:
    """Initialise C, accumulate in it in any loop order, then apply the epilogue."""
    place = tuple(axis.index for axis in space)
    spatial = [loop for axis in space for loop in axis.loops]
    every = draw(st.permutations([*spatial, *(loop for axis in reduce for loop in axis.loops)]))
    accumulate = Store(output, place, Binary(combiner, output[place], update))
    first = every[0][0] in [var for var, _ in spatial] and draw(st.booleans())
    return block(
        wrap(draw, spatial, guarded(space, Store(output, place, as_expr(0, output.dtype)))),
        wrap(draw, every, guarded([*space, *reduce], accumulate), first),
        wrap(draw, spatial, guarded(space, Store(output, place, output[place] + epilogue)), draw(st.booleans())),
    )


def in_tile(
    draw: st.DrawFn, output: Buffer, space: list[Axis], reduce: list[Axis], combiner: str, update: Expr, epilogue: Expr
) -> Stmt:
    """Accumulate in a local tile over the inner loops of the space, then copy out with the epilogue."""
    place = tuple(axis.index for axis in space)
    outer = [loop for axis in space for loop in axis.loops[:-1]]
    inner = [axis.loops[-1] for axis in space]
    tile = Buffer("T", tuple(extent for _, extent in inner), output.dtype, "local")
    here = tuple(var for var, _ in inner)
    every = draw(st.permutations([*inner, *(loop for axis in reduce for loop in axis.loops)]))
    kinds = {var.name: draw(INNER_KINDS) for var, _ in every}

    def loops_of(loops: Sequence[tuple[Var, int]], stmt: Stmt) -> Stmt:
        for var, extent in reversed(loops):
            stmt = For(var, extent, kinds[var.name], stmt)
        return stmt

    # The accumulation may run on points outside C when their loads stay inside: keep the guards half of the time.
    guard_space = space if draw(st.booleans()) or any(axis.guard is not None for axis in space) else []
    accumulate = Store(tile, here, Binary(combiner, tile[here], update))
    body = block(
        loops_of(inner, Store(tile, here, as_expr(0, output.dtype))),
        loops_of(every, guarded([*guard_space, *reduce], accumulate)),
        loops_of(inner, guarded(space, Store(output, place, tile[here] + epilogue))),
    )
    return wrap(draw, outer, Allocate(tile, body), bool(outer) and draw(st.booleans()))


def small_integers(nest: LoopNest, rng: np.random.Generator) -> list[np.ndarray]:
    """Inputs on which every reordering of sums gives the same bits."""
    return [rng.integers(-3, 4, buffer.shape).astype(buffer.dtype) for buffer in nest.inputs]
