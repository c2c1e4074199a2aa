"""Few channels: the lanes of a vector run over the reduction.

Beyond the paper. A convolution with three output channels fills three of sixteen lanes when it is vectorised along
them. Its sum over many input channels fills all of them: the lanes become partial sums (`Rfactor`), a register tile of
several positions times all channels keeps them, and one sum across the lanes is left for each output.

    for w0:                                            for w0:
        for k, w1, c:                                      for k0, w1, c:
            C[w0 * 8 + w1, c] += X[w, k] * W[k, c]             for l in vectorize(16):
                                                  ->               T[w1, c, l] += X[w, k0 * 16 + l] * W[k0 * 16 + l, c]
                                                           for w1, c, l:
                                                               C[w0 * 8 + w1, c] += T[w1, c, l]

Loops over residue classes go inside those over rows: the classes of a row lie side by side, and two threads that had a
class each would write to the same cache lines.

>>> from ansor_mini.sketch import derive
>>> from ansor_mini.cpu_rules.parity import RESIDUE_CLASSES
>>> from ansor_mini.sketch_rules import CPU_RULES
>>> from ansor_mini.workloads import parse_workload
>>> from runtime.machine import detect
>>> dag, machine = parse_workload("T2D:32,32,64,3,4,2,1"), detect(vector_bytes=64)
>>> for sketch in derive(dag, (RESIDUE_CLASSES, LANES_OVER_REDUCTION, *CPU_RULES), machine)[:2]:
...     print(*sketch.rules)
residue-classes lanes-over-reduction-8
residue-classes lanes-over-reduction-4
"""

from __future__ import annotations

from ansor_mini import sketch_hints as hints
from ansor_mini.rule_types import APPLY, Context, Next, Rule, index_of, stage_at, when
from ansor_mini.schedule import REDUCE, SPATIAL, Stage
from ansor_mini.sketch import Derivation
from ansor_mini.steps import ComputeAt, Reorder, Rfactor, Split, Step, Vectorize
from ansor_mini.tiling_rules import needs_tiling
from runtime.expr import Var
from runtime.indices.simplify import Simplifier

HEIGHTS = (8, 4)  # positions of a register tile
ACCUMULATORS = range(6, 29)  # vectors of a tile that keep the multiply-add unit busy and fit the registers


def _few_channels(context: Context, derivation: Derivation, index: int) -> bool:
    stage = stage_at(derivation, index)
    tensor, lanes = stage.tensor, context.machine.lanes_of(stage.tensor.dtype)
    if not stage.is_untouched or stage.name in derivation.caches or not needs_tiling(context, derivation, index):
        return False
    if not tensor.reduce_axes or len(tensor.axes) < 2 or 2 * tensor.axes[-1].extent > lanes:
        return False
    last = tensor.reduce_axes[-1]
    forms = [Simplifier({}).affine(load.indices[-1]) for load in tensor.loads()]
    in_order = any(form.terms == {Var(last.name): 1} for form in forms)
    return in_order and last.extent % lanes == 0 and bool(_heights(stage))


def _heights(stage: Stage) -> list[int]:
    rows, channels = stage.tensor.axes[-2].extent, stage.tensor.axes[-1].extent
    return [height for height in HEIGHTS if height <= rows and height * channels in ACCUMULATORS]


def _over_reduction(context: Context, derivation: Derivation, index: int) -> Next:
    stage = stage_at(derivation, index)
    partial = f"{stage.name}.rf"
    results: list[tuple[Derivation, int]] = []
    for height in _heights(stage):
        steps = over_reduction(stage, height, context.machine.lanes_of(stage.tensor.dtype))
        found = derivation.then(f"lanes-over-reduction-{height}", steps)
        results.append((found, index_of(found, partial) - 1))
    return results


def over_reduction(stage: Stage, height: int, lanes: int) -> tuple[Step, ...]:
    """The steps that give the lanes to the last reduction axis, with tiles of `height` along the last axis but one.

    >>> from ansor_mini.schedule import State, replay
    >>> from ansor_mini.schedule_examples import matmul
    >>> dag = matmul(16, 3, 64)
    >>> print(replay(dag, over_reduction(State.initial(dag)["C"], 4, 16)))
    placeholders: A, B
    for i.0 in range(4):
        for k.0 in range(4):
            for i in range(4):
                for j in range(3):
                    for k.1 in vectorize(16):
                        C.rf += ...
        for i.1 in range(4):
            for j in range(3):
                for k.1 in range(16):
                    C += ...
    """
    name, spatial, reduce = stage.name, stage.names(SPATIAL), stage.names(REDUCE)
    *before, rows, channels = spatial
    classes = hints.names(stage.tensor, hints.NO_SPLIT_AT_OUTER)
    outer = (*(axis for axis in before if axis not in classes), *(axis for axis in before if axis in classes))
    last = reduce[-1]
    lane, partial = f"{last}.1", f"{name}.rf"
    return (
        Split(name, last, (lanes,)),
        Rfactor(name, lane, len(spatial)),
        Split(name, rows, (height,)),
        Reorder(name, (*outer, f"{rows}.0", f"{rows}.1", channels, lane)),
        Reorder(partial, (*outer, *reduce[:-1], f"{last}.0", rows, channels, lane)),
        Vectorize(partial, lane),
        ComputeAt(partial, name, f"{rows}.0"),
    )


LANES_OVER_REDUCTION = Rule("lanes-over-reduction", when(_few_channels, APPLY), _over_reduction)
