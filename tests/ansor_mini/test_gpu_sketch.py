"""Sketches for GPUs: how many, what they bind and copy, which programs there is no room for, and their features."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from ansor_mini.annotation import sample
from ansor_mini.feasibility import Feasibility
from ansor_mini.feature_arrays import raw_population_features
from ansor_mini.feature_names import POSITION
from ansor_mini.features import statement_features
from ansor_mini.gpu_rules.limits import LIMITS
from ansor_mini.gpu_rules.mutations import GPU_MUTATIONS
from ansor_mini.gpu_rules.rules import EXTENDED_GPU_RULES, GPU_RULES
from ansor_mini.gpu_steps import Bind, CacheReadShared, FollowFusedSplit
from ansor_mini.lowering import lower
from ansor_mini.population_annotation import sample_population
from ansor_mini.population_mutations import mutate_rows
from ansor_mini.population_space import Space
from ansor_mini.schedule import ScheduleError, replay
from ansor_mini.schedule_examples import matmul
from ansor_mini.sketch import Sketch, derive
from ansor_mini.steps import ComputeAt, Split, holes, parse_step
from ansor_mini.workloads import parse_workload
from runtime.gpu import gpu
from runtime.interpreter import interpret
from runtime.loop_nest import BLOCK, THREAD, VTHREAD, Allocate, For, LoopNest, walk_stmts
from tests.benchmarks.sketch_counts import CASES, cuda_sketches

H100 = gpu("h100")
WORKLOADS = ("matmul:64,64,64", "C2D:14,14,16,16,3,1,1", "softmax:4,256", "matmul:8,8,1024", "winograd:8,8,8,8,1,4")


@pytest.mark.parametrize(
    ("name", "workload", "expected"), [(n, w, c) for n, w, _, c in CASES], ids=[c[0] for c in CASES]
)
def test_sketch_counts_are_the_published_ones(name: str, workload: str, expected: int) -> None:
    assert len(cuda_sketches(workload)) == expected


def tiled(**values: tuple[int, ...]) -> LoopNest:
    """A matmul of 128 x 128 x 32 with tiles of i, j and k."""
    sketch = derive(parse_workload("matmul:128,128,32"), GPU_RULES, H100)[0]
    annotation = {hole.name: hole.values[0] for hole in sketch.holes}
    return sketch.program(annotation | {f"C.local.{axis}": value for axis, value in values.items()}).lower()


def extents(nest: LoopNest, kind: str) -> list[int]:
    """Extents of the loops of a kind, in program order."""
    return [stmt.extent for stmt in walk_stmts(nest.body) if isinstance(stmt, For) and stmt.kind == kind]


def test_a_tiled_matmul_has_blocks_virtual_threads_and_threads() -> None:
    nest = tiled(i=(2, 8, 1, 4), j=(1, 16, 2, 2), k=(4, 2))
    assert extents(nest, BLOCK) == [4] and extents(nest, VTHREAD) == [2]
    assert extents(nest, THREAD) == [128, 128, 128]  # those of the tile, and two copies that as many threads fetch


def test_copies_hold_what_all_threads_of_a_block_read() -> None:
    nest = tiled(i=(2, 8, 1, 4), j=(1, 16, 2, 2), k=(4, 2))
    shared = {s.buffer.name: s.buffer.shape for s in walk_stmts(nest.body)
              if isinstance(s, Allocate) and s.buffer.scope == "shared"}  # fmt: skip
    assert shared == {"A_C_shared": (2 * 8 * 4, 8), "B_C_shared": (8, 16 * 2 * 2)}


def test_a_turned_copy_is_padded_and_means_the_same() -> None:
    dag, rng = matmul(8, 8, 8), np.random.default_rng(0)
    steps = [
        CacheReadShared("C", "A", (1, 0), 4),
        Bind("C", "i", "thread"),
        Split("C", "k", (4,)),
        ComputeAt("A.C.shared", "C", "k.0"),
    ]
    nest = lower(replay(dag, steps))
    copies = [s.buffer for s in walk_stmts(nest.body) if isinstance(s, Allocate) and s.buffer.scope == "shared"]
    assert [copy.shape for copy in copies] == [(4, 8 + 4)]
    inputs = [rng.integers(-3, 4, size=(8, 8)).astype("float32") for _ in range(2)]
    np.testing.assert_array_equal(interpret(nest, *inputs)[0], inputs[0] @ inputs[1])


def test_softmax_becomes_one_kernel_whose_threads_share_both_reductions() -> None:
    whole = [
        s
        for s in derive(parse_workload("softmax:4,256"), GPU_RULES, H100)
        if s.rules.count("cross-thread-reduction") == 2
    ]
    assert len(whole) == 1
    nest = sample(whole[0], np.random.default_rng(0), H100).lower()
    assert extents(nest, BLOCK) == [4] and len(extents(nest, THREAD)) == 3
    assert not any(isinstance(s, Allocate) and s.buffer.scope == "global" for s in walk_stmts(nest.body))


@pytest.mark.parametrize("workload", WORKLOADS)
def test_programs_are_rejected_one_by_one_as_they_are_in_populations(workload: str) -> None:
    for sketch in derive(parse_workload(workload), EXTENDED_GPU_RULES, H100):
        drawn = sample_population(sketch, 60, np.random.default_rng(1), H100)
        batched, single = Feasibility(), Feasibility()
        expected = [single(program) for program in drawn.programs()]
        assert batched.of_population(drawn).tolist() == expected
        assert set(batched.rejections) <= {reason for reason, _ in LIMITS}
        assert batched.rejections.total() == single.rejections.total() == expected.count(False)


def test_each_limit_rejects_its_program() -> None:
    sketch = derive(parse_workload("matmul:4096,4096,4096"), GPU_RULES, H100)[0]
    quiet = {hole.name: hole.values[0] for hole in sketch.holes}
    good = {"C.local.i": (1, 16, 1, 4), "C.local.j": (1, 16, 1, 4), "C.local.k": (8, 1)}
    bad = {
        "more threads in a block than the GPU has": {"C.local.i": (1, 64, 1, 1), "C.local.j": (1, 64, 1, 1)},
        "more virtual threads than the GPU model allows": {"C.local.i": (16, 16, 1, 1)},
        "more shared memory in a block than the GPU has": {"C.local.k": (256, 1)},
        "fewer threads in a block than a warp has": {"C.local.i": (1, 1, 1, 4)},
        "more registers in a thread than the GPU has": {"C.local.i": (1, 16, 1, 64)},
        "a vectorised copy tears rows apart": {"C.local.k": (2, 1), "A.C.shared.vector": (4,)},
    }
    for reason, values in bad.items():
        feasible = Feasibility()
        assert feasible(sketch.program(quiet | good))
        assert not feasible(sketch.program(quiet | good | values))
        assert feasible.rejections == Counter([reason])


@pytest.mark.parametrize("workload", WORKLOADS[:3])
def test_features_of_arrays_are_those_of_single_programs(workload: str) -> None:
    for sketch in derive(parse_workload(workload), EXTENDED_GPU_RULES, H100):
        drawn = sample_population(sketch, 40, np.random.default_rng(2), H100)
        drawn = drawn.take(Feasibility().of_population(drawn))
        batch = raw_population_features(drawn, H100, fewest=1)
        for number in range(min(4, len(drawn))):
            for name, row in statement_features(drawn.program(number), H100).items():
                np.testing.assert_allclose(batch.values[batch.stages.index(name), :, number], row, rtol=1e-6)


def test_features_know_blocks_and_threads() -> None:
    sketch = derive(parse_workload("matmul:128,128,32"), GPU_RULES, H100)[0]
    values = {hole.name: hole.values[0] for hole in sketch.holes}
    values |= {"C.local.i": (2, 8, 1, 4), "C.local.j": (1, 16, 2, 2), "C.local.k": (4, 2)}
    rows = statement_features(sketch.program(values), H100)
    names = ("is_gpu", "blockIdx_x", "threadIdx_x", "vthread")
    assert [rows["C.local"][POSITION[name]] for name in names] == [1, 4, 128, 2]
    assert [rows["A.C.shared"][POSITION[name]] for name in names] == [1, 4, 128, 1]


def test_mutations_change_tiles_and_unroll_limits_alone() -> None:
    sketch: Sketch = derive(parse_workload("matmul:64,64,64"), GPU_RULES, H100)[0]
    drawn, rng = sample_population(sketch, 300, np.random.default_rng(3), H100), np.random.default_rng(4)
    children, changed = mutate_rows(Space(sketch), drawn.choices, rng, 1, GPU_MUTATIONS)
    different = children != drawn.choices
    assert changed.mean() > 0.95 and (different.sum(axis=1) <= 1).all()
    unroll = [hole.kind == "unroll" for hole in sketch.holes]
    assert 0.04 < different[:, unroll].any(axis=1).mean() < 0.2


def test_steps_read_back_and_refuse_what_is_not_there() -> None:
    for step in (
        Bind("C", "i", "block"),
        CacheReadShared("C", "A", (1, 0), 4),
        FollowFusedSplit("C", "i", (("D", "i"),), 1),
    ):
        assert parse_step(repr(step)) == step and not holes(step)
    dag = matmul(8, 8, 8)
    for step, reason in (
        (Bind("C", "i", "warp"), "kind must be"),
        (CacheReadShared("C", "X"), "does not read X"),
        (CacheReadShared("C", "A", (0, 0)), "order must name"),
        (FollowFusedSplit("C", "i", (("C", "j"),), 1), "has no split"),
    ):
        with pytest.raises(ScheduleError, match=reason):
            replay(dag, [step])


def test_a_long_reduction_is_shared_by_blocks_and_then_by_threads() -> None:
    dag = parse_workload("NRM:128,128")
    assert len(derive(dag, GPU_RULES, H100)) == 2
    shared = [s for s in derive(dag, EXTENDED_GPU_RULES, H100) if "reduction-over-blocks" in s.rules]
    assert len(shared) == 1
    nest = sample(shared[0], np.random.default_rng(0), H100).lower()
    blocks = extents(nest, BLOCK)
    assert len(blocks) == 1 and blocks[0] >= 64 and len(extents(nest, THREAD)) == 2
    x = np.random.default_rng(1).integers(-2, 3, size=(1, 128, 128)).astype("float32")
    np.testing.assert_allclose(interpret(nest, x)[0], np.sqrt((x**2).sum(axis=(1, 2))))
