"""Random small graphs over all graph operators, legal by construction, with inputs to run them on."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from hypothesis import strategies as st

from runtime.graph import Graph, GraphBuilder

Shape = tuple[int, ...]

# Operators whose result on small integers is exact, whatever the order of summation.
EXACT = ("conv", "conv_transpose", "max_pool")
EXACT += ("add", "sub", "mul", "relu", "clip", "concat", "split", "transpose", "reshape", "pad")
EXACT += ("slice", "reduce_sum", "reduce_max", "matmul", "shuffle")
INEXACT = ("avg_pool", "lrn", "softmax", "reduce_mean", "sigmoid", "tanh", "exp", "erf", "div", "sqrt")
ALL = EXACT + INEXACT
ELEMENTWISE = ("add", "sub", "mul", "div", "sqrt", "relu", "clip", "sigmoid", "tanh", "exp", "erf")

extents = st.integers(1, 4)


def small_integers(rng: np.random.Generator, shape: Shape) -> np.ndarray:
    """Integers from -2 to 2 held in float32."""
    return rng.integers(-2, 3, shape).astype(np.float32)


def feeds(graph: Graph, seed: int = 0) -> dict[str, np.ndarray]:
    """Small integers for every input."""
    rng = np.random.default_rng(seed)
    return {name: small_integers(rng, kind.shape) for name, kind in graph.inputs.items()}


class _Grower:
    """Applies random operators to random values of a graph under construction."""

    def __init__(self, draw: st.DrawFn, build: GraphBuilder) -> None:
        self.draw = draw
        self.build = build
        self.rng = np.random.default_rng(draw(st.integers(0, 99)))
        self.values: list[str] = []

    def shape(self, value: str) -> Shape:
        return self.build.types[value].shape

    def pick(self, keep: Callable[[Shape], bool] = lambda shape: True) -> str | None:
        """A value whose shape fits."""
        fitting = [value for value in self.values if keep(self.shape(value))]
        return self.draw(st.sampled_from(fitting)) if fitting else None

    def weight(self, shape: Shape) -> str:
        return self.build.weight(self.build.fresh("w"), small_integers(self.rng, shape))

    def grow(self, operator: str) -> None:
        """Apply one operator, or nothing when no value fits."""
        makers = {"conv": self.conv, "shuffle": self.shuffle, "matmul": self.matmul, "concat": self.concat}
        makers["conv_transpose"] = self.conv_transpose
        image = operator in ("conv", "conv_transpose", "shuffle", "max_pool", "avg_pool", "lrn")
        least = 0 if operator in ELEMENTWISE else 2 if operator == "matmul" else 1
        x = self.pick(lambda shape: len(shape) == 4 if image else len(shape) >= least)
        if x is None:
            return
        if operator in makers:
            made = makers[operator](x)
        elif operator in ("add", "sub", "mul", "div"):
            made = self.build.add(operator, x, self.other(x) if operator != "div" else self.positive(x))
        elif operator == "sqrt":
            made = self.build.add(operator, self.build.add("mul", x, x))
        elif operator in ELEMENTWISE and operator != "clip":
            made = self.build.add(operator, x)
        else:
            made = self.build.add(operator, x, **self.params(operator, self.shape(x)))
        self.values += made if isinstance(made, tuple) else (made,)

    def other(self, x: str) -> str:
        """Something that broadcasts against x: a value of the same shape, a channel or full weight, a scalar."""
        shape = self.shape(x)
        same = self.pick(lambda found: found == shape)
        ones = self.draw(st.lists(st.booleans(), min_size=len(shape), max_size=len(shape)))
        weights = (shape, (1,), shape[-1:], tuple(1 if one else n for one, n in zip(ones, shape, strict=True)))
        return self.draw(st.one_of(st.just(same or x), st.sampled_from(weights).map(self.weight)))

    def positive(self, x: str) -> str:
        return self.build.weight(self.build.fresh("d"), np.full((1, *self.shape(x)[1:]), 2.5, np.float32))

    def conv(self, x: str) -> str:
        _, channels, *image = self.shape(x)
        groups = self.draw(st.sampled_from([g for g in (1, 2, 3, 4) if channels % g == 0]))
        out = groups * self.draw(st.integers(1, 3))
        params = self.window(image)
        dilations = self.draw(st.tuples(st.integers(1, 2), st.integers(1, 2)))
        kernel = params.pop("kernel")
        if any((k - 1) * d + 1 > n for k, d, n in zip(kernel, dilations, image, strict=True)):
            dilations = (1, 1)
        operands = [x, self.weight((out, channels // groups, *kernel))]
        if self.draw(st.booleans()):
            operands.append(self.weight((out,)))
        activation = self.draw(st.sampled_from(["none", "relu"]))
        return self.build.add("conv", *operands, dilations=dilations, groups=groups, activation=activation, **params)

    def conv_transpose(self, x: str) -> str:
        _, channels, *image = self.shape(x)
        params = self.window(image)
        kernel, strides, pads = params.pop("kernel"), params["strides"], params["padding"]
        if any((n - 1) * s + k - pads[d] - pads[2 + d] < 1 for d, (n, s, k) in enumerate(zip(image, strides, kernel))):
            params["padding"] = (0, 0, 0, 0)
        more = tuple(self.draw(st.integers(0, stride - 1)) for stride in strides)
        operands = [x, self.weight((channels, self.draw(extents), *kernel))]
        if self.draw(st.booleans()):
            operands.append(self.weight(self.shape(operands[1])[1:2]))
        return self.build.add("conv_transpose", *operands, output_padding=more, **params)

    def window(self, image: list[int]) -> dict:
        kernel = tuple(self.draw(st.integers(1, min(3, n))) for n in image)
        padding = tuple(self.draw(st.integers(0, k - 1)) for k in kernel * 2)
        return {"kernel": kernel, "padding": padding, "strides": self.draw(st.tuples(st.integers(1, 2), extents))}

    def shuffle(self, x: str) -> str:
        """A channel shuffle."""
        batch, channels, *image = self.shape(x)
        groups = self.draw(st.sampled_from([g for g in (1, 2, 3, 4) if channels % g == 0]))
        split = self.build.add("reshape", x, shape=(batch, groups, channels // groups, *image))
        swapped = self.build.add("transpose", split, perm=(0, 2, 1, 3, 4))
        return self.build.add("reshape", swapped, shape=self.shape(x))

    def matmul(self, x: str) -> str:
        return self.build.add("matmul", x, self.weight((self.shape(x)[-1], self.draw(extents))))

    def concat(self, x: str) -> str:
        shape = self.shape(x)
        axis = self.draw(st.integers(-len(shape), len(shape) - 1))
        d = axis % len(shape)
        others = [self.weight((*shape[:d], self.draw(extents), *shape[d + 1 :]))]
        if same := self.pick(lambda found: found == shape):
            others.append(same)
        return self.build.add("concat", x, *others, axis=axis)

    def params(self, operator: str, shape: Shape) -> dict:
        """Parameters of the operators that have one input."""
        rank, draw = len(shape), self.draw
        axis = st.integers(-rank, rank - 1)
        if operator in ("max_pool", "avg_pool"):
            include = {"count_include_pad": draw(st.booleans())} if operator == "avg_pool" else {}
            return {**self.window(list(shape[2:])), **include}
        if operator == "lrn":
            return {"size": draw(st.sampled_from([1, 3, 5])), "alpha": 0.25}  # ONNX Runtime knows odd sizes only
        if operator == "clip":
            return {"min": draw(st.sampled_from([-np.inf, -1.0, 0])), "max": draw(st.sampled_from([1, np.inf]))}
        if operator == "softmax":
            return {"axis": draw(axis)}
        if operator == "split":
            chosen = draw(axis)
            first = draw(st.integers(1, shape[chosen]))
            return {"axis": chosen, "sizes": (first, shape[chosen] - first) if first < shape[chosen] else (first,)}
        if operator == "transpose":
            return {"perm": draw(st.permutations(range(rank)))}
        if operator == "reshape":
            cut = draw(st.integers(0, rank))
            head, tail = (int(np.prod(part)) for part in (shape[:cut], shape[cut:]))
            return {"shape": draw(st.sampled_from([(head * tail,), (head, tail), (*shape, 1), (*shape[:cut], tail)]))}
        if operator == "pad":
            return {
                "pads": draw(st.tuples(*[st.integers(0, 2)] * (2 * rank))),
                "value": draw(st.sampled_from([0, 1.5])),
            }
        if operator == "slice":
            starts = tuple(draw(st.integers(0, n - 1)) for n in shape)
            stops = tuple(draw(st.integers(start + 1, n)) for start, n in zip(starts, shape, strict=True))
            return {"starts": starts, "stops": stops, "steps": draw(st.tuples(*[st.integers(1, 2)] * rank))}
        chosen = draw(st.sets(st.integers(0, rank - 1), min_size=1))
        return {"axes": tuple(chosen), "keepdims": draw(st.booleans())}


@st.composite
def graphs(draw: st.DrawFn, operators: tuple[str, ...] = ALL, max_nodes: int = 6) -> Graph:
    """A graph of up to `max_nodes` applications of the given operators to an image and a matrix."""
    build = GraphBuilder(draw(st.sampled_from(["g", "two words"])))
    grower = _Grower(draw, build)
    shape = draw(st.tuples(st.integers(1, 2), st.sampled_from([1, 2, 3, 4, 6]), extents, extents))
    grower.values = [build.input("x", shape), build.input("dir/y 1", draw(st.tuples(extents, extents)))]
    for _ in range(draw(st.integers(1, max_nodes))):
        grower.grow(draw(st.sampled_from(operators)))
    computed = [value for value in grower.values if value not in ("x", "dir/y 1")]
    if not computed:
        computed = [build.add("relu", "x")]
    outputs = draw(st.lists(st.sampled_from(computed), min_size=1, max_size=3, unique=True))
    return build.finish([*dict.fromkeys([*outputs, computed[-1]])])
