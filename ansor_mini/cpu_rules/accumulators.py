"""Reductions over neighbours in memory: several independent vectors of partial results.

Beyond the paper, whose rule 6 (Table 1) factors a reduction once.

Such a reduction has nothing to vectorise but itself, and one accumulator waits for each addition to finish before the
next. The rule factors the reduction twice: the lanes of a vector become partial results, and so do a few vectors side
by side, enough to hide the latency of the addition. They are added up inside the loop over the outputs:

    for k in range(4096):               for r in range(64):
        S += x[k]                           for u in range(4):
                                                for l in vectorize(16):
                                  ->                S.rf.rf[u, l] += x[r * 64 + u * 16 + l]
                                        for u in range(4):
                                            for l in vectorize(16):
                                                S.rf[l] += S.rf.rf[u, l]
                                        for l in range(16):
                                            S += S.rf[l]

Variants: "blocks" as above; "streams", where the vectors read far apart (u * 1024 + r * 16 + l), which helps beyond the
first cache; both also "shared", where a reduction with fewer outputs than cores is first cut into a piece for each.

>>> from ansor_mini.sketch import derive
>>> from ansor_mini.sketch_rules import CPU_RULES
>>> from ansor_mini.workloads import parse_workload
>>> from runtime.machine import detect
>>> dag, machine = parse_workload("NRM:256,256"), detect(cores=2, vector_bytes=64, l1_bytes=32768)
>>> for sketch in derive(dag, (ACCUMULATORS, *CPU_RULES), machine):
...     print(*sketch.rules)
accumulators-blocks
accumulators-streams
accumulators-blocks-shared
accumulators-streams-shared
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from ansor_mini.dag_analysis import needs_multi_level_tiling
from ansor_mini.rule_types import APPLY_AND_SKIP_REST, SKIP, Context, Next, Rule, Verdict
from ansor_mini.schedule import REDUCE, SPATIAL, Stage
from ansor_mini.sketch import Derivation
from ansor_mini.steps import ComputeAt, Fuse, Parallel, Reorder, Rfactor, Split, Step
from ansor_mini.tensor_expression import Tensor
from runtime.expr import ITEM_SIZE, Expr, Var
from runtime.expr_tree import free_variables
from runtime.indices.simplify import Simplifier

VECTORS = 4  # independent accumulators: additions take 3 to 4 cycles, and one or two can start in each
SHORTEST = 4  # vectors in a reduction worth factoring


def reduces_neighbours(tensor: Tensor) -> bool:
    """Whether the last reduction axis walks through memory element by element, and no output axis does.

    >>> from ansor_mini.workloads import parse_workload
    >>> norm, matmul = parse_workload("NRM:8,8"), parse_workload("matmul:8,8,8")
    >>> reduces_neighbours(norm["squares"]), reduces_neighbours(matmul["C"])
    (True, False)
    """
    if not tensor.reduce_axes or not tensor.axes:
        return False
    last = tensor.reduce_axes[-1].name
    moving = [load for load in tensor.loads() if any(last in free_variables(index) for index in load.indices)]
    return bool(moving) and all(_walks(load.indices, last) for load in moving)


def _walks(indices: Sequence[Expr], axis: str) -> bool:
    form = Simplifier({}).affine(indices[-1])
    here = form.terms.get(Var(axis)) == 1 and not any(axis in free_variables(index) for index in indices[:-1])
    return here and len(form.terms) == 1


def _condition(context: Context, derivation: Derivation, index: int) -> Verdict:
    stage = derivation.state.stages[index]
    tensor, lanes = stage.tensor, context.machine.lanes_of(stage.tensor.dtype)
    if not stage.is_untouched or stage.name in derivation.caches or not reduces_neighbours(tensor):
        return SKIP
    long = tensor.reduce_axes[-1].extent >= SHORTEST * lanes
    plain = not needs_multi_level_tiling(derivation.state.dag, stage.name)
    return APPLY_AND_SKIP_REST if long and plain else SKIP


def _apply(context: Context, derivation: Derivation, index: int) -> Next:
    stage = derivation.state.stages[index]
    lanes = context.machine.lanes_of(stage.tensor.dtype)
    reduce = stage.names(REDUCE)
    fused = len(reduce) > 1 and stage.tensor.reduce_axes[-1].extent % lanes == 0
    first: list[Step] = [Fuse(stage.name, reduce)] if fused else []
    axis = "@".join(reduce) if fused else reduce[-1]
    extent = math.prod(a.extent for a in stage.tensor.reduce_axes) if fused else stage.tensor.reduce_axes[-1].extent
    results: list[tuple[Derivation, int]] = []
    pieces = [1] if stage.tensor.size >= context.machine.cores else [1, context.machine.cores]
    for count in pieces:
        for streams in (False, True):
            if streams and not _worth_streams(context, stage, extent, count * VECTORS * lanes):
                continue
            if count > 1 and extent % (count * VECTORS * lanes):
                continue
            name = f"accumulators-{'streams' if streams else 'blocks'}{'-shared' if count > 1 else ''}"
            steps = [*first, *factored(stage, axis, extent, lanes, streams=streams, pieces=count)]
            results.append((derivation.then(name, steps), index - 1))
    return results


def _worth_streams(context: Context, stage: Stage, extent: int, multiple: int) -> bool:
    return extent % multiple == 0 and extent * ITEM_SIZE[stage.tensor.dtype] > context.cpu.l1_bytes


def factored(
    stage: Stage, axis: str, extent: int, lanes: int, *, streams: bool = False, pieces: int = 1
) -> tuple[Step, ...]:
    """The steps that factor the reduction loop `axis` of a stage into vectors of `lanes`, see the module.

    The vector loops are left to annotation.

    >>> from ansor_mini.schedule import State, replay
    >>> from ansor_mini.workloads import parse_workload
    >>> dag = parse_workload("NRM:1,1024")
    >>> print(replay(dag, factored(State.initial(dag)["squares"], "j", 1024, 16)))
    placeholders: X
    for n in range(1):
        for n in range(1):
            for i in range(1):
                for j.0 in range(16):
                    for j.1 in range(4):
                        for j.2 in range(16):
                            squares.rf.rf += ...
        for n in range(1):
            for j.1 in range(4):
                for j.2 in range(16):
                    squares.rf += ...
        for j.2 in range(16):
            squares += ...
    for n in range(1):
        norm = ...
    """
    name, spatial = stage.name, stage.names(SPATIAL)
    others = () if "@" in axis else tuple(loop for loop in stage.names(REDUCE) if loop != axis)
    vectors = min(VECTORS, extent // lanes)
    serial = -(-extent // (pieces * vectors * lanes))
    lengths: tuple[int, ...] = (serial, lanes) if streams else (vectors, lanes)
    if pieces > 1:
        lengths = (vectors, serial, lanes) if streams else (serial, vectors, lanes)
    steps: list[Step] = [Split(name, axis, lengths)]
    parts = [f"{axis}.{part}" for part in range(len(lengths) + 1)]
    home = name
    if pieces > 1:
        piece = parts.pop(0)
        steps += [Rfactor(name, piece, len(spatial)), Parallel(f"{name}.rf", piece)]
        home, spatial = f"{name}.rf", (*spatial, piece)
    several, around, lane = parts if streams else (parts[1], parts[0], parts[2])
    return (
        *steps,
        Rfactor(home, lane, len(spatial)),
        Rfactor(f"{home}.rf", several, len(spatial)),
        Reorder(f"{home}.rf.rf", (*spatial, *others, around, several, lane)),
        Reorder(f"{home}.rf", (*spatial, several, lane)),
        ComputeAt(f"{home}.rf", home, spatial[-1]),
        ComputeAt(f"{home}.rf.rf", home, spatial[-1]),
    )


ACCUMULATORS = Rule("accumulators", _condition, _apply)
