"""Seven ways to multiply square matrices on a GPU, as loop nests: a published ladder, each a step faster.

The ladder is Simon Boehm's (siboehm.com/articles/22/CUDA-MMM); its kernels were published with times on an RTX A6000
and, in a rerun, on an H100. `PUBLISHED` holds TFLOPS at 4096 x 4096 x 4096.
"""

from __future__ import annotations

from collections.abc import Callable

from runtime.loop_nest import LoopNest
from runtime.loop_nest_text import parse

SIZE = 4096

PUBLISHED = {
    "naive": {"h100": 0.5, "a6000": 0.309},
    "coalesced": {"h100": 6.0, "a6000": 1.987},
    "shared tile": {"h100": 9.2, "a6000": 2.980},
    "column of 8": {"h100": 17.2, "a6000": 8.475},
    "tile of 8x8": {"h100": 25.9, "a6000": 15.972},
    "float4, A transposed": {"h100": 31.6, "a6000": 18.237},
    "tiles of warps": {"h100": 36.3, "a6000": 21.779},
}


def _nest(name: str, size: int, body: str) -> LoopNest:
    """The nest of an indented body."""
    head = f"def {name}(A: float32[{size}, {size}], B: float32[{size}, {size}]) -> (C: float32[{size}, {size}]):\n"
    return parse(head + "\n".join(f"    {line}" for line in body.strip("\n").split("\n")))


def naive(size: int = SIZE, tile: int = 32, coalesced: bool = False) -> LoopNest:
    """A result a thread; neighbouring threads go down a column, or along a row when coalesced."""
    down, along = (f"t // {tile}", f"t % {tile}") if coalesced else (f"t % {tile}", f"t // {tile}")
    n = size // tile
    i, j = f"b // {n} * {tile} + {down}", f"b % {n} * {tile} + {along}"
    return _nest("plain", size, f"""
for b in block({n * n}):
    for t in thread({tile * tile}):
        with local(float32[1]) as acc:
            acc[0] = 0.0
            for k in range({size}):
                acc[0] = acc[0] + A[{i}, k] * B[k, {j}]
            C[{i}, {j}] = acc[0]
""")  # fmt: skip


def shared_tile(size: int = SIZE, tile: int = 32) -> LoopNest:
    """A result a thread, out of square tiles in shared memory."""
    n = size // tile
    down, along = f"t // {tile}", f"t % {tile}"
    i, j = f"b // {n} * {tile} + {down}", f"b % {n} * {tile} + {along}"
    return _nest("shared_tile", size, f"""
for b in block({n * n}):
    with shared(float32[{tile}, {tile}]) as As:
        with shared(float32[{tile}, {tile}]) as Bs:
            for t in thread({tile * tile}):
                with local(float32[1]) as acc:
                    acc[0] = 0.0
                    for k0 in range({n}):
                        for u in thread({tile * tile}):
                            As[u // {tile}, u % {tile}] = A[b // {n} * {tile} + u // {tile}, k0 * {tile} + u % {tile}]
                        for v in thread({tile * tile}):
                            Bs[v // {tile}, v % {tile}] = B[k0 * {tile} + v // {tile}, b % {n} * {tile} + v % {tile}]
                        for k in range({tile}):
                            acc[0] = acc[0] + As[{down}, k] * Bs[k, {along}]
                    C[{i}, {j}] = acc[0]
""")  # fmt: skip


def register_tile(
    size: int = SIZE,
    rows: int = 128,
    columns: int = 128,
    depth: int = 8,
    height: int = 8,
    width: int = 8,
    transposed: bool = False,
) -> LoopNest:
    """A tile of height x width results a thread, out of shared tiles; transposed: A's so, and copies by float4."""
    threads = rows * columns // (height * width)
    across = columns // width
    n = size // columns
    i, j = f"t // {across} * {height} + i", f"t % {across} * {width} + j"
    own = f"As[k, {i}]" if transposed else f"As[{i}, k]"
    inner = f"acc[i, j] = acc[i, j] + {own} * Bs[k, {j}]"
    copies = [
        _copy("u", rows * depth, threads, depth, "A", f"b // {n} * {rows} + @r", f"k0 * {depth} + @c", transposed),
        _copy("v", depth * columns, threads, columns, "B", f"k0 * {depth} + @r", f"b % {n} * {columns} + @c", False,
              vector=transposed),
    ]  # fmt: skip
    shape = f"{depth}, {rows}" if transposed else f"{rows}, {depth}"
    return _nest("register_tile", size, f"""
for b in block({size // rows * n}):
    with shared(float32[{shape}]) as As:
        with shared(float32[{depth}, {columns}]) as Bs:
            for t in thread({threads}):
                with local(float32[{height}, {width}]) as acc:
                    for i in unroll({height}):
                        for j in unroll({width}):
                            acc[i, j] = 0.0
                    for k0 in range({size // depth}):
{copies[0]}
{copies[1]}
                        for k in {"unroll" if transposed else "range"}({depth}):
                            for i in unroll({height}):
                                for j in unroll({width}):
                                    {inner}
                    for i in unroll({height}):
                        for j in {"vectorize" if transposed else "unroll"}({width}):
                            C[b // {n} * {rows} + {i}, b % {n} * {columns} + {j}] = acc[i, j]
""")  # fmt: skip


def _copy(
    name: str, elements: int, threads: int, row: int, source: str, down: str, along: str, transposed: bool,
    vector: bool = False,
) -> str:  # fmt: skip
    """Text of a cooperative copy of `elements` of a tile whose rows have `row`, by single numbers or by float4."""
    pad = " " * 24
    width = 4 if transposed or vector else 1
    times = elements // (threads * width)
    place = f"((x * {threads} + {name}) * {width} + w)" if width > 1 else f"(x * {threads} + {name})"
    r, c = f"{place} // {row}", f"{place} % {row}"
    target = f"[{c}, {r}]" if transposed else f"[{r}, {c}]"
    load = f"{source}[{down.replace('@r', r)}, {along.replace('@c', c)}]"
    lines = [f"for x in unroll({times}):", f"    for {name} in thread({threads}):"]
    lines += [f"        for w in vectorize({width}):"] * (width > 1)
    lines.append("    " * len(lines) + f"{source}s{target} = {load}")
    return "\n".join(pad + line for line in lines)


def warp_tile(
    size: int = SIZE,
    rows: int = 128,
    columns: int = 128,
    depth: int = 16,
    warp_rows: int = 64,
    warp_columns: int = 64,
    column_steps: int = 4,
    height: int = 8,
    width: int = 4,
) -> LoopNest:
    """Like the transposed register tile, with each warp on a tile of its own, in several steps along the columns."""
    warps = (rows // warp_rows) * (columns // warp_columns)
    threads = warps * 32
    row_steps = warp_rows * warp_columns // (32 * height * width * column_steps)
    sub_rows, sub_columns = warp_rows // row_steps, warp_columns // column_steps
    n, across, lanes = size // columns, columns // warp_columns, sub_columns // width
    i = f"t // 32 // {across} * {warp_rows} + p * {sub_rows} + t % 32 // {lanes} * {height} + i"
    j = f"t // 32 % {across} * {warp_columns} + q * {sub_columns} + t % 32 % {lanes} * {width} + j"
    copies = [
        _copy("u", rows * depth, threads, depth, "A", f"b // {n} * {rows} + @r", f"k0 * {depth} + @c", True),
        _copy("v", depth * columns, threads, columns, "B", f"k0 * {depth} + @r", f"b % {n} * {columns} + @c", False,
              vector=True),
    ]  # fmt: skip

    def tile(innermost: str, last: str = "unroll") -> str:
        pad, lines = " " * 20, []
        loops = (("p", row_steps), ("q", column_steps), ("i", height), ("j", width))
        for depth_, (name, extent) in enumerate(loops):
            lines.append(pad + "    " * depth_ + f"for {name} in {last if name == 'j' else 'unroll'}({extent}):")
        return "\n".join([*lines, pad + " " * 16 + innermost])

    body = tile(f"acc[p, q, i, j] = acc[p, q, i, j] + As[k, {i}] * Bs[k, {j}]").replace("\n", "\n        ")
    return _nest("warp_tile", size, f"""
for b in block({size // rows * n}):
    with shared(float32[{depth}, {rows}]) as As:
        with shared(float32[{depth}, {columns}]) as Bs:
            for t in thread({threads}):
                with local(float32[{row_steps}, {column_steps}, {height}, {width}]) as acc:
{tile("acc[p, q, i, j] = 0.0")}
                    for k0 in range({size // depth}):
{copies[0]}
{copies[1]}
                        for k in unroll({depth}):
        {body}
{tile(f"C[b // {n} * {rows} + {i}, b % {n} * {columns} + {j}] = acc[p, q, i, j]", "vectorize")}
""")  # fmt: skip


LADDER: dict[str, Callable[[], LoopNest]] = {
    "naive": naive,
    "coalesced": lambda: naive(coalesced=True),
    "shared tile": shared_tile,
    "column of 8": lambda: register_tile(rows=64, columns=64, width=1),
    "tile of 8x8": register_tile,
    "float4, A transposed": lambda: register_tile(transposed=True),
    "tiles of warps": warp_tile,
}
