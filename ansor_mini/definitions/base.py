"""What the tensor expressions of graph operators share."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ansor_mini.tensor_expression import Tensor, compute
from runtime.expr import Const, Expr, select
from runtime.graph import Node, TensorType

Definition = Callable[[Node, Sequence[Tensor], TensorType], Tensor]


def broadcast(tensor: Tensor, indices: Sequence[Expr]) -> Expr:
    """Read a tensor at the indices of a (larger) result, by NumPy's broadcasting rules."""
    own = indices[len(indices) - len(tensor.shape) :]
    return tensor[tuple(Const(0) if extent == 1 else index for extent, index in zip(tensor.shape, own, strict=True))]


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
