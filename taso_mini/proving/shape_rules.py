"""The shape rule of each operator over symbolic lengths.

Paper: TASO §2.1, Table 1. The rules say what `taso_mini.shapes` says, for all sizes at once; a test draws sizes and
holds the two equal. A new operator needs a row in `RULES`, or rules that contain it stay unproved.

>>> from taso_mini.rules_text import parse_term
>>> typing, ranks = Typing(), {"x": 2, "y": 2}
>>> shape = infer(parse_term("matmul(x, y)", dict.fromkeys("xy", "matrix")), typing, ranks)
>>> print(*shape.dims), str(typing.normal(Length.atom("y.shape[0]")))
x.shape[0] y.shape[1]
(None, 'x.shape[1]')
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from taso_mini.operator_set import OPERATORS
from taso_mini.proving.lengths import Length
from taso_mini.proving.symbolic_shapes import Cut, SymbolicShape, Tree, Typing, Unknown, leaf_shape
from taso_mini.terms import Term, subterms

Rule = Callable[..., SymbolicShape]  # (typing, node, *shapes of the arguments)
ONE = Length.number(1)


def apply(typing: Typing, node: Term, given: list[SymbolicShape]) -> SymbolicShape:
    """Return the shape of an operator's value; raise Unknown when it is not known to be defined."""
    if node.operator not in RULES:
        raise Unknown(f"no shape rule for {node.operator!r}")
    arity = 0 if node.is_variable else OPERATORS[node.operator].arity
    typing.need(len(given) == (arity or 1), f"{node.operator} takes {arity} arguments, not {len(given)}")
    return RULES[node.operator](typing, node, *given)


def infer(root: Term, typing: Typing, ranks: Mapping[str, int]) -> SymbolicShape:
    """Return the shape of a term; `ranks` has the number of axes of each variable and constant, by its text."""
    known: dict[Term, SymbolicShape] = {}
    for node in subterms(root):
        given = [known[argument] for argument in node.args]
        known[node] = apply(typing, node, given if node.args else [leaf_shape(node, ranks[str(node)])])
    return known[root]


def _rank(typing: Typing, shape: SymbolicShape, rank: int) -> None:
    typing.need(len(shape.dims) == rank, f"{rank} axes expected")


def _axis(typing: Typing, node: Term, shape: SymbolicShape) -> int:
    value = node.param("axis")
    axis = typing.axes.get(str(value), value)
    typing.need(isinstance(axis, int) and 0 <= axis < len(shape.dims), f"no axis {value}")
    assert isinstance(axis, int)
    return axis


def _pair(value: object, side: int) -> object:
    """Return a parameter's value for rows (0) or columns (1); a parameter variable gives two names."""
    return value[side] if isinstance(value, tuple) else f"{value}[{side}]"


def _window_length(kernel: object, side: int) -> Length:
    part = _pair(kernel, side)
    return Length.number(part) if isinstance(part, int) else Length.atom(str(part))


def _same_shape(typing: Typing, node: Term, x: SymbolicShape, y: SymbolicShape) -> SymbolicShape:
    typing.same(x, y)
    return x if x.trees == y.trees else SymbolicShape(x.dims, tuple(map(typing.common, x.trees, y.trees)))


def _scaled(typing: Typing, node: Term, x: SymbolicShape, c: SymbolicShape) -> SymbolicShape:
    _rank(typing, c, 0)
    return x


def _matmul(typing: Typing, node: Term, x: SymbolicShape, y: SymbolicShape) -> SymbolicShape:
    _rank(typing, x, 2)
    _rank(typing, y, 2)
    typing.equal(x.dims[1], y.dims[0])
    return SymbolicShape((x.dims[0], y.dims[1]), (x.trees[0], y.trees[1]))


def _transpose(typing: Typing, node: Term, x: SymbolicShape) -> SymbolicShape:
    perm = node.param("perm")
    typing.need(isinstance(perm, tuple) and sorted(perm) == list(range(len(x.dims))), "the permutation does not fit")
    assert isinstance(perm, tuple)
    return SymbolicShape(tuple(x.dims[i] for i in perm), tuple(x.trees[i] for i in perm))


def _concat(typing: Typing, node: Term, x: SymbolicShape, y: SymbolicShape) -> SymbolicShape:
    typing.need(len(x.dims) == len(y.dims), "different ranks")
    axis = _axis(typing, node, x)
    for i, (a, b) in enumerate(zip(x.dims, y.dims, strict=True)):
        if i != axis:
            typing.equal(a, b)
    dims, trees = list(x.dims), list(map(typing.common, x.trees, y.trees))
    dims[axis] = typing.normal(x.dims[axis] + y.dims[axis])
    trees[axis] = Cut(x.dims[axis], x.trees[axis], y.trees[axis])
    return SymbolicShape(tuple(dims), tuple(trees))


def _split(half: int) -> Rule:
    def rule(typing: Typing, node: Term, x: SymbolicShape) -> SymbolicShape:
        axis = _axis(typing, node, x)
        cut = typing.cut(x.trees[axis])
        length = cut.length if half == 0 else typing.normal(x.dims[axis] - cut.length)
        part: Tree = (cut.first, cut.second)[half]
        return SymbolicShape(
            (*x.dims[:axis], length, *x.dims[axis + 1 :]), (*x.trees[:axis], part, *x.trees[axis + 1 :])
        )

    return rule


def _window_counts(
    typing: Typing, node: Term, x: SymbolicShape, window: list[Length], dilations: object
) -> tuple[Length, Length]:
    padding, strides = node.param("padding"), node.param("strides")
    counts = []
    for side in (0, 1):
        pads = (padding[side], padding[side + 2]) if isinstance(padding, tuple) else padding
        counts.append(
            typing.windows(
                x.dims[2 + side],
                window[side],
                _pair(strides, side),
                pads,
                _pair(dilations, side),
                f"{node}.shape[{2 + side}]",
            )
        )
    return counts[0], counts[1]


def _conv(typing: Typing, node: Term, x: SymbolicShape, w: SymbolicShape) -> SymbolicShape:
    _rank(typing, x, 4)
    _rank(typing, w, 4)
    typing.convolution(x.dims[1], w.dims[1], w.dims[0])
    counts = _window_counts(typing, node, x, list(w.dims[2:]), node.param("dilations"))
    return SymbolicShape((x.dims[0], w.dims[0], *counts), (x.trees[0], w.trees[0], None, None))


def _channels(typing: Typing, node: Term, x: SymbolicShape, v: SymbolicShape) -> SymbolicShape:
    _rank(typing, x, 4)
    _rank(typing, v, 1)
    typing.equal(x.dims[1], v.dims[0])
    return SymbolicShape(x.dims, (x.trees[0], typing.common(x.trees[1], v.trees[0]), *x.trees[2:]))


def _conv_bias(typing: Typing, node: Term, x: SymbolicShape, w: SymbolicShape, v: SymbolicShape) -> SymbolicShape:
    return _channels(typing, node, _conv(typing, node, x, w), v)


def _scale_kernel(typing: Typing, node: Term, w: SymbolicShape, v: SymbolicShape) -> SymbolicShape:
    _rank(typing, w, 4)
    _rank(typing, v, 1)
    typing.equal(w.dims[0], v.dims[0])
    return SymbolicShape(w.dims, (typing.common(w.trees[0], v.trees[0]), *w.trees[1:]))


def _enlarge(typing: Typing, node: Term, w: SymbolicShape) -> SymbolicShape:
    _rank(typing, w, 4)
    window = [
        typing.largest(w.dims[2 + side], _window_length(node.param("kernel"), side), f"{node}.shape[{2 + side}]")
        for side in (0, 1)
    ]
    return SymbolicShape((*w.dims[:2], *window), (w.trees[0], w.trees[1], None, None))


def _enlarge_like(typing: Typing, node: Term, w: SymbolicShape, like: SymbolicShape) -> SymbolicShape:
    _rank(typing, w, 4)
    _rank(typing, like, 4)
    for old, new in zip(w.dims[2:], like.dims[2:], strict=True):
        typing.odd(old)
        typing.odd(new)
        typing.at_most(old, new)
    return SymbolicShape((*w.dims[:2], *like.dims[2:]), (w.trees[0], w.trees[1], None, None))


def _pool(typing: Typing, node: Term, x: SymbolicShape) -> SymbolicShape:
    _rank(typing, x, 4)
    kernel, padding = node.param("kernel"), node.param("padding")
    if isinstance(kernel, tuple) and isinstance(padding, tuple):
        typing.need(all(max(padding[side], padding[side + 2]) < kernel[side] for side in (0, 1)), "a window in padding")
    elif padding != "same":
        typing.fact("pools", kernel, padding)
    counts = _window_counts(typing, node, x, [_window_length(kernel, side) for side in (0, 1)], (1, 1))
    return SymbolicShape((*x.dims[:2], *counts), (x.trees[0], x.trees[1], None, None))


def _pool_kernel(typing: Typing, node: Term, given: SymbolicShape) -> SymbolicShape:
    _rank(typing, given, 4)
    for length, wanted in zip(given.dims[1:], (ONE, *_window(node)), strict=True):
        typing.equal(length, wanted)
    return given


def _identity_kernel(typing: Typing, node: Term, given: SymbolicShape) -> SymbolicShape:
    _rank(typing, given, 4)
    for length, wanted in zip(given.dims[2:], _window(node), strict=True):
        typing.odd(wanted)
        typing.equal(length, wanted)
    if not any(typing.equations.equal(given.dims[1], length) for length in (ONE, given.dims[0])):
        typing.fact("identity kernel", *given.dims[:2])
    return given


def _window(node: Term) -> tuple[Length, Length]:
    return _window_length(node.param("kernel"), 0), _window_length(node.param("kernel"), 1)


def _identity_matrix(typing: Typing, node: Term, given: SymbolicShape) -> SymbolicShape:
    _rank(typing, given, 2)
    typing.equal(given.dims[0], given.dims[1])
    return given


RULES: dict[str, Rule] = {
    "input": lambda typing, node, given: given,
    "add": _same_shape,
    "mul": _same_shape,
    "smul": _scaled,
    "relu": lambda typing, node, x: x,
    "matmul": _matmul,
    "transpose": _transpose,
    "conv": _conv,
    "conv_bias": _conv_bias,
    "scale": _channels,
    "bias": _channels,
    "scale_kernel": _scale_kernel,
    "enlarge": _enlarge,
    "enlarge_like": _enlarge_like,
    "avg_pool": _pool,
    "max_pool": _pool,
    "concat": _concat,
    "split0": _split(0),
    "split1": _split(1),
    "Cpool": _pool_kernel,
    "Iconv": _identity_kernel,
    "Imatmul": _identity_matrix,
    "Iewmul": lambda typing, node, given: given,
}
