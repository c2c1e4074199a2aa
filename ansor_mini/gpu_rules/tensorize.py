"""The sketch rule `tensorize`: sums of products on Tensor Cores.

Beyond the paper, whose rules know no special instructions (§9). The rule looks at what a stage computes, not at what it
is called: every sum over a product of two operands that has rows and columns is a matrix product (`contraction`), so
matrix products in any order, batches of them and convolutions all become sketches with one hole, the tiling.

`GPU_RULES_WITH_TENSOR_CORES` is the list to derive with. Products of float16 and bfloat16 operands are exact, and
summed up in float32. Operands of float32 are left alone by default, since a Tensor Core rounds them to tf32 (ten bits
of fraction); `GPU_RULES_WITH_TF32` lets it.
"""

from __future__ import annotations

from collections.abc import Iterator

from ansor_mini.gpu_rules.contraction import Contraction, future_contraction
from ansor_mini.gpu_rules.rules import GPU_RULES
from ansor_mini.gpu_rules.tiling import fusible_consumer
from ansor_mini.holes import TILE, HoleSpec
from ansor_mini.rule_types import Context, Next, Rule, stage_at, when
from ansor_mini.schedule import ROOT
from ansor_mini.sketch import Derivation, Program, Sketch
from ansor_mini.steps import Hole
from ansor_mini.tensor_steps import TENSOR_TILINGS, Tensorize
from runtime.expr import NARROW_FLOATS
from runtime.gpu import Gpu

OLDEST = (8, 0)  # compute capability that has mma.sync of 16 x 8 x 16 and asynchronous copies
FRAGMENT = 16
NAME = "tensorize"


def fitting_tilings(work: Contraction, gpu: Gpu) -> tuple[int, ...]:
    """Numbers of the tilings whose blocks the GPU can run, and whose tiles are not mostly padding."""
    fitting = [
        number
        for number, tiling in enumerate(TENSOR_TILINGS)
        if tiling.shared_bytes(work.dtype) <= gpu.shared_per_block_optin and tiling.threads <= gpu.threads_per_block
    ]
    rows, columns = work.rows.extent, work.columns.extent
    tight = [
        number
        for number in fitting
        if TENSOR_TILINGS[number].m < rows + FRAGMENT and TENSOR_TILINGS[number].n < columns + FRAGMENT
    ]
    return tuple(tight or fitting[-1:])


def _product(context: Context, derivation: Derivation, index: int, dtypes: tuple[str, ...]) -> Contraction | None:
    """The matrix product of a stage that is still plain, on a GPU that can take it."""
    stage = stage_at(derivation, index)
    gpu = context.machine
    if not isinstance(gpu, Gpu) or gpu.capability < OLDEST or not stage.is_untouched or stage.location != ROOT:
        return None
    if stage.name in derivation.caches:
        return None
    work = future_contraction(derivation.state, stage.name)
    return work if work is not None and work.dtype in dtypes else None


def _tensorize(context: Context, derivation: Derivation, index: int) -> Next:
    """One step with the tiling as its hole, fused with a consumer that reads element by element."""
    stage = stage_at(derivation, index)
    work = future_contraction(derivation.state, stage.name)
    assert work is not None and isinstance(context.machine, Gpu)
    consumer = fusible_consumer(derivation, index) or ""
    choices = fitting_tilings(work, context.machine)
    hole = HoleSpec(f"{stage.name}.tensor", stage.name, TILE, len(TENSOR_TILINGS), 2, choices=choices)
    # a Hole stands for the tuple that fills it
    step = Tensorize(stage.name, Hole(hole.name), consumer)  # type: ignore[arg-type]
    return [(derivation.then(NAME, [step], [hole]), index - 1)]


def tensorize_rule(name: str, dtypes: tuple[str, ...]) -> Rule:
    """The rule for operands of some dtypes; the stage is also left to the rules behind it."""

    def has_product(context: Context, derivation: Derivation, index: int) -> bool:
        return _product(context, derivation, index, dtypes) is not None

    return Rule(name, when(has_product), _tensorize)


TENSORIZE = tensorize_rule(NAME, NARROW_FLOATS)
TENSORIZE_TF32 = tensorize_rule("tensorize-tf32", (*NARROW_FLOATS, "float32"))
GPU_RULES_WITH_TENSOR_CORES = (TENSORIZE, *GPU_RULES)
GPU_RULES_WITH_TF32 = (TENSORIZE_TF32, *GPU_RULES)


def is_tensorized(sketch: Sketch) -> bool:
    """Whether a sketch uses Tensor Cores."""
    return any(isinstance(step, Tensorize) for step in sketch.steps)


def tensor_programs(sketch: Sketch) -> Iterator[Program]:
    """Every program of a tensorised sketch whose only holes are tilings: few enough to measure them all."""
    (hole,) = sketch.holes
    for value in hole.values:
        yield sketch.program({hole.name: value})
