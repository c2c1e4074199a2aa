"""Which tasks are alike enough for one to say how fast another may become: the groups N(i) of the task scheduler.

Paper: Ansor §6.2, App. A

The published code compares tasks by a tag that must be written into the operator by hand, and nobody does. Here the tag
is made from the computation: its reductions as text, without names and numbers, so that a convolution is like a
convolution of other extents, strides and epilogue, but not like a depthwise one or a matrix product.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping

from ansor_mini.compute_dag import ComputeDAG
from ansor_mini.tensor_expression import Tensor

GOLDEN = 1.618  # ratio of operation counts that still counts as alike, as in the published code

Similarity = Callable[[ComputeDAG], str]


def structure(dag: ComputeDAG) -> str:
    """The reductions of a computation without names and numbers; empty, like nothing, when there are none.

    >>> from ansor_mini.workloads import parse_workload
    >>> print(structure(parse_workload("matmul:32,32,64")))
    sum(?[i, k] * ?[k, j] for k)
    >>> structure(parse_workload("matmul:8,8,8")) == structure(parse_workload("matmul:32,32,64"))
    True
    """
    return "; ".join(_text(tensor) for tensor in dag.ops if tensor.reduce_axes)


def structure_and_size(dag: ComputeDAG) -> str:
    """`structure`, and the operation count in powers of the golden ratio: the published code's tag."""
    text = structure(dag)
    return f"{text} @ {int(math.log(dag.flops + 1, GOLDEN))}" if text else ""


def unlike(dag: ComputeDAG) -> str:
    """No task is like another."""
    return ""


SIMILARITIES: Mapping[str, Similarity] = {
    "structure": structure,
    "structure-and-size": structure_and_size,
    "none": unlike,
}


def _text(tensor: Tensor) -> str:
    """A reduction without its tensors' names, its numbers, and the extents of its axes."""
    text = str(tensor.body)
    for name in sorted({load.buffer.name for load in tensor.loads()}, key=len, reverse=True):
        text = re.sub(rf"\b{re.escape(name)}(?=\[)", "?", text)
    text = re.sub(r"(?<![\w.])\d+(\.\d+)?(?![\w.])", "#", text)
    return f"{tensor.combiner}({text} for {', '.join(axis.name for axis in tensor.reduce_axes)})"
