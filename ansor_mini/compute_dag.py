"""A computation as a directed acyclic graph of tensors, and its meaning in NumPy.

Paper: Ansor §4.1

`ComputeDAG(outputs)` collects everything the outputs are computed from, producers before consumers. Facts about its
tensors that the sketch rules ask for are in `dag_analysis`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np

from ansor_mini.evaluate import evaluate_tensor
from ansor_mini.tensor_expression import Tensor
from runtime.expr import Binary, Call, Cast, Expr, Select
from runtime.expr_tree import walk
from runtime.narrow_floats import storage


class ComputeDAG:
    """The tensors that `outputs` are computed from.

    Attributes: tensors: all tensors by name, producers before consumers. inputs, outputs: in argument order.
    Args: inputs: the order of the placeholders; by default the order in which the expressions first read them.
    Raises: ValueError: no outputs, two tensors of one name, or `inputs` that are not the placeholders.
    """

    def __init__(self, outputs: Sequence[Tensor], inputs: Sequence[Tensor] | None = None) -> None:
        outputs = (outputs,) if isinstance(outputs, Tensor) else tuple(outputs)
        if not outputs or any(tensor.is_placeholder for tensor in outputs):
            raise ValueError(f"outputs: expected computed tensors, got {[tensor.name for tensor in outputs]}")
        found: dict[str, Tensor] = {}
        for tensor in outputs:
            _collect(tensor, found)
        placeholders = tuple(tensor for tensor in found.values() if tensor.is_placeholder)
        if inputs is not None:
            if sorted(t.name for t in inputs) != sorted(t.name for t in placeholders):
                expected = [tensor.name for tensor in placeholders]
                raise ValueError(f"inputs: expected the placeholders {expected}, got {[t.name for t in inputs]}")
            placeholders = tuple(found[tensor.name] for tensor in inputs)
        self._set(placeholders, tuple(outputs), tuple(t for t in found.values() if not t.is_placeholder))

    def _set(self, inputs: tuple[Tensor, ...], outputs: tuple[Tensor, ...], ops: tuple[Tensor, ...]) -> None:
        self.inputs, self.outputs, self.ops = inputs, outputs, ops
        self.tensors: dict[str, Tensor] = {tensor.name: tensor for tensor in (*inputs, *ops)}
        self._output_names = frozenset(tensor.name for tensor in outputs)
        self._producers: dict[str, tuple[str, ...]] = {}
        self._consumers: dict[str, tuple[str, ...]] = {name: () for name in self.tensors}
        for tensor in ops:
            names = tuple(dict.fromkeys(load.buffer.name for load in tensor.loads()))
            self._producers[tensor.name] = names
            for name in names:
                self._consumers[name] += (tensor.name,)

    def replace(self, name: str, *tensors: Tensor) -> ComputeDAG:
        """The same DAG with one computed tensor replaced by several, the last of which keeps its name.

        Used by schedule steps that add stages.
        """
        ops = tuple(new for op in self.ops for new in (tensors if op.name == name else (op,)))
        new_dag = ComputeDAG.__new__(ComputeDAG)
        by_name = {tensor.name: tensor for tensor in ops}
        new_dag._set(self.inputs, tuple(by_name[tensor.name] for tensor in self.outputs), ops)
        return new_dag

    def __getitem__(self, name: str) -> Tensor:
        return self.tensors[name]

    def producers(self, tensor: Tensor | str) -> tuple[Tensor, ...]:
        """The tensors it reads, in order of first reading."""
        names = self._producers.get(tensor if isinstance(tensor, str) else tensor.name, ())
        return tuple(self.tensors[name] for name in names)

    def consumers(self, tensor: Tensor | str) -> tuple[Tensor, ...]:
        """The tensors that read it, in topological order."""
        return tuple(self.tensors[name] for name in self._consumers[tensor if isinstance(tensor, str) else tensor.name])

    def is_output(self, tensor: Tensor | str) -> bool:
        """True when it is one of the outputs."""
        return (tensor if isinstance(tensor, str) else tensor.name) in self._output_names

    def evaluate(self, *inputs: np.ndarray) -> tuple[np.ndarray, ...]:
        """Compute the outputs with NumPy, each reduction in order and in the dtype of its tensor.

        Raises: ValueError: wrong number, shape or dtype of inputs.
        """
        if len(inputs) != len(self.inputs):
            raise ValueError(f"inputs: expected {len(self.inputs)} arrays, got {len(inputs)}")
        values: dict[str, np.ndarray] = {}
        for tensor, array in zip(self.inputs, inputs):
            if array.shape != tensor.shape or array.dtype != storage(tensor.dtype):
                raise ValueError(
                    f"input {tensor.name}: expected {tensor.dtype}{tensor.shape}, got {array.dtype}{array.shape}"
                )
            values[tensor.name] = array
        for tensor in self.ops:
            values[tensor.name] = evaluate_tensor(tensor, values)
        return tuple(values[tensor.name] for tensor in self.outputs)

    @property
    def flops(self) -> int:
        """Arithmetic operations of one run.

        Paper: Ansor §7

        One for each + - * / % min max, comparison and logic on the element dtype; a multiply-add counts two; index
        arithmetic and calls count nothing; of a select the dearer branch counts. The attribute "flops" of a tensor
        overrides its count.
        """
        return sum(_tensor_flops(tensor) for tensor in self.ops)

    @property
    def exact(self) -> bool:
        """True if small-integer data give exact results, so that every order of summation gives the same bits."""
        return all(_is_exact(node) for tensor in self.ops for node in walk(tensor.expression))

    def key(self) -> str:
        """A name for the computation that is the same in every process: a hash of its text."""
        return hashlib.sha256(str(self).encode()).hexdigest()[:16]

    def __str__(self) -> str:
        lines = [tensor.declaration() for tensor in self.tensors.values()]
        return "\n".join([*lines, "return " + ", ".join(tensor.name for tensor in self.outputs)])


def _collect(tensor: Tensor, found: dict[str, Tensor]) -> None:
    known = found.get(tensor.name)
    if known is not None:
        if known is not tensor:
            raise ValueError(f"two tensors are named {tensor.name}")
        return
    for load in tensor.loads():
        if not isinstance(load.buffer, Tensor):
            raise ValueError(f"{tensor.name} reads {load.buffer.name}, which is not a tensor")
        _collect(load.buffer, found)
    if tensor.name in found:
        raise ValueError(f"two tensors are named {tensor.name}")
    found[tensor.name] = tensor


def _tensor_flops(tensor: Tensor) -> int:
    if "flops" in tensor.attributes:
        return int(tensor.attributes["flops"])  # type: ignore[call-overload]
    per_point = _expression_flops(tensor.expression, tensor.dtype)
    if tensor.combiner:
        per_point += 1
    points = tensor.size
    for axis in tensor.reduce_axes:
        points *= axis.extent
    return points * per_point


def _expression_flops(expr: Expr, dtype: str) -> int:
    if isinstance(expr, Binary):
        own = 1 if dtype in (expr.a.dtype, expr.b.dtype) else 0
        return own + _expression_flops(expr.a, dtype) + _expression_flops(expr.b, dtype)
    if isinstance(expr, Select):
        branches = (_expression_flops(expr.then, dtype), _expression_flops(expr.otherwise, dtype))
        return _expression_flops(expr.condition, dtype) + max(branches)
    if isinstance(expr, Call):
        return sum(_expression_flops(arg, dtype) for arg in expr.args)
    if isinstance(expr, Cast):
        return _expression_flops(expr.value, dtype)
    return 0


def _is_exact(node: Expr) -> bool:
    if isinstance(node, Call):
        return node.name in ("abs", "floor", "ceil")
    return not (isinstance(node, Binary) and node.op == "/")
