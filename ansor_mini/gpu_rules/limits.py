"""What a GPU has no room for, found from the extents of a program's loops before anything is compiled.

Paper: Ansor §4.3

The numbers come from bound inference, so they may be those of one program or arrays with one entry for each program of
a population. The published code checks them while it extracts features and gives such programs a score of minus
infinity; here they are rejections, counted by reason like all others.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from ansor_mini.bounds import StageBounds
from ansor_mini.feature_symbols import where
from ansor_mini.gpu_steps import SHARED
from ansor_mini.regions import Extent, maximum
from ansor_mini.schedule import At, FuseRelation, Stage, State
from ansor_mini.tensor_expression import MEMORY, row_padding
from runtime.expr import ITEM_SIZE
from runtime.gpu import Gpu
from runtime.loop_nest import THREAD, VECTORIZE, VTHREAD


@dataclass(frozen=True)
class Usage:
    """What one kernel takes.

    threads, vthreads: of a block. points: elements that the kernel writes, 0 where its loops are not tiled.
    shared: bytes of a block. registers: 4-byte words that one thread keeps. torn: whether a vectorised copy goes on
    from one row of its buffer to the next. vector: bytes of the longest vector.
    """

    threads: Extent = 1
    vthreads: Extent = 1
    points: Extent = 0
    shared: Extent = 0
    registers: Extent = 0
    torn: Extent = False
    vector: Extent = 0


Check = Callable[[Usage, Gpu], Extent]

# Name of the reason, and where it holds; an extension is one more row.
LIMITS: tuple[tuple[str, Check], ...] = (
    ("more threads in a block than the GPU has", lambda use, gpu: use.threads > gpu.threads_per_block),
    ("more virtual threads than the GPU model allows", lambda use, gpu: use.vthreads > gpu.max_vthread),
    ("more shared memory in a block than the GPU has", lambda use, gpu: use.shared > gpu.shared_per_block),
    ("vectors longer than the GPU loads", lambda use, gpu: use.vector > gpu.vector_bytes),
    # the published code's: a tiled stage of more than two warps' elements should fill a warp
    (
        "fewer threads in a block than a warp has",
        lambda use, gpu: (use.points > 2 * gpu.warp) & (use.threads < gpu.warp),
    ),
    # not in the published code: such programs compile, but spill, or load element by element
    ("more registers in a thread than the GPU has", lambda use, gpu: use.registers > gpu.registers_per_thread),
    ("a vectorised copy tears rows apart", lambda use, gpu: use.torn),
)


def usages(state: State, bounds: Mapping[str, StageBounds]) -> dict[str, Usage]:
    """What each kernel of a schedule takes, by its root stage."""
    found: dict[str, Usage] = {}
    for name, stage_bounds in bounds.items():
        root = _root(state, stage_bounds.stage)
        found[root] = _add(found.get(root, Usage()), state, stage_bounds, name == root)
    return found


def violated(state: State, bounds: Mapping[str, StageBounds], gpu: Gpu) -> dict[str, Extent]:
    """For each limit, by its reason, whether some kernel breaks it: True, False, or an array of them."""
    kernels = usages(state, bounds).values()
    result: dict[str, Extent] = {}
    for reason, check in LIMITS:
        broken: Extent = False
        for use in kernels:
            broken = broken | check(use, gpu)
        result[reason] = broken
    return result


def _root(state: State, stage: Stage) -> str:
    while isinstance(stage.location, At):
        stage = state[stage.location.stage]
    return stage.name


def _fastest(stage: Stage) -> str:
    """The axis that changes fastest in the fused loop of a copy."""
    fused = [relation.iterators for relation in stage.relations if isinstance(relation, FuseRelation)]
    return fused[0][-1] if fused else stage.tensor.axes[-1].name


def _add(use: Usage, state: State, bounds: StageBounds, is_root: bool) -> Usage:
    stage, tensor = bounds.stage, bounds.stage.tensor
    item = ITEM_SIZE[tensor.dtype]
    bound: dict[str, Extent] = {THREAD: 1, VTHREAD: 1, VECTORIZE: 1}
    for iterator in stage.iterators:
        if iterator.annotation in bound:
            bound[iterator.annotation] = bound[iterator.annotation] * bounds.extents[iterator.name]
    elements: Extent = 1
    for axis in tensor.axes[:-1]:
        elements = elements * bounds.region[axis.name].extent
    if tensor.axes:
        elements = elements * (bounds.region[tensor.axes[-1].name].extent + row_padding(tensor))
    is_shared = tensor.attributes.get(MEMORY) == SHARED
    torn, points = use.torn, use.points
    if is_shared and tensor.axes:
        torn = torn | (bounds.region[_fastest(stage)].extent % bound[VECTORIZE] != 0)
    if is_root and any(iterator.annotation == VTHREAD for iterator in stage.iterators):
        points = elements
    own = 0 if is_root or is_shared else elements * item // 4
    return Usage(
        threads=maximum(use.threads, bound[THREAD]),
        # a root stage comes last, and everything inside it is there once for each virtual thread
        vthreads=use.vthreads * bound[VTHREAD],
        points=points,
        shared=use.shared + where(is_shared, elements * item, 0),
        registers=(use.registers + own) * bound[VTHREAD],
        torn=torn,
        vector=maximum(use.vector, where(bound[VECTORIZE] > 1, bound[VECTORIZE] * item, 0)),
    )
