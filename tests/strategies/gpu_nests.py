"""Random nests for GPUs in the form that schedules give them, as text: tiled products and reductions across threads.

Sizes are tiny and awkward: tiles that do not divide, copies that need a guard, blocks of fewer threads than a warp.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from hypothesis import strategies as st

from runtime.loop_nest import LoopNest
from runtime.loop_nest_text import parse


@dataclass(frozen=True)
class Case:
    """A nest and what it computes."""

    nest: LoopNest
    expected: Callable[..., np.ndarray]


@dataclass(frozen=True)
class Tiling:
    """How a product of an m x k and a k x n matrix is tiled.

    rows, columns: (virtual threads, threads, elements of a thread) along an axis. step: of k held in shared memory.
    transposed: whether the copy of A is stored by columns. width: elements that one thread copies at once.
    """

    m: int
    n: int
    k: int
    rows: tuple[int, int, int]
    columns: tuple[int, int, int]
    step: int
    inner: int
    transposed: bool
    width: int
    unrolled: bool

    @property
    def shapes(self) -> tuple[tuple[int, int], ...]:
        """Of A, B and their product."""
        return ((self.m, self.k), (self.k, self.n), (self.m, self.n))

    @property
    def threads(self) -> int:
        """Threads of a block."""
        return self.rows[1] * self.columns[1]


TILINGS = st.builds(
    Tiling,
    st.integers(1, 40),
    st.integers(1, 40),
    st.integers(1, 20),
    st.tuples(st.sampled_from([1, 2, 3]), st.sampled_from([1, 2, 4, 5]), st.sampled_from([1, 2, 4])),
    st.tuples(st.sampled_from([1, 2]), st.sampled_from([2, 4, 8, 16]), st.sampled_from([1, 3, 4, 8])),
    st.sampled_from([1, 2, 4, 8]),
    st.sampled_from([1, 2]),
    st.booleans(),
    st.sampled_from([1, 2, 4]),
    st.booleans(),
)


def _copy(
    name: str, source: str, extents: tuple[int, int], place: str, start: tuple[str, str], tiling: Tiling, pad: str
) -> str:
    """Lines that copy a tile to shared memory, all threads together."""
    rows, columns = extents
    width = tiling.width if columns % tiling.width == 0 else 1
    total = rows * columns // width
    times = -(-total // tiling.threads)
    flat = f"(l{name} * {tiling.threads} + t{name})"
    row, column = f"({flat} * {width} // {columns})", f"({flat} * {width} % {columns} + x{name})"
    to = place.format(row=row, column=column)
    there = f"{start[0]} + {row}", f"{start[1]} + {column}"
    limits = {"A": (tiling.m, tiling.k), "B": (tiling.k, tiling.n)}[source]
    inside = f"{there[0]} < {limits[0]} and {there[1]} < {limits[1]}"
    return f"""
{pad}for l{name} in range({times}):
{pad}    for t{name} in thread({tiling.threads}):
{pad}        if {flat} < {total}:
{pad}            for x{name} in vectorize({width}):
{pad}                {name}[{to}] = select({inside}, {source}[{there[0]}, {there[1]}], 0.0)"""


def product(tiling: Tiling) -> LoopNest:
    """The nest of a tiled matrix product, virtual threads and threads outside its reduction."""
    (rv, rt, ri), (cv, ct, ci) = tiling.rows, tiling.columns
    rows, columns = rv * rt * ri, cv * ct * ci
    down, across = -(-tiling.m // rows), -(-tiling.n // columns)
    row = f"v // {cv} * {rt * ri} + t // {ct} * {ri} + i"
    column = f"v % {cv} * {ct * ci} + t % {ct} * {ci} + j"
    shape = f"{tiling.step}, {rows}" if tiling.transposed else f"{rows}, {tiling.step}"
    place = "{column}, {row}" if tiling.transposed else "{row}, {column}"
    outer, steps = -(-tiling.k // tiling.step), tiling.step // min(tiling.inner, tiling.step)
    k = f"k1 * {min(tiling.inner, tiling.step)} + k2"
    a = f"As[{k}, {row}]" if tiling.transposed else f"As[{row}, {k}]"
    pad = " " * 28
    first, last = f"b // {across} * {rows}", f"b % {across} * {columns}"
    kind = "unroll" if tiling.unrolled else "range"
    types = [f"float32[{rows}, {columns}]" for rows, columns in tiling.shapes]
    text = f"""def product(A: {types[0]}, B: {types[1]}) -> (C: {types[2]}):
    for b in block({down * across}):
        for v in vthread({rv * cv}):
            for t in thread({tiling.threads}):
                with local(float32[{ri}, {ci}]) as acc:
                    for i in range({ri}):
                        for j in range({ci}):
                            acc[i, j] = 0.0
                    for k0 in range({outer}):
                        with shared(float32[{shape}]) as As:
                          with shared(float32[{tiling.step}, {columns}]) as Bs:
{_copy("As", "A", (rows, tiling.step), place, (first, f"k0 * {tiling.step}"), tiling, pad)}
{_copy("Bs", "B", (tiling.step, columns), "{row}, {column}", (f"k0 * {tiling.step}", last), tiling, pad)}
                            for k1 in range({steps}):
                                for i in {kind}({ri}):
                                    for k2 in range({min(tiling.inner, tiling.step)}):
                                        for j in range({ci}):
                                            acc[i, j] = acc[i, j] + {a} * Bs[{k}, {column}]
                    for i in range({ri}):
                        for j in range({ci}):
                            if {first} + {row} < {tiling.m} and {last} + {column} < {tiling.n}:
                                C[{first} + {row}, {last} + {column}] = acc[i, j]
"""
    return parse(text)


@st.composite
def products(draw: st.DrawFn) -> Case:
    """A random tiled matrix product."""
    return Case(product(draw(TILINGS)), lambda a, b: a @ b)


@st.composite
def reductions(draw: st.DrawFn) -> Case:
    """Rows reduced by the threads of a block, then used by all of them."""
    rows, per_block = draw(st.integers(1, 6)), draw(st.sampled_from([1, 2, 3]))
    threads, steps = draw(st.sampled_from([1, 2, 32, 33, 64, 100])), draw(st.integers(1, 3))
    columns = draw(st.integers(1, threads * steps))
    scope = draw(st.sampled_from(["local", "shared"]))
    op, start, reduce = draw(
        st.sampled_from([("{} + {}", "0.0", np.sum), ("max({}, {})", "-inf", np.max), ("min({}, {})", "inf", np.min)])
    )
    update = op.format("total[r]", f"A[b * {per_block} + r, k * {threads} + t]")
    out_threads = draw(st.sampled_from([threads, 16]))
    kind, row = f"float32[{rows * per_block}, {columns}]", f"b * {per_block} + r"
    place = f"{row}, c * {out_threads} + t"
    nest = parse(f"""def reduction(A: {kind}) -> (C: {kind}):
    for b in block({rows}):
        with {scope}(float32[{per_block}]) as total:
            for r in range({per_block}):
                total[r] = {start}
            for k in range({steps}):
                for r in range({per_block}):
                    for t in thread({threads}):
                        if k * {threads} + t < {columns}:
                            total[r] = {update}
            for r in range({per_block}):
                for c in range({-(-columns // out_threads)}):
                    for t in thread({out_threads}):
                        if c * {out_threads} + t < {columns}:
                            C[{place}] = total[r] - A[{place}]
""")
    return Case(nest, lambda a: reduce(a, axis=1, keepdims=True) - a)


CASES = st.one_of(products(), reductions())
