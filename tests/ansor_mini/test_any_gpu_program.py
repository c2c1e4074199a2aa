"""Whatever the search draws for a GPU, it computes what was declared: any sketch, program or mutation of any DAG.

Data are small integers, so results are compared with `==`: those of the interpreter, for which blocks and threads are
plain loops, and in the slow tests those of the CUDA text run on the CPU under all checks, with NumPy's.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given, note, settings
from hypothesis import strategies as st

from ansor_mini.annotation import sample
from ansor_mini.evolution import mutate
from ansor_mini.feasibility import Feasibility
from ansor_mini.gpu_rules.mutations import GPU_MUTATIONS, PLAIN_GPU_MUTATIONS
from ansor_mini.gpu_rules.rules import EXTENDED_GPU_RULES, GPU_RULES
from ansor_mini.population_annotation import sample_population
from ansor_mini.population_mutations import mutate_rows
from ansor_mini.population_space import Space
from ansor_mini.sketch import Program, Sketch, derive
from runtime.cuda_on_cpu import run_on_cpu
from runtime.emit_cuda import emit_cuda
from runtime.gpu import Gpu
from runtime.interpreter import interpret
from runtime.loop_nest import For, Stmt, Store, sub_stmts
from runtime.verify_nest import verify
from tests.ansor_mini.test_any_program import any_dag
from tests.strategies.dags import small_inputs

RULES = {"published": GPU_RULES, "extended": EXTENDED_GPU_RULES}
# Warps of 4 and of 32 threads: what fills a warp of a small tensor, and what real ones do.
SMALL_GPU = Gpu("a small GPU", multiprocessors=2, warp=4, threads_per_block=64, max_vthread=4)
GPUS = (SMALL_GPU, Gpu("a GPU"))
MOST_STORES = 6_000  # a third of a second of interpretation


@dataclass(frozen=True)
class Origin:
    """What programs are drawn from."""

    sketch: Sketch
    seed: int

    def programs(self, count: int) -> list[Program]:
        """Feasible programs: drawn one by one, as arrays, and their mutations."""
        rng, sketch = np.random.default_rng(self.seed), self.sketch
        assert sketch.gpu is not None
        feasible = Feasibility()
        drawn = sample_population(sketch, count, rng, sketch.gpu)
        children, changed = mutate_rows(Space(sketch), drawn.choices, rng, 1, GPU_MUTATIONS)
        found = drawn.programs() + Space(sketch).population(children[changed]).programs()
        found += [sample(sketch, rng, sketch.gpu) for _ in range(2)]
        mutated = [mutate(program, rng, 1, PLAIN_GPU_MUTATIONS) for program in found[:2]]
        found += [program for program in mutated if program is not None]
        return [program for program in dict.fromkeys(found) if feasible(program)]

    def __repr__(self) -> str:
        return f"{self.sketch.dag}\n{self.sketch}\nseed {self.seed}, for {self.sketch.gpu}"


@st.composite
def origins(draw: st.DrawFn, gpus: tuple[Gpu, ...] = GPUS) -> Origin:
    """Any sketch of any DAG for a GPU; some tensors have a user's hints."""
    dag = draw(any_dag())
    rules = RULES[draw(st.sampled_from(tuple(RULES)))]
    sketch = draw(st.sampled_from(derive(dag, rules, draw(st.sampled_from(gpus)))))
    return Origin(sketch, draw(st.integers(0, 2**32 - 1)))


def store_count(stmt: Stmt, times: int = 1) -> int:
    """How many stores the interpreter makes; every thread of a block makes all copies of the block."""
    if isinstance(stmt, Store):
        return times
    inner = times * stmt.extent if isinstance(stmt, For) else times
    return sum(store_count(part, inner) for part in sub_stmts(stmt))


def check_meaning(origin: Origin, count: int) -> None:
    """Programs of the origin are legal nests that give what NumPy gives."""
    inputs = small_inputs(origin.sketch.dag, origin.seed % 1000)
    expected = origin.sketch.dag.evaluate(*inputs)
    for program in origin.programs(count)[:count]:
        nest = program.lower()
        note(f"{program}\n{nest}")
        verify(nest)
        if store_count(nest.body) > MOST_STORES:
            continue
        for actual, wanted in zip(interpret(nest, *inputs), expected, strict=True):
            np.testing.assert_array_equal(actual, wanted)


@given(origins((SMALL_GPU,)))
@settings(max_examples=12, deadline=None)
def test_gpu_programs_compute_what_was_declared(origin: Origin) -> None:
    check_meaning(origin, 2)


@pytest.mark.slow
@given(origins())
@settings(max_examples=120, deadline=None)
def test_gpu_programs_compute_what_was_declared_at_length(origin: Origin) -> None:
    check_meaning(origin, 4)


@pytest.mark.slow
@pytest.mark.cc
@given(origins())
@settings(max_examples=50, deadline=None)
def test_cuda_text_computes_what_was_declared_without_a_report(origin: Origin) -> None:
    inputs = small_inputs(origin.sketch.dag, origin.seed % 1000)
    expected = origin.sketch.dag.evaluate(*inputs)
    for program in origin.programs(2)[:2]:
        nest = program.lower()
        module = emit_cuda(nest)
        note(f"{program}\n{nest}\n{module.text}")
        outputs, reports = run_on_cpu(module, inputs)
        assert not reports, reports[0]
        for actual, wanted in zip(outputs, expected, strict=True):
            np.testing.assert_array_equal(actual, wanted)
