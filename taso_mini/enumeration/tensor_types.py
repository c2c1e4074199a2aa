"""The type of a tensor while enumerating (shape, split trees, strides), and the type that each operator gives.

Paper: TASO §2.1. Shapes and split trees follow `taso_mini.shapes`; strides are added, because the published operators
have a transpose that is a view and elementwise operators that want equal strides.

>>> x = contiguous(Shape((2, 4)))
>>> [one.strides for one in result_types(Template("transpose", (("copy", False), ("perm", (1, 0)))), x)]
[(1, 4)]
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

from taso_mini import shapes
from taso_mini.enumeration.space import MAX_ELEMENTS, Template
from taso_mini.shapes import Shape, ShapeError


class TensorType(NamedTuple):
    """What two tensors must agree in before their values are compared."""

    shape: Shape
    strides: tuple[int, ...]

    @property
    def dims(self) -> tuple[int, ...]:
        """The lengths of the axes."""
        return self.shape.dims

    @property
    def elements(self) -> int:
        """The number of elements."""
        return math.prod(self.shape.dims)


def contiguous(shape: Shape) -> TensorType:
    """Return the type of a tensor whose last axis varies fastest."""
    return TensorType(shape, tuple(math.prod(shape.dims[i + 1 :]) for i in range(len(shape.dims))))


def _elementwise(template: Template, x: TensorType, y: TensorType) -> tuple[TensorType, ...]:
    shapes.need(x.strides == y.strides, "elementwise operands have different strides")
    return (TensorType(shapes.same_shape(x.shape, y.shape), x.strides),)


def _smul(template: Template, x: TensorType, y: TensorType) -> tuple[TensorType, ...]:
    return (TensorType(shapes.scalar_shape(x.shape, y.shape), x.strides),)


def _matmul(template: Template, x: TensorType, y: TensorType) -> tuple[TensorType, ...]:
    result = shapes.matmul_shape(x.shape, y.shape)
    shapes.need(x.dims[1] != 2, "the published generator leaves out products over the batch")
    return (contiguous(result),)


def _conv(template: Template, x: TensorType, w: TensorType) -> tuple[TensorType, ...]:
    shapes.need(w.dims[2:] == template.param("kernel"), "another kernel size")
    window: dict[str, Any] = {name: value for name, value in template.params if name != "kernel"}
    return (contiguous(shapes.conv_shape(x.shape, w.shape, **window)),)


def _concat(template: Template, x: TensorType, y: TensorType) -> tuple[TensorType, ...]:
    axis: Any = template.param("axis")
    shapes.need(len(x.dims) == template.param("rank"), "another rank")
    return (contiguous(shapes.concat_shape(x.shape, y.shape, axis)),)


def _split(template: Template, x: TensorType) -> tuple[TensorType, ...]:
    axis: Any = template.param("axis")
    return tuple(contiguous(shapes.split_shape(x.shape, axis, half)) for half in (0, 1))


def _pool(template: Template, x: TensorType) -> tuple[TensorType, ...]:
    window: dict[str, Any] = dict(template.params)
    return (contiguous(shapes.pool_shape(x.shape, **window)),)


def _enlarge(template: Template, w: TensorType) -> tuple[TensorType, ...]:
    kernel: Any = template.param("kernel")
    shapes.need(len(w.dims) == 4 and w.dims[2:] != kernel, "not a smaller kernel")
    shapes.need(w.dims[2] <= kernel[0] and w.dims[3] <= kernel[1], "a larger kernel")
    return (contiguous(Shape((*w.dims[:2], *kernel), (*w.shape.trees[:2], None, None))),)


def _transpose(template: Template, x: TensorType) -> tuple[TensorType, ...]:
    perm: Any = template.param("perm")
    shape = shapes.transpose_shape(x.shape, perm)
    return (contiguous(shape) if template.param("copy") else TensorType(shape, tuple(x.strides[i] for i in perm)),)


def _constant(template: Template) -> tuple[TensorType, ...]:
    dims: Any = template.param("dims")
    return (contiguous(Shape(dims)),)


_RULES: dict[str, Callable[..., tuple[TensorType, ...]]] = {
    "add": _elementwise,
    "mul": _elementwise,
    "smul": _smul,
    "matmul": _matmul,
    "conv": _conv,
    "concat": _concat,
    "split": _split,
    "avg_pool": _pool,
    "max_pool": _pool,
    "enlarge": _enlarge,
    "transpose": _transpose,
    "relu": lambda template, x: (x,),
    "Cpool": _constant,
    "Iconv": _constant,
    "Imatmul": _constant,
    "Iewmul": _constant,
}

_ARITIES = {
    "add": 2,
    "mul": 2,
    "smul": 2,
    "matmul": 2,
    "conv": 2,
    "concat": 2,
    "Cpool": 0,
    "Iconv": 0,
    "Imatmul": 0,
    "Iewmul": 0,
}


def arity(template: Template) -> int:
    """Return how many tensors the operator takes."""
    return _ARITIES.get(template.operator, 1)


def result_types(template: Template, *given: TensorType, pools_keep_channels: bool = True) -> tuple[TensorType, ...]:
    """Return the types of the operator's results, or () where it is not defined."""
    if template.operator not in _RULES:
        raise ValueError(f"template: expected one of {', '.join(_RULES)}, got {template.operator!r}")
    try:
        results = _RULES[template.operator](template, *given)
    except ShapeError:
        return ()
    if any(one.elements > MAX_ELEMENTS for one in results):
        return ()
    if template.operator.endswith("_pool") and not pools_keep_channels:
        trees = results[0].shape.trees
        return (contiguous(Shape(results[0].dims, (trees[0], None, *trees[2:]))),)
    return results
