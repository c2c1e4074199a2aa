"""Matrix products and tilings for Tensor Cores: small, with odd sizes, either operand in either order."""

from __future__ import annotations

from hypothesis import strategies as st

from ansor_mini.compute_dag import ComputeDAG
from ansor_mini.gpu_rules.contraction import contraction
from ansor_mini.gpu_rules.tensor_lowering import Result, TensorTiling, tensor_nest
from ansor_mini.schedule import initial_state
from ansor_mini.tensor_expression import compute, placeholder, reduce_axis, reduce_sum
from runtime.expr import Buffer, cast
from runtime.loop_nest import LoopNest


def product(
    m: int, n: int, k: int, dtype: str = "float16", *, a_by_columns: bool = False, b_by_columns: bool = False
) -> ComputeDAG:
    """C[m, n] = A times B, summed up in float32."""
    A = placeholder((k, m) if a_by_columns else (m, k), "A", dtype)
    B = placeholder((n, k) if b_by_columns else (k, n), "B", dtype)
    r = reduce_axis(k, "k")

    def body(i, j):
        left = A[(r, i) if a_by_columns else (i, r)]
        right = B[(j, r) if b_by_columns else (r, j)]
        return reduce_sum(cast("float32", left) * cast("float32", right), r)

    return ComputeDAG([compute((m, n), body, "C")])


def nest_of(dag: ComputeDAG, tiling: TensorTiling, name: str = "kernel") -> LoopNest:
    """The nest of `product` with one tiling."""
    work = contraction(initial_state(dag), "C")
    assert work is not None
    tensor = dag["C"]
    target = Buffer("C", tensor.shape)
    body = tensor_nest(work, tiling, Result(target, tuple(tensor.axes), lambda total: total))
    inputs = tuple(Buffer(tensor.name, tensor.shape, tensor.dtype) for tensor in dag.inputs)
    return LoopNest(name, inputs, (target,), body)


SMALL_TILINGS = st.sampled_from(
    [
        TensorTiling(16, 16, 16, 16, 16, 2),
        TensorTiling(32, 16, 16, 16, 16, 3),
        TensorTiling(16, 32, 16, 16, 16, 2),
        TensorTiling(32, 32, 32, 32, 16, 4),
        TensorTiling(16, 32, 32, 16, 32, 1),
    ]
)


@st.composite
def products(draw: st.DrawFn) -> ComputeDAG:
    """A small product; sizes are multiples of 8 (copies of 16 bytes) or anything."""
    sizes = st.one_of(st.sampled_from([8, 16, 24, 32]), st.integers(1, 33))
    dtype = draw(st.sampled_from(["float16", "bfloat16", "float32"]))
    orders = {name: draw(st.booleans()) for name in ("a_by_columns", "b_by_columns")}
    return product(draw(sizes), draw(sizes), draw(sizes), dtype, **orders)
