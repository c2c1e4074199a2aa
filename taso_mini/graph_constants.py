"""The constants of terms as weights of a graph: their arrays, the shapes they may take, and weights that are one.

Paper: TASO §2.1, Table 1

>>> from taso_mini.terms import term
>>> possible_shapes(term("Cpool", kernel=(3, 3)), [(1, 8, 14, 14)])
((1, 1, 3, 3), (8, 1, 3, 3))
>>> weight = array_of(term("Cpool", kernel=(1, 1)), (2, 1, 1, 1), "float32")
>>> print(*recognise(weight))
Cpool(kernel=(1, 1)) Iconv(kernel=(1, 1)) Iewmul()
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from taso_mini.arithmetic import Floats
from taso_mini.operator_set import OPERATORS, apply_shape
from taso_mini.shapes import Shape, ShapeError
from taso_mini.terms import Term, term

Dims = tuple[int, ...]
NAMES = ("Cpool", "Iconv", "Imatmul", "Iewmul")


def array_of(constant: Term, shape: Dims, dtype: str) -> np.ndarray:
    """Return the array of a constant.  Raises: ShapeError: it has no such shape."""
    given = apply_shape(constant, [Shape(shape)])
    value = OPERATORS[constant.operator].value(Floats(), [given], **dict(constant.params))
    return np.ascontiguousarray(value, dtype=dtype)


def possible_shapes(constant: Term, beside: Sequence[Dims]) -> tuple[Dims, ...]:
    """Return the shapes that a constant may take beside tensors of the given ones, the smallest first."""
    kernel = constant.param("kernel", ())
    assert isinstance(kernel, tuple)
    channels = dict.fromkeys(extent for dims in beside if len(dims) == 4 for extent in dims[:2])
    if constant.operator == "Iewmul":
        found = list(beside)
    elif constant.operator == "Imatmul":
        found = [(extent, extent) for dims in beside if len(dims) == 2 for extent in dims]
    else:
        found = [(extent, 1, *kernel) for extent in channels]
        found += [(extent, extent, *kernel) for extent in channels if constant.operator == "Iconv"]
    return tuple(sorted(dict.fromkeys(found), key=lambda dims: (int(np.prod(dims)), dims)))


def recognise(weight: np.ndarray) -> tuple[Term, ...]:
    """Return the constants that a weight is."""
    found = []
    if weight.dtype.kind == "f" and weight.size:
        kernel = {"kernel": weight.shape[2:]} if weight.ndim == 4 else {}
        for name in NAMES if kernel else NAMES[2:]:
            constant = term(name, **(kernel if name in NAMES[:2] else {}))
            if _is(weight, constant):
                found.append(constant)
    return tuple(found)


def _is(weight: np.ndarray, constant: Term) -> bool:
    first = weight[(0, 0, weight.shape[2] // 2, weight.shape[3] // 2) if weight.ndim == 4 else (0,) * weight.ndim]
    share = math.prod(weight.shape[2:]) if constant.operator == "Cpool" else 1
    if not math.isclose(first, 1 / share, rel_tol=1e-6):
        return False  # most weights are seen to be none of them by one look
    try:
        return np.array_equal(weight, array_of(constant, weight.shape, str(weight.dtype)))
    except ShapeError:
        return False
