"""Tensor expressions of Winograd's transforms as graph operators; the products between them are a `matmul`."""

from __future__ import annotations

from collections.abc import Sequence

from ansor_mini.definitions.base import Definition, pad_constant
from ansor_mini.tensor_expression import Tensor, compute
from ansor_mini.winograd import inverse, transformed_input
from runtime.graph import Node, TensorType
from runtime.graph_operators.winograd import KERNEL, tiles

_IMAGE, _STACK = ("n", "h", "w", "c"), ("e", "v", "p", "c")


def _input(node: Node, tensors: Sequence[Tensor], result: TensorType) -> Tensor:
    x, tile, padding, name = tensors[0], node["tile"], node["padding"], node.outputs[0]
    size = tile + KERNEL - 1
    rows, columns = (x.shape[1 + d] + padding[d] + padding[2 + d] - KERNEL + 1 for d in (0, 1))
    down, across = tiles((rows, columns), tile)
    # The last tiles may reach beyond the image.
    after = [n * tile + KERNEL - 1 - x.shape[1 + d] - padding[d] for d, n in enumerate((down, across))]
    before, behind = (0, padding[0], padding[1], 0), (0, max(0, after[0]), max(0, after[1]), 0)
    padded = pad_constant(x, before, behind, 0.0, f"{name}_pad", _IMAGE) if any(before + behind) else x
    seen = compute(
        (size, size, *result.shape[2:]),
        lambda e, v, p, c: padded[p // (down * across), p // across % down * tile + e, p % across * tile + v, c],
        f"{name}_tile",
        axes=_STACK,
    )
    return transformed_input(seen, tile, name)


def _output(node: Node, tensors: Sequence[Tensor], result: TensorType) -> Tensor:
    tile, name = node["tile"], node.outputs[0]
    down, across = tiles(node["shape"][1:], tile)
    back = inverse(tensors[0], tile, f"{name}_inverse")
    return compute(
        result.shape,
        lambda n, i, j, c: back[i % tile, j % tile, (n * down + i // tile) * across + j // tile, c],
        name,
        axes=_IMAGE,
    )


WINOGRAD: dict[str, Definition] = {"winograd_input": _input, "winograd_output": _output}
