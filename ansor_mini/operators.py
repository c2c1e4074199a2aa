"""Graph operators as tensor expressions, one entry per operator.

Paper: Ansor §7

`declare(fragment)` turns a small `runtime.graph.Graph` (a fused subgraph whose weights are plain inputs) into a
`ComputeDAG` whose placeholders are the fragment's inputs in order. Each operator of `DEFINITIONS` is a function of its
node and its operands' tensors; adding an operator is one function here and one entry in the table.

What has no arithmetic (concat, split, reshape) is not declared here: see `ansor_mini.data_movement`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from ansor_mini.compute_dag import ComputeDAG
from ansor_mini.tensor_expression import Axis, Tensor, compute, placeholder, reduce_axis, reduce_max, reduce_sum
from runtime.expr import Const, Expr, call, cast, maximum, minimum, select
from runtime.graph import Graph, Node, TensorType

Definition = Callable[[Node, Sequence[Tensor], TensorType], Tensor]
DEFINITIONS: dict[str, Definition] = {}


class UndeclaredOperator(ValueError):
    """The graph holds an operator that has no tensor expression."""


def definition(*operators: str) -> Callable[[Definition], Definition]:
    """Register a function as the tensor expression of some graph operators."""

    def register(function: Definition) -> Definition:
        for operator in operators:
            DEFINITIONS[operator] = function
        return function

    return register


def declare(fragment: Graph) -> ComputeDAG:
    """Build the compute DAG of a fused subgraph; its inputs are placeholders in the fragment's order.

    Raises: UndeclaredOperator: an operator without a definition, all of them named.
    """
    missing = sorted({node.operator for node in fragment.nodes} - set(DEFINITIONS))
    if missing:
        known = ", ".join(sorted(DEFINITIONS))
        raise UndeclaredOperator(f"no tensor expression for {', '.join(missing)}; there is one for {known}")
    tensors = {name: placeholder(kind.shape, name, kind.dtype) for name, kind in fragment.inputs.items()}
    for node in fragment.nodes:
        output = node.outputs[0]
        operands = [tensors[name] for name in node.inputs]
        tensors[output] = DEFINITIONS[node.operator](node, operands, fragment.types[output])
    return ComputeDAG([tensors[name] for name in fragment.outputs], [tensors[name] for name in fragment.inputs])


def _broadcast(tensor: Tensor, indices: Sequence[Expr]) -> Expr:
    """Read a tensor at the indices of a (larger) result, by NumPy's broadcasting rules."""
    own = indices[len(indices) - len(tensor.shape) :]
    return tensor[tuple(Const(0) if extent == 1 else index for extent, index in zip(tensor.shape, own, strict=True))]


def _elementwise(node: Node, result: TensorType, body: Callable[..., Expr], tensors: Sequence[Tensor]) -> Tensor:
    # A fused follower keeps the names of the dimensions it was given.
    names = next(([axis.name for axis in t.axes] for t in tensors if t.axes and t.shape == result.shape), None)

    def value(*at: Expr) -> Expr:
        return body(*(_broadcast(tensor, at) for tensor in tensors))

    return compute(result.shape, value, node.outputs[0], axes=names)


_BINARY: dict[str, Callable[[Expr, Expr], Expr]] = {
    "add": lambda a, b: a + b,
    "sub": lambda a, b: a - b,
    "mul": lambda a, b: a * b,
    "div": lambda a, b: a / b,
}


@definition(*_BINARY)
def _binary(node: Node, tensors: Sequence[Tensor], result: TensorType) -> Tensor:
    return _elementwise(node, result, _BINARY[node.operator], tensors)


_UNARY: dict[str, Callable[[Expr], Expr]] = {
    "relu": lambda x: maximum(x, 0.0),
    "sigmoid": lambda x: call("sigmoid", x),
    "tanh": lambda x: call("tanh", x),
    "exp": lambda x: call("exp", x),
    "sqrt": lambda x: call("sqrt", x),
    "erf": lambda x: call("erf", x),
}


@definition(*_UNARY)
def _unary(node: Node, tensors: Sequence[Tensor], result: TensorType) -> Tensor:
    return _elementwise(node, result, _UNARY[node.operator], tensors)


@definition("clip")
def _clip(node: Node, tensors: Sequence[Tensor], result: TensorType) -> Tensor:
    low, high = float(node["min"]), float(node["max"])

    def body(x: Expr) -> Expr:
        x = maximum(x, low) if low > -math.inf else x
        return minimum(x, high) if high < math.inf else x

    return _elementwise(node, result, body, tensors)


@definition("transpose")
def _transpose(node: Node, tensors: Sequence[Tensor], result: TensorType) -> Tensor:
    perm = node["perm"]

    def body(*at: Expr) -> Expr:
        source: list[Expr] = [Const(0)] * len(perm)
        for axis, origin in enumerate(perm):
            source[origin] = at[axis]
        return tensors[0][tuple(source)]

    return compute(result.shape, body, node.outputs[0])


def pad_constant(
    x: Tensor,
    before: Sequence[int],
    after: Sequence[int],
    value: float,
    name: str,
    axes: Sequence[str] | None = None,
) -> Tensor:
    """Surround a tensor with a constant: a stage of its own, so that the search decides where it is computed."""
    shape = tuple(extent + low + high for extent, low, high in zip(x.shape, before, after, strict=True))

    def body(*at: Expr) -> Expr:
        inside: Expr | None = None
        for index, extent, low, high in zip(at, x.shape, before, after, strict=True):
            for bound in ([index >= low] if low else []) + ([index < low + extent] if high else []):
                inside = bound if inside is None else inside & bound
        source = tuple(index - low if low else index for index, low in zip(at, before, strict=True))
        return x[source] if inside is None else select(inside, x[source], value)

    return compute(shape, body, name, axes=axes)


@definition("pad")
def _pad(node: Node, tensors: Sequence[Tensor], result: TensorType) -> Tensor:
    pads = node["pads"]
    rank = len(pads) // 2
    return pad_constant(tensors[0], pads[:rank], pads[rank:], float(node["value"]), node.outputs[0])


@definition("slice")
def _slice(node: Node, tensors: Sequence[Tensor], result: TensorType) -> Tensor:
    starts, steps = node["starts"], node["steps"]

    def body(*at: Expr) -> Expr:
        return tensors[0][tuple(index * step + start for index, step, start in zip(at, steps, starts, strict=True))]

    return compute(result.shape, body, node.outputs[0])


def _axis_names(node: Node, rank: int) -> tuple[str, ...]:
    """Names of an activation's dimensions in its layout, such as n, h, w, c."""
    image = ("w",) if rank == 3 else ("h", "w") if rank == 4 else ("d", "h", "w")
    return ("n", *image, "c") if node["layout"] == "NHWC" else ("n", "c", *image)


def _spatial_axes(node: Node, rank: int) -> range:
    """The image dimensions: behind the batch, before the channels ("NHWC") or after them ("NCHW")."""
    return range(1, rank - 1) if node["layout"] == "NHWC" else range(2, rank)


def _pad_spatial(x: Tensor, node: Node, value: float) -> Tensor:
    pads = node["padding"]
    if not any(pads):
        return x
    before, after = [0] * len(x.shape), [0] * len(x.shape)
    axes = _spatial_axes(node, len(x.shape))
    for axis, low, high in zip(axes, pads[: len(axes)], pads[len(axes) :], strict=True):
        before[axis], after[axis] = low, high
    return pad_constant(x, before, after, value, f"{node.outputs[0]}_pad", _axis_names(node, len(x.shape)))


def _conv_channel(out_channel: Expr, in_channel: Expr, groups: int, group_in: int, group_out: int) -> Expr:
    """The input channel that tap `in_channel` of the group of `out_channel` reads."""
    if groups == 1:
        return in_channel
    if group_out == 1:
        first = out_channel * group_in if group_in > 1 else out_channel
    else:
        first = out_channel // group_out * group_in
    return first + in_channel if group_in > 1 else first


@definition("conv")
def _conv(node: Node, tensors: Sequence[Tensor], result: TensorType) -> Tensor:
    """Convolution over a zero-padded input, then bias and activation as stages that fusion keeps in registers."""
    x, weight = tensors[0], tensors[1]
    spatial = _spatial_axes(node, len(x.shape))
    channels_last = node["layout"] == "NHWC"
    channel = len(x.shape) - 1 if channels_last else 1
    kernel = weight.shape[:-2] if channels_last else weight.shape[2:]
    group_in, channels_out = (weight.shape[-2:]) if channels_last else (weight.shape[1], weight.shape[0])
    groups = node["groups"]
    padded = _pad_spatial(x, node, 0.0)
    taps = [reduce_axis(extent, f"k{axis}") for axis, extent in enumerate(kernel)]
    ci = reduce_axis(group_in, "ci")

    def term(*out: Expr) -> Expr:
        at = list(out)
        for axis, tap, stride, dilation in zip(spatial, taps, node["strides"], node["dilations"], strict=True):
            at[axis] = out[axis] * stride + tap * dilation
        at[channel] = _conv_channel(out[channel], ci, groups, group_in, channels_out // groups)
        own = (*taps, ci, out[channel]) if channels_last else (out[channel], ci, *taps)
        return padded[tuple(at)] * weight[own]

    # The reduction walks channels-last inputs channel by channel and channels-first inputs column by column.
    axes = (*taps, ci) if channels_last else (ci, *taps)
    stages: list[Callable[[Expr, Expr], Expr]] = []
    if len(tensors) > 2:
        stages.append(lambda value, c: value + tensors[2][c])
    if node["activation"] == "relu":
        stages.append(lambda value, c: maximum(value, 0.0))
    name, names = node.outputs[0], _axis_names(node, len(x.shape))
    out = compute(result.shape, lambda *at: reduce_sum(term(*at), axes), f"{name}_conv" if stages else name, axes=names)
    for i, stage in enumerate(stages, 1):
        previous, label = out, name if i == len(stages) else f"{name}_bias"
        out = compute(result.shape, _epilogue(stage, previous, channel), label, axes=names)
    return out


def _epilogue(stage: Callable[[Expr, Expr], Expr], previous: Tensor, channel: int) -> Callable[..., Expr]:
    return lambda *at: stage(previous[at], at[channel])


@definition("matmul")
def _matmul(node: Node, tensors: Sequence[Tensor], result: TensorType) -> Tensor:
    a, b = tensors
    k = reduce_axis(a.shape[-1], "k")

    def body(*at: Expr) -> Expr:
        *batch, i, j = at
        return reduce_sum(_broadcast(a, (*batch, i, k)) * _broadcast(b, (*batch, k, j)), (k,))

    axes = (*(f"b{i}" for i in range(len(result.shape) - 2)), "i", "j")
    return compute(result.shape, body, node.outputs[0], axes=axes)


def _window(node: Node, rank: int) -> tuple[Callable[..., tuple[Expr, ...]], tuple[Axis, ...]]:
    """The index function and the reduce axes of a pooling window."""
    axes = tuple(reduce_axis(extent, f"k{i}") for i, extent in enumerate(node["kernel"]))

    def at(*out: Expr) -> tuple[Expr, ...]:
        index = list(out)
        for axis, tap, stride in zip(_spatial_axes(node, rank), axes, node["strides"], strict=True):
            index[axis] = out[axis] * stride + tap
        return tuple(index)

    return at, axes


@definition("max_pool")
def _max_pool(node: Node, tensors: Sequence[Tensor], result: TensorType) -> Tensor:
    padded = _pad_spatial(tensors[0], node, -math.inf)
    at, axes = _window(node, len(result.shape))
    names = _axis_names(node, len(result.shape))
    return compute(result.shape, lambda *out: reduce_max(padded[at(*out)], axes), node.outputs[0], axes=names)


@definition("avg_pool")
def _avg_pool(node: Node, tensors: Sequence[Tensor], result: TensorType) -> Tensor:
    """Sum over the window, then divide by the number of elements counted (padding too, if asked for)."""
    x, name = tensors[0], node.outputs[0]
    padded = _pad_spatial(x, node, 0.0)
    at, axes = _window(node, len(result.shape))
    names = _axis_names(node, len(result.shape))
    total = compute(result.shape, lambda *out: reduce_sum(padded[at(*out)], axes), f"{name}_sum", axes=names)
    spatial = _spatial_axes(node, len(result.shape))

    def divisor(*out: Expr) -> Expr:
        if node["count_include_pad"] or not any(node["padding"]):
            return Const(float(math.prod(node["kernel"])), "float32")
        count: Expr = Const(1)
        for axis, size, stride, pad in zip(spatial, node["kernel"], node["strides"], node["padding"], strict=False):
            start = out[axis] * stride - pad
            count = count * (minimum(start + size, x.shape[axis]) - maximum(start, 0))
        return cast("float32", count)

    return compute(result.shape, lambda *out: total[out] / divisor(*out), name, axes=names)


@definition("lrn")
def _lrn(node: Node, tensors: Sequence[Tensor], result: TensorType) -> Tensor:
    """x / (bias + alpha / size · Σ x²)^beta over a window of neighbouring channels."""
    x, name = tensors[0], node.outputs[0]
    axis = len(x.shape) - 1 if node["layout"] == "NHWC" else 1
    size = int(node["size"])
    low = (size - 1) // 2
    before = tuple(low if i == axis else 0 for i in range(len(x.shape)))
    after = tuple(size - 1 - low if i == axis else 0 for i in range(len(x.shape)))
    padded = pad_constant(x, before, after, 0.0, f"{name}_pad")
    offset = reduce_axis(size, "offset")

    def neighbour(*at: Expr) -> Expr:
        index = tuple(i + offset if position == axis else i for position, i in enumerate(at))
        return padded[index] * padded[index]

    total = compute(x.shape, lambda *at: reduce_sum(neighbour(*at), (offset,)), f"{name}_sum")
    scale, bias, beta = float(node["alpha"]) / size, float(node["bias"]), float(node["beta"])
    return compute(x.shape, lambda *at: x[at] / call("pow", total[at] * scale + bias, beta), name)


@definition("softmax")
def _softmax(node: Node, tensors: Sequence[Tensor], result: TensorType) -> Tensor:
    x, name = tensors[0], node.outputs[0]
    axis = node["axis"] % len(x.shape)
    kept = tuple(extent for i, extent in enumerate(x.shape) if i != axis)

    def along(r: Expr, at: Sequence[Expr]) -> tuple[Expr, ...]:
        return (*at[:axis], r, *at[axis:])

    def without(at: Sequence[Expr]) -> tuple[Expr, ...]:
        return (*at[:axis], *at[axis + 1 :])

    r1, r2 = reduce_axis(x.shape[axis], "r"), reduce_axis(x.shape[axis], "r")
    largest = compute(kept, lambda *at: reduce_max(x[along(r1, at)], (r1,)), f"{name}_max")
    powers = compute(x.shape, lambda *at: call("exp", x[at] - largest[without(at)]), f"{name}_exp")
    total = compute(kept, lambda *at: reduce_sum(powers[along(r2, at)], (r2,)), f"{name}_sum")
    return compute(x.shape, lambda *at: powers[at] / total[without(at)], name)


@definition("reduce_sum", "reduce_mean", "reduce_max")
def _reduce(node: Node, tensors: Sequence[Tensor], result: TensorType) -> Tensor:
    x, name = tensors[0], node.outputs[0]
    axes = tuple(axis % len(x.shape) for axis in node["axes"])
    keepdims = bool(node["keepdims"])
    reduced = {axis: reduce_axis(x.shape[axis], f"r{axis}") for axis in sorted(axes)}
    reducer = reduce_max if node.operator == "reduce_max" else reduce_sum

    def body(*at: Expr) -> Expr:
        kept = iter(at)
        index: list[Expr] = []
        for axis in range(len(x.shape)):
            position = next(kept) if axis not in reduced or keepdims else reduced[axis]
            index.append(reduced.get(axis, position))
        return reducer(x[tuple(index)], tuple(reduced.values()))

    if node.operator != "reduce_mean":
        return compute(result.shape, body, name)
    total = compute(result.shape, body, f"{name}_sum")
    count = float(math.prod(x.shape[axis] for axis in axes))
    return compute(result.shape, lambda *at: total[at] / count, name)
