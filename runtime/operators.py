"""The table of graph operators: shape rule, NumPy reference and flop count of each.

A new operator is one `Operator` entry in one of the families below; import, text, evaluation and export look here.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np

from runtime.graph_operators.base import Operator
from runtime.graph_operators.elementwise import ELEMENTWISE
from runtime.graph_operators.linear import LINEAR
from runtime.graph_operators.shape import SHAPE
from runtime.graph_operators.transposed import TRANSPOSED
from runtime.graph_operators.window import WINDOWED
from runtime.graph_operators.winograd import WINOGRAD
from runtime.node import Params, TensorType

FAMILIES = (WINDOWED, TRANSPOSED, WINOGRAD, LINEAR, ELEMENTWISE, SHAPE)
OPERATORS: dict[str, Operator] = {entry.name: entry for family in FAMILIES for entry in family}


def find_operator(name: str) -> Operator:
    """Look an operator up.  Raises: ValueError: there is none of that name."""
    if name not in OPERATORS:
        raise ValueError(f"unknown operator {name!r}; known are {', '.join(sorted(OPERATORS))}")
    return OPERATORS[name]


@lru_cache(maxsize=1 << 16)
def infer(name: str, types: tuple[TensorType, ...], params: Params) -> tuple[Params, tuple[TensorType, ...]]:
    """Complete the parameters of an application of an operator, and give the types of its outputs.

    Raises: ValueError: the number of inputs, a shape, a dtype or a parameter does not fit.

    >>> x, w = TensorType((1, 3, 8, 8)), TensorType((4, 3, 3, 3))
    >>> print(*infer("conv", (x, w), Params(strides=(2, 2)))[1])
    float32[1, 4, 3, 3]
    """
    operator = find_operator(name)
    least, most = operator.arity
    if not least <= len(types) <= most:
        wanted = str(least) if least == most else f"{least} or more" if most > least + 1 else f"{least} or {most}"
        raise ValueError(f"{name} takes {wanted} inputs, got {len(types)}")
    full = operator.complete(params)
    return full, operator.infer(types, full)


def evaluate(name: str, arrays: Sequence[np.ndarray], params: Params) -> tuple[np.ndarray, ...]:
    """Run the NumPy reference of an operator with complete parameters."""
    with np.errstate(all="ignore"):
        return find_operator(name).evaluate(arrays, params)
