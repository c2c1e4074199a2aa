"""Packing of an operand into a panel that is as wide as a tile.

Beyond the paper. A tile of C = A @ B reads B[k, j .. j + 63] for all k. Rows of B that are 2 or 4 KiB apart share two
sets of the first-level cache, or one, and evict each other. Copied once per column of tiles into a dense buffer, they
do not; the copy is read again by each tile of the column.

    for j0 in range(16):                          for j0 in range(16):
        for i0 in range(171):                         B_pack = B[:, j0 * 64 : j0 * 64 + 64]
            for k in range(1024):         ->          for i0 in range(171):
                ... A[i, k] * B[k, j]                     for k in range(1024):
                                                              ... A[i, k] * B_pack[k, j1]

Constant weights need no such copy: their layout is rewritten when the kernel is compiled (`layout_rewrite`).

>>> from ansor_mini.sketch import derive
>>> from ansor_mini.sketch_rules import CPU_RULES
>>> from ansor_mini.workloads import parse_workload
>>> for sketch in derive(parse_workload("matmul:1024,1024,1024"), (pack_operands(), *CPU_RULES)):
...     print(*sketch.rules)
pack-operand tile
tile
cache-write tile-and-fuse-1
cache-write tile-and-fuse-2
"""

from __future__ import annotations

from collections.abc import Collection

from ansor_mini import dag_analysis as facts
from ansor_mini.cache_read import CacheRead, copy_name
from ansor_mini.rule_types import Context, Next, Rule, index_of, stage_at, when
from ansor_mini.schedule import Stage
from ansor_mini.sketch import Derivation
from ansor_mini.steps import ComputeAt, Reorder
from ansor_mini.tensor_expression import Tensor
from ansor_mini.tiling_rules import apply_tiling
from runtime.expr import ITEM_SIZE, Load, Var
from runtime.expr_tree import free_variables

SET_DISTANCE = 2048  # bytes from which on rows crowd into two sets of a first-level cache of 32 to 48 KiB, or one


def operands_to_pack(
    stage: Stage, inputs: Collection[Tensor], constants: Collection[str], row_bytes: int = SET_DISTANCE
) -> list[str]:
    """The inputs that a tile of a stage reads as vectors in rows far apart, and that another tile reads again.

    >>> from ansor_mini.schedule import State
    >>> from ansor_mini.schedule_examples import matmul
    >>> for columns in (256, 512):
    ...     state = State.initial(matmul(64, columns, 64))
    ...     print(operands_to_pack(state["C"], state.dag.inputs, ()))
    []
    ['B']
    """
    found = []
    for tensor in inputs:
        loads = [load for load in stage.tensor.loads() if load.buffer.name == tensor.name]
        if tensor.name not in constants and len(loads) == 1 and _reads_far_rows(stage.tensor, loads[0], row_bytes):
            found.append(tensor.name)
    return found


def _reads_far_rows(op: Tensor, load: Load, row_bytes: int) -> bool:
    """Whether vectors along the op's last axis are read in the load's last dimension, one per step of a reduction."""
    if not op.axes or len(load.indices) < 2 or load.indices[-1] != Var(op.axes[-1].name):
        return False
    row = load.buffer.shape[-1] * ITEM_SIZE[load.buffer.dtype]
    rows = {name for index in load.indices[:-1] for name in free_variables(index)}
    unused = [axis for axis in op.axes if axis.extent > 1 and axis.name not in rows and axis != op.axes[-1]]
    return row >= row_bytes and bool(unused) and any(axis.name in rows for axis in op.reduce_axes)


def pack_operands(constants: Collection[str] = (), row_bytes: int = SET_DISTANCE) -> Rule:
    """The rule that packs an operand of a tiled stage; the rules behind it still derive the sketches without a copy.

    constants: the inputs that are weights. row_bytes: rows at least so far apart are packed.
    """

    def packable(context: Context, derivation: Derivation, index: int) -> bool:
        stage, dag = stage_at(derivation, index), derivation.state.dag
        plain = stage.is_untouched and stage.name not in derivation.caches
        if context.structure[:1] != "S" or not plain or not stage.tensor.reduce_axes:
            return False
        tiled = facts.needs_multi_level_tiling(dag, stage.name)
        return tiled and bool(operands_to_pack(stage, dag.inputs, constants, row_bytes))

    def pack(context: Context, derivation: Derivation, index: int) -> Next:
        stage, inputs = stage_at(derivation, index), derivation.state.dag.inputs
        name = stage.name
        results: list[tuple[Derivation, int]] = []
        for operand in operands_to_pack(stage, inputs, constants, row_bytes):
            copied = derivation.then("pack-operand", [CacheRead(name, operand)])
            for tiled, _ in apply_tiling(context, copied, index_of(copied, name)):
                packed = _attach(tiled, name, copy_name(operand))
                results.append((packed, index_of(packed, copy_name(operand)) - 1))
        return results

    return Rule("pack-operand", when(packable), pack)


def _attach(derivation: Derivation, name: str, copy: str) -> Derivation:
    """Move the outermost loops that choose the panel before those that reuse it, and pack it between them."""
    stage = derivation.state[name]
    used = {name for load in stage.tensor.loads() if load.buffer.name == copy for name in _axes(load)}
    outer = [f"{axis.name}.0" for axis in stage.tensor.axes if f"{axis.name}.0" in stage.names()]
    choosing = [loop for loop in outer if loop.rpartition(".")[0] in used]
    order = (*choosing, *(loop for loop in stage.names() if loop not in choosing))
    return derivation.then("", [Reorder(name, order), ComputeAt(copy, name, choosing[-1])])


def _axes(load: Load) -> set[str]:
    return {name for index in load.indices for name in free_variables(index)}
