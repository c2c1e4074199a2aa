"""The same computation on inputs of 16 bits: what Tensor Cores take.

>>> from ansor_mini.schedule_examples import matmul
>>> print(with_narrow_inputs(matmul(4, 4, 8), "float16"))
A: float16[4, 8]
B: float16[8, 4]
C[i, j] = sum(cast(float32, A[i, k]) * cast(float32, B[k, j]) for k in range(8)) for i in range(4), j in range(4)
return C
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

from ansor_mini.compute_dag import ComputeDAG
from ansor_mini.tensor_expression import Tensor
from runtime.expr import NARROW_FLOATS, Expr, Load, cast, load
from runtime.expr_tree import transform_loads


def with_narrow_inputs(dag: ComputeDAG, dtype: str, names: Collection[str] | None = None) -> ComputeDAG:
    """The DAG with float32 inputs of `dtype`, cast to float32 where they are read.

    names: of the inputs; by default all float32 ones of two dimensions or more.
    Raises: ValueError: a dtype that is not of 16 bits, or a name that is no float32 input.
    """
    if dtype not in NARROW_FLOATS:
        raise ValueError(f"dtype: expected one of {', '.join(NARROW_FLOATS)}, got {dtype!r}")
    wide = {tensor.name for tensor in dag.inputs if tensor.dtype == "float32"}
    chosen = {name for name in wide if len(dag[name].shape) > 1} if names is None else set(names)
    if not chosen <= wide:
        raise ValueError(f"names: expected float32 inputs out of {sorted(wide)}, got {sorted(chosen - wide)}")
    made: dict[str, Tensor] = {
        tensor.name: replace(tensor, dtype=dtype) if tensor.name in chosen else tensor for tensor in dag.inputs
    }

    def read(old: Load) -> Expr:
        new = load(made[old.buffer.name], old.indices)
        return cast("float32", new) if old.buffer.name in chosen else new

    for op in dag.ops:
        made[op.name] = replace(op, body=transform_loads(op.expression, read))
    return ComputeDAG([made[tensor.name] for tensor in dag.outputs], [made[tensor.name] for tensor in dag.inputs])
