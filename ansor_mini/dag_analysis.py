"""Facts about the tensors of a DAG that decide which sketch rules apply; the rules only ask.

Paper: Ansor §4.1, Table 1

A read is simple when each of its indices is a constant, or one axis plus or minus a constant. Most predicates ask how
an op's axes occur in its reads:

>>> from ansor_mini.schedule_examples import matmul
>>> dag = matmul(64, 64, 64, relu=True)
>>> needs_multi_level_tiling(dag, "C"), fusible_consumer(dag, "C"), is_strictly_inlineable(dag, "D")
(True, 'D', True)
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from ansor_mini import sketch_hints as hints
from ansor_mini.compute_dag import ComputeDAG
from ansor_mini.tensor_expression import CACHE_COPY, Tensor
from runtime.expr import Binary, Call, Const, Expr, Load, Select, Var
from runtime.expr_tree import free_variables, walk

_EXPENSIVE = ("exp", "log", "tanh", "erf", "sigmoid", "pow")


@dataclass(frozen=True)
class Access:
    """How an op reads one producer, all its loads together.

    simple: every index is a constant or an axis ± constant. missing: axes of the op (longer than 1) in none of the
    indices. duplicated: an axis occurs in two indices of one load. ordered: axes occur in the op's order.
    """

    simple: bool
    missing: tuple[str, ...]
    duplicated: bool
    ordered: bool

    @property
    def elementwise(self) -> bool:
        """Every element reads the elements in its own place."""
        return self.simple and not self.missing and not self.duplicated and self.ordered


def access(op: Tensor, producer: str) -> Access:
    """How `op` reads `producer`."""
    reads = [load for load in op.loads() if load.buffer.name == producer]
    axes = [axis.name for axis in op.axes]
    plain = [[_plain_axis(index) for index in load.indices] for load in reads]
    simple = all(name is not None and (name == "" or name in axes) for names in plain for name in names)
    used = {name for load in reads for index in load.indices for name in free_variables(index)}
    orders = [[axes.index(name) for name in names if name in axes] for names in plain]
    return Access(
        simple=simple,
        missing=tuple(axis.name for axis in op.axes if axis.extent > 1 and axis.name not in used),
        duplicated=any(len(set(order)) != len(order) for order in orders),
        ordered=all(order == sorted(order) for order in orders),
    )


def _plain_axis(index: Expr) -> str | None:
    """The axis of an index `axis ± constant`; "" for a constant, None for anything else."""
    if isinstance(index, Const):
        return ""
    if isinstance(index, Var):
        return index.name
    if isinstance(index, Binary) and index.op in ("+", "-") and isinstance(index.b, Const):
        return index.a.name if isinstance(index.a, Var) else None
    return None


def is_strictly_inlineable(dag: ComputeDAG, name: str) -> bool:
    """Whether inlining it costs nothing: plain reads in place or broadcast, no reduction, branch or expensive call.

    A tensor that reads nothing is a constant, whose branches vanish; and a user may say so.
    Paper: Ansor §4.1, Table 1 (IsStrictInlinable)
    """
    op = dag[name]
    if op.is_placeholder or op.combiner or CACHE_COPY in op.attributes:
        return False
    if hints.is_set(op, hints.ALWAYS_INLINE) or not dag.producers(name):
        return True
    for node in walk(op.expression):
        if isinstance(node, Select) or (isinstance(node, Call) and node.name in _EXPENSIVE):
            return False
    reads = [access(op, producer.name) for producer in dag.producers(name)]
    return all(read.simple and read.ordered and not read.duplicated for read in reads)


def needs_multi_level_tiling(dag: ComputeDAG, name: str) -> bool:
    """Whether its inputs are reused along some of its axes, so that tiling pays.

    Paper: Ansor §4.1, Table 1 (HasDataReuse)
    """
    op = dag[name]
    if op.is_placeholder or hints.names(op, hints.SIMPLIFY_CONST_INDICES):
        return False
    reused = sum(bool(access(op, producer.name).missing) for producer in dag.producers(name))
    return reused >= 2 or (reused >= 1 and bool(op.reduce_axes))


has_data_reuse = needs_multi_level_tiling


def consumers_through_inlined(dag: ComputeDAG, name: str) -> tuple[str, ...]:
    """The consumers that remain once every strictly inlineable stage, outputs apart, has been inlined."""
    found: dict[str, None] = {}
    for consumer in dag.consumers(name):
        if is_strictly_inlineable(dag, consumer.name) and not dag.is_output(consumer.name):
            found.update(dict.fromkeys(consumers_through_inlined(dag, consumer.name)))
        else:
            found[consumer.name] = None
    return tuple(found)


def elementwise_match(dag: ComputeDAG, name: str, target: str) -> bool:
    """Whether all paths of reads from a stage lead to `target`, element by element, in equal shapes."""
    if name == target:
        return True
    consumers = dag.consumers(name)
    return bool(consumers) and all(
        consumer.shape == dag[name].shape
        and access(consumer, name).elementwise
        and elementwise_match(dag, consumer.name, target)
        for consumer in consumers
    )


def fusible_consumer(dag: ComputeDAG, name: str) -> str | None:
    """The one consumer whose tiles the stage can be computed in, or None.

    Paper: Ansor §4.1, Table 1 (HasFusibleConsumer)
    """
    consumers = consumers_through_inlined(dag, name)
    if len(consumers) != 1 or dag.is_output(name) or not elementwise_match(dag, name, consumers[0]):
        return None
    both_reduce = bool(dag[name].reduce_axes and dag[consumers[0]].reduce_axes)
    return None if both_reduce else consumers[0]


def has_fusible_consumer(dag: ComputeDAG, name: str) -> bool:
    """Whether `fusible_consumer` finds one."""
    return fusible_consumer(dag, name) is not None


def has_more_reduction_parallel(dag: ComputeDAG, name: str, cores: int) -> bool:
    """Whether its reduction has more parallel work than its outputs do.

    Paper: Ansor §4.1, Table 1 (HasMoreReductionParallel)
    """
    op = dag[name]
    if not op.reduce_axes:
        return False
    spatial, reduce = op.size, math.prod(axis.extent for axis in op.reduce_axes)
    if needs_multi_level_tiling(dag, name):
        return spatial <= reduce and spatial <= 16 * cores
    return reduce > cores


def common_outer_axes(dag: ComputeDAG, producer: str, consumer: str) -> int:
    """How many leading axes of two neighbours have equal extents and are read in place (± a constant)."""
    op = dag[consumer]
    reads: Sequence[Load] = [load for load in op.loads() if load.buffer.name == producer]
    count = 0
    for own, other in zip(op.axes, dag[producer].axes):
        if own.extent != other.extent or any(_plain_axis(load.indices[count]) != own.name for load in reads):
            break
        count += 1
    return count
