"""Small DAGs for the examples in docstrings."""

from __future__ import annotations

from ansor_mini.compute_dag import ComputeDAG
from ansor_mini.schedule import replay
from ansor_mini.tensor_expression import compute, placeholder, reduce_axis, reduce_sum
from runtime.expr import maximum


def matmul(n: int, m: int, k: int, *, relu: bool = False, transposed: bool = False) -> ComputeDAG:
    """C = A · B over k, read by D = relu(C) if asked; B may be given transposed, with T turning it back."""
    a, axis = placeholder((n, k), "A"), reduce_axis(k, "k")
    b = placeholder((m, k) if transposed else (k, m), "B")
    t = compute((k, m), lambda p, q: b[q, p], "T") if transposed else b
    c = compute((n, m), lambda i, j: reduce_sum(a[i, axis] * t[axis, j], axis), "C")
    d = compute((n, m), lambda i, j: maximum(c[i, j], 0.0), "D") if relu else c
    return ComputeDAG([d])


__all__ = ["matmul", "replay"]
