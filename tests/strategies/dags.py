"""Random small compute DAGs: elementwise chains, broadcasts, padding, windows, products, reductions, reshapes.

Extents are tiny and awkward (1, primes, unequal). Values stay below 2**23, so that small-integer data give exact
results in float32 and every schedule must give the same bits.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import prod

import numpy as np
from hypothesis import strategies as st

from ansor_mini.compute_dag import ComputeDAG
from ansor_mini.tensor_expression import Tensor, compute, placeholder, reduce_axis, reduce_max, reduce_min, reduce_sum
from runtime.expr import Const, Expr, cast, maximum, minimum, select

EXTENTS = st.sampled_from([1, 2, 3, 4, 5, 6, 7, 8])
LIMIT = 2**23
MOST_ELEMENTS = 600


@dataclass
class Value:
    """A tensor and a bound on the magnitude of its elements."""

    tensor: Tensor
    most: int


class Builder:
    """Adds tensors with fresh names."""

    def __init__(self, draw: st.DrawFn) -> None:
        self.draw = draw
        self.values: list[Value] = []
        self.count = 0

    def name(self) -> str:
        self.count += 1
        return f"T{self.count}"

    def input(self, shape: tuple[int, ...]) -> Value:
        value = Value(placeholder(shape, f"In{self.count}"), 2)
        self.count += 1
        self.values.append(value)
        return value

    def add(self, tensor: Tensor, most: int) -> None:
        self.values.append(Value(tensor, most))

    def pick(self) -> Value:
        # later values are likelier, which makes chains
        return self.draw(st.sampled_from(self.values[-3:] + self.values))


def unary(b: Builder) -> None:
    x = b.pick()
    kind = b.draw(st.sampled_from(["relu", "shift", "double", "index"]))
    if kind == "double" and x.most * 2 > LIMIT:
        kind = "relu"

    def body(*at: Expr) -> Expr:
        value = x.tensor[at]
        if kind == "relu":
            return maximum(value, 0.0)
        if kind == "double":
            return value * 2.0
        if kind == "index" and at:
            return value + cast("float32", at[-1] % 3)
        return value + 1.0

    b.add(compute(x.tensor.shape, body, b.name()), x.most * 2 if kind == "double" else x.most + 2)


def binary(b: Builder) -> None:
    x = b.pick()
    shape = x.tensor.shape
    same = [v for v in b.values if v.tensor.shape == shape]
    y = b.draw(st.sampled_from(same)) if b.draw(st.booleans()) else b.input(shape[-1:])
    trailing = y.tensor.shape != shape
    op = b.draw(st.sampled_from(["+", "-", "max", "min"]))
    functions: dict[str, Callable[[Expr, Expr], Expr]] = {
        "+": lambda p, q: p + q, "-": lambda p, q: p - q, "max": maximum, "min": minimum
    }  # fmt: skip
    if x.most + y.most > LIMIT:
        op = "max"

    def body(*at: Expr) -> Expr:
        return functions[op](x.tensor[at], y.tensor[at[-1:] if trailing else at])

    b.add(compute(shape, body, b.name()), x.most + y.most)


def pad(b: Builder) -> None:
    x = b.pick()
    if not x.tensor.shape or x.tensor.size > MOST_ELEMENTS // 2:
        return
    dimension = b.draw(st.integers(0, len(x.tensor.shape) - 1))
    before, after = b.draw(st.integers(0, 2)), b.draw(st.integers(0, 2))
    around = b.draw(st.sampled_from([0.0, 0.0, 0.0, 1.0, -2.0]))
    extent = x.tensor.shape[dimension]
    shape = tuple(n + (before + after if d == dimension else 0) for d, n in enumerate(x.tensor.shape))

    def body(*at: Expr) -> Expr:
        i = at[dimension]
        source = tuple(i - before if d == dimension else v for d, v in enumerate(at))
        return select((i >= before) & (i < extent + before), x.tensor[source], around)

    b.add(compute(shape, body, b.name()), max(x.most, 2))


def window(b: Builder, x: Value | None = None) -> None:
    """A pool or a convolution with one tap weight per position, along one dimension."""
    x = x or b.pick()
    fitting = [d for d, n in enumerate(x.tensor.shape) if n >= 2]
    if not fitting:
        return
    dimension = b.draw(st.sampled_from(fitting))
    extent = x.tensor.shape[dimension]
    size = b.draw(st.integers(1, min(3, extent)))
    stride, dilation = b.draw(st.integers(1, 3)), b.draw(st.integers(1, 2))
    reach = (size - 1) * dilation + 1
    if reach > extent:
        dilation, reach = 1, size
    combine = b.draw(st.sampled_from(["sum", "max", "min", "conv"]))
    if x.most * 2 * size > LIMIT:
        combine = "max"
    tap = reduce_axis(size, "tap")
    weight = b.input((size,)) if combine == "conv" else None
    reduce = {"sum": reduce_sum, "max": reduce_max, "min": reduce_min, "conv": reduce_sum}[combine]
    shape = tuple((extent - reach) // stride + 1 if d == dimension else n for d, n in enumerate(x.tensor.shape))

    def body(*at: Expr) -> Expr:
        source = tuple(v * stride + tap * dilation if d == dimension else v for d, v in enumerate(at))
        value = x.tensor[source] if weight is None else x.tensor[source] * weight.tensor[tap]
        return reduce(value, tap)

    b.add(compute(shape, body, b.name()), x.most * 2 * size)


def product(b: Builder) -> None:
    """A matrix product over the last dimension with a fresh weight."""
    x = b.pick()
    if not x.tensor.shape or x.most * 2 * x.tensor.shape[-1] > LIMIT:
        return
    k, columns = x.tensor.shape[-1], b.draw(EXTENTS)
    if x.tensor.size // k * columns > MOST_ELEMENTS:
        return
    weight, axis = b.input((k, columns)), reduce_axis(k, "red")

    def body(*at: Expr) -> Expr:
        return reduce_sum(x.tensor[(*at[:-1], axis)] * weight.tensor[axis, at[-1]], axis)

    b.add(compute((*x.tensor.shape[:-1], columns), body, b.name()), x.most * 2 * k)


def reduction(b: Builder, x: Value | None = None) -> None:
    """Reduce some dimensions away, possibly all."""
    x = x or b.pick()
    rank = len(x.tensor.shape)
    if not rank:
        return
    gone = sorted(b.draw(st.sets(st.integers(0, rank - 1), min_size=1)))
    taps = {d: reduce_axis(x.tensor.shape[d], f"red{d}") for d in gone}
    count = prod(x.tensor.shape[d] for d in gone)
    kinds = ["max", "min"] + (["sum"] if x.most * count <= LIMIT else [])
    kind = b.draw(st.sampled_from(kinds))
    reduce = {"sum": reduce_sum, "max": reduce_max, "min": reduce_min}[kind]

    def body(*at: Expr) -> Expr:
        rest = iter(at)
        return reduce(x.tensor[tuple(taps[d] if d in taps else next(rest) for d in range(rank))], list(taps.values()))

    shape = tuple(n for d, n in enumerate(x.tensor.shape) if d not in taps)
    b.add(compute(shape, body, b.name()), x.most * (count if kind == "sum" else 1))


def padded_reduction(b: Builder) -> None:
    """A window or a reduction right behind a padding, which it may or may not skip."""
    pad(b)
    b.draw(st.sampled_from([window, reduction]))(b, b.values[-1])


def rearrange(b: Builder) -> None:
    """Reverse the dimensions, run one backwards, or split the first in two by division and remainder."""
    x = b.pick()
    shape = x.tensor.shape
    if not shape or len(shape) > 4:
        return
    kind = b.draw(st.sampled_from(["transpose", "reverse", "merge", "split"]))
    last = shape[-1]
    if kind == "merge" and len(shape) > 1:
        merged = (*shape[:-2], shape[-2] * last)
        tensor = compute(merged, lambda *at: x.tensor[(*at[:-1], at[-1] // last, at[-1] % last)], b.name())
    elif kind == "split" and last % 2 == 0:
        tensor = compute((*shape[:-1], 2, last // 2), lambda *at: x.tensor[(*at[:-2], at[-2] * (last // 2) + at[-1])],
                         b.name())  # fmt: skip
    elif kind == "reverse":
        tensor = compute(shape, lambda *at: x.tensor[(*at[:-1], Const(last - 1) - at[-1])], b.name())
    else:
        tensor = compute(shape[::-1], lambda *at: x.tensor[at[::-1]], b.name())
    b.add(tensor, x.most)


OPERATORS = (unary, binary, pad, window, product, reduction, padded_reduction, rearrange)


@st.composite
def dags(draw: st.DrawFn, fewest: int = 1, most: int = 5) -> ComputeDAG:
    """A DAG of `fewest` to `most` operators with one output, or two when something else is left unread."""
    builder = Builder(draw)
    shape = tuple(draw(st.lists(EXTENTS, min_size=0, max_size=4)))
    while prod(shape) > MOST_ELEMENTS:
        shape = shape[1:]
    builder.input(shape)
    for _ in range(draw(st.integers(fewest, most))):
        draw(st.sampled_from(OPERATORS))(builder)
    computed = [value.tensor for value in builder.values if not value.tensor.is_placeholder]
    if not computed:
        unary(builder)
        computed = [builder.values[-1].tensor]
    read = {load.buffer.name for tensor in computed for load in tensor.loads()}
    outputs = [tensor for tensor in computed if tensor.name not in read]
    extra = [tensor for tensor in computed if tensor.name in read]
    if extra and draw(st.integers(0, 4)) == 0:
        outputs.append(draw(st.sampled_from(extra)))
    return ComputeDAG(outputs[-2:])


def small_inputs(dag: ComputeDAG, seed: int) -> list[np.ndarray]:
    """Arrays of small integers for the inputs of a DAG."""
    rng = np.random.default_rng(seed)
    return [rng.integers(-2, 3, tensor.shape).astype(tensor.dtype) for tensor in dag.inputs]
