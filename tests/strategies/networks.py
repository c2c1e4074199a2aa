"""Random small networks: element-wise kernels and little matrix products over values of a few sizes, with aliases."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st

from runtime.expr import Buffer, Const, Expr, Var
from runtime.graph import TensorType
from runtime.loop_nest import PARALLEL, SERIAL, Allocate, For, LoopNest, Stmt, Store, block
from runtime.network import KernelCall, Network

# All shapes of one size, so that a value may be an alias of another in a different shape.
SHAPES = {12: ((12,), (3, 4), (2, 6)), 5: ((5,), (1, 5)), 300: ((300,), (10, 30))}


def loops(shape: tuple[int, ...], body, parallel: bool = False) -> Stmt:
    """A loop per axis around body(indices)."""
    variables = tuple(Var(f"i{axis}") for axis in range(len(shape)))
    stmt = body(variables)
    for axis in reversed(range(len(shape))):
        kind = PARALLEL if parallel and axis == 0 else SERIAL
        stmt = For(variables[axis], shape[axis], kind, stmt)
    return stmt


def elementwise(name: str, shape: tuple[int, ...], arity: int, constant: int, via_workspace: bool) -> LoopNest:
    """out = sum of the inputs, each times its number, plus a constant; through a temporary when asked."""
    inputs = tuple(Buffer(f"in{number}", shape) for number in range(arity))
    output, middle = Buffer("out", shape), Buffer("middle", shape)

    def value(indices: tuple[Var, ...]) -> Expr:
        total: Expr = Const(float(constant), "float32")
        for number, buffer in enumerate(inputs):
            total = total + buffer[indices] * float(number + 1)
        return total

    if not via_workspace:
        body = loops(shape, lambda indices: Store(output, indices, value(indices)), parallel=True)
    else:
        first = loops(shape, lambda indices: Store(middle, indices, value(indices)), parallel=True)
        second = loops(shape, lambda indices: Store(output, indices, middle[indices] - 1.0))
        body = Allocate(middle, block(first, second))
    return LoopNest(name, inputs, (output,), body)


def two_outputs(name: str, shape: tuple[int, ...]) -> LoopNest:
    """One input; its double and its negation."""
    source, double, minus = Buffer("x", shape), Buffer("double", shape), Buffer("minus", shape)
    body = loops(shape, lambda i: block(Store(double, i, source[i] * 2.0), Store(minus, i, source[i] * -1.0)))
    return LoopNest(name, (source,), (double, minus), body)


@st.composite
def networks(draw: st.DrawFn, max_calls: int = 8) -> Network:
    """Networks with one or two inputs, weights, kernels that repeat, aliases of aliases, and outputs of every kind."""
    types: dict[str, TensorType] = {}

    def new(kind: str, size: int) -> str:
        name = f"{kind}{len(types)}"
        types[name] = TensorType(draw(st.sampled_from(SHAPES[size])))
        return name

    sizes = st.sampled_from(sorted(SHAPES))
    inputs = [new("x", draw(sizes)) for _ in range(draw(st.integers(1, 2)))]
    weights = [new("w", draw(sizes)) for _ in range(draw(st.integers(0, 2)))]
    aliases: dict[str, str] = {}
    calls: list[KernelCall] = []
    for _ in range(draw(st.integers(1, max_calls))):
        if draw(st.integers(0, 3)) == 0:
            source = draw(st.sampled_from(sorted(types)))
            aliases[new("a", types[source].size)] = source
            continue
        first = draw(st.sampled_from(sorted(types)))
        shape = types[first].shape
        same = sorted(name for name, kept in types.items() if kept.shape == shape)
        if draw(st.integers(0, 3)) == 0:
            names = tuple(f"v{len(types) + number}" for number in range(2))
            types |= {name: TensorType(shape) for name in names}
            calls.append(KernelCall(two_outputs("pair", shape), (first,), names))
            continue
        operands = (first, *draw(st.lists(st.sampled_from(same), max_size=2)))
        nest = elementwise("sum", shape, len(operands), draw(st.integers(0, 1)), draw(st.booleans()))
        target = f"v{len(types)}"
        types[target] = TensorType(shape)
        calls.append(KernelCall(nest, operands, (target,)))
    outputs = draw(st.lists(st.sampled_from(sorted(types)), min_size=1, max_size=3, unique=True))
    rng = np.random.default_rng(draw(st.integers(0, 99)))
    return Network(
        name=draw(st.sampled_from(["net", "a-b.c", "1st"])),
        inputs={name: types[name] for name in inputs},
        outputs={name: types[name] for name in outputs},
        weights={name: rng.integers(-3, 4, types[name].shape).astype(np.float32) for name in weights},
        values={name: kept for name, kept in types.items() if name not in (*inputs, *weights)},
        calls=tuple(calls),
        aliases=aliases,
    )


def evaluate(network: Network, run, feeds: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Run each kernel by itself with run(nest, *inputs) -> outputs, on memory of its own."""
    known: dict[str, np.ndarray] = {**network.weights, **feeds}

    def value(name: str) -> np.ndarray:
        if name in known:
            return known[name]
        return np.ascontiguousarray(value(network.aliases[name]).reshape(network.type_of(name).shape))

    for call in network.calls:
        results = run(call.nest, *(value(name) for name in call.inputs))
        known |= dict(zip(call.outputs, results, strict=True))
    return {name: value(name) for name in network.outputs}
