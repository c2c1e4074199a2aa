"""The operators that substitutions range over: one table of shape rules and reference values.

Paper: TASO §2.1, Table 1. Images are NCHW, kernels OIHW, and a convolution's number of groups is never a parameter but
the image's channels over the kernel's input channels. Besides the paper's operators there are `conv_bias`, `bias`,
`scale` and `scale_kernel`, which carry the constants of batch normalisation, with a vector of one number per channel.
An average pool divides by the size of its window everywhere, padding included. The paper's constants are operators
without arguments; their shape is open, like a variable's, and is given under the term's text. To add an operator, add a
row to `OPERATORS`, its kinds to `kinds.SIGNATURES`, its symbolic shape to `proving.shape_rules.RULES` and its axioms to
`axioms.AXIOMS`, and name it in a profile of the generator.

Values are computed in any `Arithmetic`: one definition serves fingerprints, tests and the axioms' validation.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from taso_mini import shapes
from taso_mini.arithmetic import Arithmetic, Array
from taso_mini.shapes import Shape, ShapeError
from taso_mini.terms import Term, bind_parameters, subterms

Evaluate = Callable[..., Array]


@dataclass(frozen=True)
class Operator:
    """One operator of the set.

    Attributes:
        arity: number of argument tensors; 0 for a constant.
        shape: `shape(*argument_shapes, **params) -> Shape`, raising ShapeError.
        value: `value(arithmetic, argument_shapes, *arrays, **params) -> Array`. The one "argument shape" of a constant
            is the shape that it takes.
        params: names of the parameters.
        commutative: whether the two arguments may be exchanged.
    """

    arity: int
    shape: Callable[..., Shape]
    value: Evaluate
    params: tuple[str, ...] = ()
    commutative: bool = False


def _windows(
    x: Array, window: tuple[int, int], strides: tuple[int, int], padding: Hashable, dilations: tuple[int, int]
) -> Array:
    """Return every window: (N, C, rows, columns, KH, KW)."""
    top, left, bottom, right = shapes.pads(padding, window, dilations)
    padded = np.zeros((x.shape[0], x.shape[1], x.shape[2] + top + bottom, x.shape[3] + left + right), dtype=x.dtype)
    padded[:, :, top : top + x.shape[2], left : left + x.shape[3]] = x
    count = tuple(
        (length - d * (k - 1) - 1) // stride + 1
        for length, d, k, stride in zip(padded.shape[2:], dilations, window, strides, strict=True)
    )
    rows, columns = padded.strides[2:]
    steps = (rows * strides[0], columns * strides[1], rows * dilations[0], columns * dilations[1])
    return np.ndarray(padded.shape[:2] + count + window, padded.dtype, padded, 0, padded.strides[:2] + steps)


def _conv(
    arithmetic: Arithmetic,
    given: Sequence[Shape],
    x: Array,
    w: Array,
    *,
    strides: tuple[int, int],
    padding: Hashable,
    dilations: tuple[int, int],
    activation: str,
) -> Array:
    patches = _windows(x, (w.shape[2], w.shape[3]), strides, padding, dilations)
    count = shapes.groups(given[0], given[1])
    n, _, rows, columns = patches.shape[:4]
    width, outputs = w.shape[1], w.shape[0] // count
    parts = []
    for g in range(count):
        part = patches[:, g * width : (g + 1) * width].transpose(0, 2, 3, 1, 4, 5).reshape(n * rows * columns, -1)
        kernel = w[g * outputs : (g + 1) * outputs].reshape(outputs, -1).T
        parts.append(arithmetic.matmul(part, kernel).reshape(n, rows, columns, outputs))
    result = (np.concatenate(parts, axis=3) if count > 1 else parts[0]).transpose(0, 3, 1, 2)
    return arithmetic.relu(result) if activation == "relu" else result


def _conv_bias(
    arithmetic: Arithmetic, given: Sequence[Shape], x: Array, w: Array, v: Array, *, activation: str, **window: Any
) -> Array:  # noqa: ANN401 - handed on to _conv as they are
    result = arithmetic.add(_conv(arithmetic, given, x, w, activation="none", **window), v[None, :, None, None])
    return arithmetic.relu(result) if activation == "relu" else result


def _split(half: int) -> Evaluate:
    def value(arithmetic: Arithmetic, given: Sequence[Shape], x: Array, *, axis: int) -> Array:
        tree = given[0].trees[axis]
        assert tree is not None, "the shape rule has refused a split without a concatenation"
        part = slice(0, tree[0]) if half == 0 else slice(tree[0], None)
        return x[(slice(None),) * axis + (part,)]

    return value


def _enlarge(arithmetic: Arithmetic, given: Sequence[Shape], w: Array, *, kernel: tuple[int, int]) -> Array:
    window = shapes.enlarge_shape(given[0], kernel).dims[2:]
    result = np.zeros(w.shape[:2] + window, dtype=w.dtype)
    top, left = (window[0] - w.shape[2]) // 2, (window[1] - w.shape[3]) // 2
    result[:, :, top : top + w.shape[2], left : left + w.shape[3]] = w
    return result


def _enlarge_like(arithmetic: Arithmetic, given: Sequence[Shape], w: Array, like: Array) -> Array:
    return _enlarge(arithmetic, given, w, kernel=like.shape[2:])


def _pool_kernel(arithmetic: Arithmetic, given: Sequence[Shape], *, kernel: tuple[int, int]) -> Array:
    return arithmetic.fraction(given[0].dims, kernel[0] * kernel[1])


def _identity_kernel(arithmetic: Arithmetic, given: Sequence[Shape], *, kernel: tuple[int, int]) -> Array:
    one = arithmetic.fraction(given[0].dims, 1)
    result = np.zeros_like(one)
    for output in range(given[0].dims[0]):
        entry = output if given[0].dims[1] > 1 else 0, kernel[0] // 2, kernel[1] // 2
        result[(output, *entry)] = one[(output, *entry)]
    return result


def _identity_matrix(arithmetic: Arithmetic, given: Sequence[Shape]) -> Array:
    one = arithmetic.fraction(given[0].dims, 1)
    return one * np.eye(given[0].dims[0], dtype=one.dtype)


def _flat_windows(x: Array, kernel: tuple[int, int], strides: tuple[int, int], padding: Hashable) -> Array:
    windows = _windows(x, kernel, strides, padding, (1, 1))
    return windows.reshape(windows.shape[:4] + (-1,))


def _avg_pool(
    arithmetic: Arithmetic,
    given: Sequence[Shape],
    x: Array,
    *,
    kernel: tuple[int, int],
    strides: tuple[int, int],
    padding: Hashable,
) -> Array:
    return arithmetic.window_mean(_flat_windows(x, kernel, strides, padding))


def _max_pool(
    arithmetic: Arithmetic,
    given: Sequence[Shape],
    x: Array,
    *,
    kernel: tuple[int, int],
    strides: tuple[int, int],
    padding: Hashable,
) -> Array:
    inside = _flat_windows(np.ones(x.shape, dtype=bool), kernel, strides, padding)
    return arithmetic.window_max(_flat_windows(x, kernel, strides, padding), inside)


_CONV = ("activation", "dilations", "padding", "strides")
_POOL = ("kernel", "padding", "strides")

OPERATORS: Mapping[str, Operator] = {
    "add": Operator(2, shapes.same_shape, lambda f, _, x, y: f.add(x, y), commutative=True),
    "mul": Operator(2, shapes.same_shape, lambda f, _, x, y: f.mul(x, y), commutative=True),
    "smul": Operator(2, shapes.scalar_shape, lambda f, _, x, c: f.mul(x, c)),
    "relu": Operator(1, lambda x: x, lambda f, _, x: f.relu(x)),
    "matmul": Operator(2, shapes.matmul_shape, lambda f, _, x, y: f.matmul(x, y)),
    "transpose": Operator(1, shapes.transpose_shape, lambda f, _, x, perm: x.transpose(perm), ("perm",)),
    "conv": Operator(2, shapes.conv_shape, _conv, _CONV),
    "conv_bias": Operator(3, shapes.conv_bias_shape, _conv_bias, _CONV),
    "scale": Operator(2, shapes.channel_shape, lambda f, _, x, v: f.mul(x, v[None, :, None, None])),
    "bias": Operator(2, shapes.channel_shape, lambda f, _, x, v: f.add(x, v[None, :, None, None])),
    "scale_kernel": Operator(2, shapes.scale_kernel_shape, lambda f, _, w, v: f.mul(w, v[:, None, None, None])),
    "enlarge": Operator(1, shapes.enlarge_shape, _enlarge, ("kernel",)),
    "enlarge_like": Operator(2, shapes.enlarge_like_shape, _enlarge_like),
    "avg_pool": Operator(1, shapes.pool_shape, _avg_pool, _POOL),
    "max_pool": Operator(1, shapes.pool_shape, _max_pool, _POOL),
    "concat": Operator(2, shapes.concat_shape, lambda f, _, x, y, axis: np.concatenate([x, y], axis=axis), ("axis",)),
    "split0": Operator(1, lambda x, axis: shapes.split_shape(x, axis, 0), _split(0), ("axis",)),
    "split1": Operator(1, lambda x, axis: shapes.split_shape(x, axis, 1), _split(1), ("axis",)),
    "Cpool": Operator(0, shapes.pool_kernel_shape, _pool_kernel, ("kernel",)),
    "Iconv": Operator(0, shapes.identity_kernel_shape, _identity_kernel, ("kernel",)),
    "Imatmul": Operator(0, shapes.identity_matrix_shape, _identity_matrix),
    "Iewmul": Operator(0, lambda given: given, lambda f, given: f.fraction(given[0].dims, 1)),
}

CONVOLUTIONS = ("conv", "conv_bias")


def apply_shape(node: Term, given: Sequence[Shape]) -> Shape:
    """Return the shape of one operator's result; raise ShapeError when it is not defined for these arguments.

    A constant has one "argument": the shape that it shall take.
    """
    operator = OPERATORS[node.operator]
    if len(given) != (operator.arity or 1):
        raise ShapeError(f"{node.operator} takes {operator.arity} arguments, got {len(given)}")
    try:
        return operator.shape(*given, **dict(node.params))
    except ShapeError as error:
        raise ShapeError(f"{node}: {error}") from error


def open_shape(leaf: Term, inputs: Mapping[str, Shape]) -> Shape:
    """Return the given shape of a variable (by its name) or of a constant (by its text, and checked)."""
    if leaf.is_variable:
        return inputs[leaf.name]
    if str(leaf) not in inputs:
        raise ValueError(f"inputs: expected the shape of the constant {leaf}, got only {', '.join(inputs)}")
    return apply_shape(leaf, [inputs[str(leaf)]])


class Plan:
    """Terms as a list of steps, each distinct subterm once: for many shapes, inputs and arithmetics."""

    def __init__(self, roots: Sequence[Term]) -> None:
        """Order the subterms, arguments first."""
        self.roots, self.nodes = tuple(roots), tuple(subterms(*roots))
        place = {node: index for index, node in enumerate(self.nodes)}
        self._steps = [(node, dict(node.params), [place[argument] for argument in node.args]) for node in self.nodes]
        self._names = [node.name if node.is_variable else "" for node in self.nodes]
        self._roots = [place[root] for root in roots]
        self.variables = frozenset(name for name in self._names if name)

    def shapes(self, inputs: Mapping[str, Shape]) -> list[Shape]:
        """Return the shape of every step; raise ShapeError when one is not defined.

        Args:
            inputs: the shape of each variable, by name, and of each constant, by its text.
        """
        known: list[Shape] = []
        for (node, params, args), name in zip(self._steps, self._names, strict=True):
            if name:
                shape = inputs[name]
            elif not args:
                shape = open_shape(node, inputs)
            else:
                try:
                    shape = OPERATORS[node.operator].shape(*[known[place] for place in args], **params)
                except ShapeError as error:
                    raise ShapeError(f"{node}: {error}") from error
            known.append(shape)
        return known

    def outputs(self, shapes: Sequence[Shape]) -> list[Shape]:
        """Return the shapes of the roots."""
        return [shapes[place] for place in self._roots]

    def values(
        self, inputs: Mapping[str, Array | Shape], shapes: Sequence[Shape], arithmetic: Arithmetic
    ) -> list[Array]:
        """Return the values of the roots for arrays of the variables by name, given the steps' shapes."""
        known: list[Array] = []
        for (node, params, args), name, shape in zip(self._steps, self._names, shapes, strict=True):
            if name:
                known.append(np.asarray(inputs[name]))
            else:
                given = [shapes[place] for place in args] if args else [shape]
                known.append(
                    OPERATORS[node.operator].value(arithmetic, given, *[known[place] for place in args], **params)
                )
        return [known[place] for place in self._roots]


@lru_cache(maxsize=512)
def plan(*roots: Term) -> Plan:
    """Return the plan of some terms, which is kept for the next time."""
    return Plan(roots)


def infer(root: Term, inputs: Mapping[str, Shape], params: Mapping[str, Hashable] | None = None) -> Shape:
    """Return the shape of a term's value.

    Args:
        root: the term.
        inputs: the shape of each variable, by name, and of each constant, by its text (`"Imatmul()"`).
        params: values of the parameter variables, by name (`{"s": (1, 1), ...}`).

    Raises: ShapeError: some subterm is not defined for its arguments.

    >>> from taso_mini.rules_text import parse_term
    >>> whole = parse_term("concat(x, relu(y), axis=a)", {"x": "tensor", "y": "tensor"})
    >>> infer(whole, {"x": Shape((2, 3)), "y": Shape((2, 1))}, {"a": 1}).dims
    (2, 4)
    """
    steps = plan(bind_parameters(root, params or {}))
    return steps.shapes(inputs)[-1]


def evaluate(
    roots: Sequence[Term],
    inputs: Mapping[str, Array | Shape],
    params: Mapping[str, Hashable] | None = None,
    *,
    arithmetic: Arithmetic,
) -> list[Array]:
    """Compute the values of some terms, shared subterms once; raise ShapeError when one is not defined.

    `inputs` has an array for each variable, by name, and a shape (or an array, of which only the shape counts) for each
    constant, by its text.

    >>> from taso_mini.arithmetic import Floats
    >>> from taso_mini.rules_text import parse_term
    >>> evaluate([parse_term("relu(x)", {"x": "tensor"})], {"x": np.array([-1.0, 2.0])}, arithmetic=Floats())
    [array([0., 2.])]
    """
    steps = plan(*(bind_parameters(root, params or {}) for root in roots))
    leaves = {name: given if isinstance(given, Shape) else Shape(given.shape) for name, given in inputs.items()}
    return steps.values(inputs, steps.shapes(leaves), arithmetic)
