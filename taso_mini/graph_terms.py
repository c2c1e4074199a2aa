"""How the graph's operators and the operators of terms correspond: one table, read in both directions.

Paper: TASO §5. A graph node says more than a term: strides, groups, layouts, broadcasting, batched matrix products.
`read_node` says which term operator a node is, and only where the two mean exactly the same; everything else is opaque
and no rule touches it. `build` says which graph node computes a term operator on given values.

    graph node                                      term
    conv(x, w), NCHW, rank 4                        conv(x, w)            groups follow from the shapes
    conv(x, w, b)                                   conv_bias(x, w, b)
    matmul of two matrices                          matmul
    add, sub, mul of equal shapes                   add, sub, mul
    mul(x, s) with s of shape (1, C, 1, 1)          scale(x, vector s)
    add(x, s) with s of shape (1, C, 1, 1)          bias(x, vector s)
    mul(x, s) with s of shape ()                    smul(x, s)
    concat of two, split into two                   concat; split0 and split1
    pools, NCHW; averages over the whole window     max_pool, avg_pool

>>> from runtime.graph import Node, TensorType
>>> image, weight = TensorType((1, 8, 4, 4), "float32"), TensorType((1, 8, 1, 1), "float32")
>>> print(*read_node(Node("mul", ("x", "s"), ("y",), {}), (image, weight)))
scale(x, s as (8,))
>>> print(*read_node(Node("mul", ("x", "s"), ("y",), {}), (image, TensorType((4,), "float32"))))
None
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass

from runtime.graph import Node, TensorType
from taso_mini.applications import Application, Recipe, Reshaped

GEOMETRY = ("strides", "padding", "dilations")
POOLING = ("kernel", "strides", "padding")
UNARY = ("relu", "sigmoid", "tanh", "exp", "sqrt", "erf")
FLOATS = ("float32", "float64")


Types = Sequence[TensorType]
Params = Mapping[str, Hashable]
Reader = Callable[[Node, Types], Application | None]
Builder = Callable[[Params, tuple[str, ...], Types], Recipe | None]


@dataclass(frozen=True)
class Correspondence:
    """One row of the table: the term operator, the graph operator, and the two directions."""

    term: str
    graph: str
    read: Reader
    build: Builder


def _images(*types: TensorType) -> bool:
    return all(t.rank == 4 for t in types)


def _read_conv(node: Node, types: Types) -> Application | None:
    if node["layout"] != "NCHW" or not _images(*types[:2]):
        return None
    params = {name: node[name] for name in (*GEOMETRY, "activation")}
    same = node["padding"] == _same_padding(types[1].shape[2:], node["dilations"])
    return Application("conv" if len(node.inputs) == 2 else "conv_bias", params, node.inputs, same)


def _build_conv(params: Params, args: tuple[str, ...], types: Types) -> Recipe | None:
    image, kernel = types[0], types[1]
    if not _images(image, kernel) or image.shape[1] % kernel.shape[1]:
        return None
    dilations, padding = params["dilations"], params["padding"]
    assert isinstance(dilations, tuple)
    if padding == "same":
        padding = _same_padding(kernel.shape[2:], dilations)
    if padding is None:
        return None
    groups = image.shape[1] // kernel.shape[1]
    return Recipe("conv", args, {**params, "padding": padding, "groups": groups, "layout": "NCHW"})


def _same_padding(window: tuple[int, ...], dilations: tuple[int, ...]) -> tuple[int, ...] | None:
    """The padding that a term calls `same`: the window's half on each side; None for an even window."""
    if any(extent % 2 == 0 for extent in window):
        return None
    half = tuple(extent // 2 * dilation for extent, dilation in zip(window, dilations, strict=True))
    return half + half


def _read_matmul(node: Node, types: Types) -> Application | None:
    """A term's matrices are stored row by row."""
    if types[0].rank != 2 or types[1].rank != 2 or any(node[name] for name in ("a_order", "b_order", "order")):
        return None
    return Application("matmul", {}, node.inputs)


def _read_pool(node: Node, types: Types) -> Application | None:
    """A term's average divides by the whole window, padding included."""
    if node["layout"] != "NCHW" or not _images(types[0]):
        return None
    if node.operator == "avg_pool" and any(node["padding"]) and not node["count_include_pad"]:
        return None
    same = node["padding"] == _same_padding(node["kernel"], (1, 1))
    return Application(node.operator, {name: node[name] for name in POOLING}, node.inputs, same)


def _build_pool(operator: str) -> Builder:
    extra = {"count_include_pad": True} if operator == "avg_pool" else {}

    def build(params: Params, args: tuple[str, ...], types: Types) -> Recipe | None:
        kernel, padding = params["kernel"], params["padding"]
        assert isinstance(kernel, tuple)
        if padding == "same":
            padding = _same_padding(kernel, (1, 1))
        if not isinstance(padding, tuple) or not _images(types[0]):
            return None
        return Recipe(operator, args, {**params, **extra, "padding": padding, "layout": "NCHW"})

    return build


def _build_enlarge_like(params: Params, args: tuple[str, ...], types: Types) -> Recipe | None:
    """Pad a kernel with zeros around to the window of another one."""
    if not _images(*types):
        return None
    window, wanted = types[0].shape[2:], types[1].shape[2:]
    if any(old > new or old % 2 == 0 or new % 2 == 0 for old, new in zip(window, wanted, strict=True)):
        return None
    return _padded(args[0], window, wanted)


def _build_enlarge(params: Params, args: tuple[str, ...], types: Types) -> Recipe | None:
    """Pad a kernel with zeros around to a window; it stays as it is where it is as large already."""
    kernel = params["kernel"]
    if not _images(*types) or not isinstance(kernel, tuple):
        return None
    window = types[0].shape[2:]
    wanted = tuple(max(old, new) for old, new in zip(window, kernel, strict=True))
    return _padded(args[0], window, wanted)


def _padded(kernel: str, window: tuple[int, ...], wanted: tuple[int, ...]) -> Recipe:
    before = (0, 0, *((new - old) // 2 for old, new in zip(window, wanted, strict=True)))
    after = (0, 0, *((new - old + 1) // 2 for old, new in zip(window, wanted, strict=True)))
    return Recipe("pad", (kernel,), {"pads": before + after})


def _read_elementwise(node: Node, types: Types) -> Application | None:
    return Application(node.operator, {}, node.inputs) if len({t.shape for t in types}) == 1 else None


def _build_elementwise(operator: str) -> Builder:
    def build(params: Params, args: tuple[str, ...], types: Types) -> Recipe | None:
        return Recipe(operator, args, {}) if len({t.shape for t in types}) == 1 else None

    return build


def _read_per_channel(term: str) -> Reader:
    """Read `mul` or `add` of an image and a value with one element per channel, in either order."""

    def read(node: Node, types: Types) -> Application | None:
        for image, other in ((0, 1), (1, 0)):
            shape, channels = types[other].shape, types[image].shape[1:2]
            if _images(types[image]) and shape in (channels + (1, 1), (1,) + channels + (1, 1)):
                return Application(term, {}, (node.inputs[image], Reshaped(node.inputs[other], channels)))
        return None

    return read


def _build_per_channel(operator: str, axis: int) -> Builder:
    """Multiply or add a vector along one axis of a 4-D value: 1 for an image's channels, 0 for a kernel's outputs."""

    def build(params: Params, args: tuple[str, ...], types: Types) -> Recipe | None:
        if not _images(types[0]) or types[1].shape != (types[0].shape[axis],):
            return None
        shape = tuple(extent if d == axis else 1 for d, extent in enumerate(types[0].shape))
        return Recipe(operator, (args[0], Reshaped(args[1], shape)), {})

    return build


def _read_scaled(node: Node, types: Types) -> Application | None:
    for tensor, scalar in ((0, 1), (1, 0)):
        if types[scalar].shape == () and types[tensor].rank:
            return Application("smul", {}, (node.inputs[tensor], node.inputs[scalar]))
    return None


def _read_concat(node: Node, types: Types) -> Application | None:
    return Application("concat", {"axis": node["axis"] % types[0].rank}, node.inputs) if len(types) == 2 else None


def _read_half(output: int) -> Reader:
    def read(node: Node, types: Types) -> Application | None:
        if len(node.outputs) != 2:
            return None
        return Application(f"split{output}", {"axis": node["axis"] % types[0].rank}, node.inputs)

    return read


def _build_half(output: int) -> Builder:
    """Split at `cut`, the extent of the first half: the one parameter a term leaves to its context."""

    def build(params: Params, args: tuple[str, ...], types: Types) -> Recipe | None:
        axis, cut = params["axis"], params["cut"]
        assert isinstance(axis, int) and isinstance(cut, int)
        if axis >= types[0].rank or not 0 < cut < types[0].shape[axis]:
            return None
        return Recipe("split", args, {"axis": axis, "sizes": (cut, types[0].shape[axis] - cut)}, output)

    return build


def _read_plain(node: Node, types: Types) -> Application | None:
    return Application(node.operator, dict(node.params), node.inputs)


def _build_plain(operator: str) -> Builder:
    return lambda params, args, types: Recipe(operator, args, params)


def _never(node: Node, types: Types) -> Application | None:
    return None


TABLE: list[Correspondence] = [
    Correspondence("conv", "conv", _read_conv, _build_conv),
    Correspondence("conv_bias", "conv", _read_conv, _build_conv),
    Correspondence("matmul", "matmul", _read_matmul, _build_plain("matmul")),
    Correspondence("max_pool", "max_pool", _read_pool, _build_pool("max_pool")),
    Correspondence("avg_pool", "avg_pool", _read_pool, _build_pool("avg_pool")),
    *(Correspondence(name, name, _read_elementwise, _build_elementwise(name)) for name in ("add", "sub", "mul")),
    Correspondence("scale", "mul", _read_per_channel("scale"), _build_per_channel("mul", 1)),
    Correspondence("bias", "add", _read_per_channel("bias"), _build_per_channel("add", 1)),
    Correspondence("scale_kernel", "mul", _never, _build_per_channel("mul", 0)),
    Correspondence("enlarge", "pad", _never, _build_enlarge),
    Correspondence("enlarge_like", "pad", _never, _build_enlarge_like),
    Correspondence("smul", "mul", _read_scaled, _build_plain("mul")),
    Correspondence("concat", "concat", _read_concat, _build_plain("concat")),
    Correspondence("split0", "split", _read_half(0), _build_half(0)),
    Correspondence("split1", "split", _read_half(1), _build_half(1)),
    Correspondence("transpose", "transpose", _read_plain, _build_plain("transpose")),
    *(Correspondence(name, name, _read_plain, _build_plain(name)) for name in UNARY),
]
BUILDERS: dict[str, Builder] = {row.term: row.build for row in TABLE}
READABLE = {row.term for row in TABLE if row.read is not _never}


def register(row: Correspondence) -> None:
    """Add the correspondence of an operator of one's own."""
    TABLE.append(row)
    BUILDERS[row.term] = row.build
    READABLE.add(row.term)


def read_node(node: Node, types: Types) -> tuple[Application | None, ...]:
    """Read a node as term operators, one per output; None where no term operator has exactly its meaning.

    types: of the node's inputs; its parameters must be complete.
    """
    nothing = (None,) * len(node.outputs)
    if any(t.dtype not in FLOATS for t in types):
        return nothing
    rows = (row.read(node, types) for row in TABLE if row.graph == node.operator)
    found = tuple(application for application in rows if application is not None)
    return found[: len(node.outputs)] or nothing


def build(operator: str, params: Params, args: tuple[str, ...], types: Types) -> Recipe | None:
    """Say which graph node computes a term operator on values of the given types; None when there is none.

    params: the term's, with every variable bound; for a split also `cut`, the extent of its first half.
    """
    builder = BUILDERS.get(operator)
    return builder(params, args, types) if builder else None
