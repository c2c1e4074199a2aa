"""Whatever the search draws, it computes what was declared: any sketch, annotation, mutation or crossover of any DAG.

Data are small integers, so that every order of summation gives the same bits and results are compared with `==`: those
of the interpreter, and in the slow tests those of compiled C, with what NumPy gives for the declaration.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pytest
from hypothesis import given, note, settings
from hypothesis import strategies as st

from ansor_mini import sketch_hints as hints
from ansor_mini.admission import not_worth_building
from ansor_mini.annotation import register_tiles, sample, uniform_tiles
from ansor_mini.compute_dag import ComputeDAG
from ansor_mini.cpu_rules.extended import extended_rules
from ansor_mini.evolution import MUTATIONS, crossover
from ansor_mini.feasibility import Feasibility
from ansor_mini.layout_rewrite import pack_case
from ansor_mini.population import Population
from ansor_mini.population_annotation import sample_population
from ansor_mini.population_mutations import POPULATION_MUTATIONS, cross_rows
from ansor_mini.population_space import Space
from ansor_mini.rule_types import Rule
from ansor_mini.sketch import Program, Sketch, derive
from ansor_mini.sketch_rules import CPU_RULES, PAPER_RULES
from ansor_mini.tensor_expression import Tensor
from runtime.compile_c import build_library, load_kernel
from runtime.emit_c import emit_library
from runtime.loop_nest import LoopNest
from runtime.measure_case import MeasureCase
from tests.strategies.dags import dags, small_inputs
from tests.strategies.programs import SMALL_MACHINE, SMALL_WORKLOADS, check_nest

RULES: dict[str, tuple[Rule, ...]] = {"extended": extended_rules(), "published": CPU_RULES, "paper": PAPER_RULES}
THREADS = (1, 2)


@dataclass(frozen=True)
class Origin:
    """What programs are drawn from: a sketch, a seed, threads to schedule for, and the inputs that are weights."""

    sketch: Sketch
    seed: int
    threads: int
    constants: frozenset[str]

    @property
    def rng(self) -> np.random.Generator:
        """The same draws each time."""
        return np.random.default_rng(self.seed)

    def population(self, count: int) -> Population:
        """Programs of the sketch that can be replayed, at most `count`."""
        drawn = sample_population(self.sketch, count, self.rng, SMALL_MACHINE, threads=self.threads)
        return drawn.take(Feasibility().of_population(drawn))

    def __repr__(self) -> str:
        weights = ", ".join(sorted(self.constants)) or "none"
        return f"{self.sketch.dag}\n{self.sketch}\nseed {self.seed}, {self.threads} threads, weights: {weights}"


small_workloads = st.sampled_from(tuple(SMALL_WORKLOADS)).map(lambda name: SMALL_WORKLOADS[name]())
plain_dags = st.one_of(dags(most=5), dags(most=3), dags(most=5), small_workloads)


def hints_for(draw: st.DrawFn, op: Tensor) -> dict[str, object]:
    """Some hints of a user for one tensor."""
    axes = [axis.name for axis in (*op.axes, *op.reduce_axes)]
    found: dict[str, tuple[str, ...]] = {}
    for hint in hints.AXIS_HINTS:
        if axes and draw(st.integers(0, 3)) == 0:
            named = draw(st.sets(st.sampled_from(axes), min_size=1))
            if hint == hints.SIMPLIFY_CONST_INDICES:
                named |= {axis.name for axis in op.reduce_axes}
            if hint == hints.NO_SPLIT_AT_OUTER:
                named -= set(found.get(hints.NO_SPLIT_AT_INNER, ()))
            found[hint] = tuple(sorted(named))
    flags = [hint for hint in hints.FLAG_HINTS if hint != hints.ALWAYS_INLINE or not op.combiner]
    return found | {hint: True for hint in flags if draw(st.integers(0, 3)) == 0}


@st.composite
def any_dag(draw: st.DrawFn) -> ComputeDAG:
    """A random DAG or a small workload; in one of four, tensors have hints."""
    dag = draw(plain_dags)
    if draw(st.integers(0, 3)) == 0:
        for op in dag.ops:
            dag = dag.replace(op.name, replace(op, attributes={**op.attributes, **hints_for(draw, op)}))
    return dag


@st.composite
def origins(draw: st.DrawFn) -> Origin:
    """Any sketch of any DAG."""
    dag = draw(any_dag())
    constants = draw(st.sets(st.sampled_from([tensor.name for tensor in dag.inputs])))
    rules = RULES[draw(st.sampled_from(tuple(RULES)))]
    structure = draw(st.sampled_from(("SSRSRS", "SRS", "SSRS")))
    sketch = draw(st.sampled_from(derive(dag, rules, SMALL_MACHINE, structure=structure)))
    return Origin(sketch, draw(st.integers(0, 2**32 - 1)), draw(st.sampled_from(THREADS)), frozenset(constants))


def case_of(origin: Origin) -> MeasureCase:
    """Small integers, and what NumPy makes of them."""
    inputs = small_inputs(origin.sketch.dag, origin.seed % 1000)
    return MeasureCase(inputs, origin.sketch.dag.evaluate(*inputs), exact=True)


def nests_of(origin: Origin, programs: Iterable[Program]) -> list[tuple[LoopNest, MeasureCase]]:
    """The nests of those programs that can be replayed, as they are and with the weights in their own layouts."""
    case, feasible = case_of(origin), Feasibility()
    pairs: list[tuple[LoopNest, MeasureCase]] = []
    for program in dict.fromkeys(programs):
        assert all(program.annotation[hole.name] in hole.values for hole in origin.sketch.holes), str(program)
        if feasible(program):
            nest = program.lower()
            packed = pack_case(nest, case, origin.constants)
            pairs += [(nest, case)] if packed[0] is nest else [(nest, case), packed]
    return pairs


def check(origin: Origin, programs: Iterable[Program]) -> None:
    """Each program that can be replayed is legal, and gives what NumPy gives."""
    for nest, case in nests_of(origin, programs):
        note(str(nest))
        check_nest(nest, case)


def annotations(origin: Origin) -> list[Program]:
    """Programs drawn one at a time with either tile policy, as arrays, and with any value in every hole."""
    rng, space = origin.rng, Space(origin.sketch)
    plain = [
        sample(origin.sketch, rng, SMALL_MACHINE, threads=origin.threads, tiles=tiles)
        for tiles in (uniform_tiles, register_tiles)
    ]
    wild = space.population(rng.integers(space.sizes, size=(3, len(space.sizes))))
    return [*plain, *origin.population(1).programs(), *wild.programs()]


def mutants(origin: Origin, number: int, parents: Population) -> list[Program]:
    """Children by one mutation: one program at a time, and as arrays."""
    plain, batched = MUTATIONS[number][2], POPULATION_MUTATIONS[number][2]
    children = [plain(parent, origin.rng, max(THREADS)) for parent in parents.programs()]
    choices, changed = batched(Space(origin.sketch), parents.choices, origin.rng, max(THREADS))
    return [*filter(None, children), *Population(origin.sketch, choices[changed]).programs()]


def crossings(origin: Origin, parents: Population) -> list[Program]:
    """Children of two parents each: one program at a time, and as arrays."""
    rng, space, mates = origin.rng, Space(origin.sketch), parents.take(np.arange(len(parents))[::-1])
    children = [crossover(*pair, rng) for pair in zip(parents.programs(), mates.programs())]
    rows = cross_rows(space, parents.choices, mates.choices, rng, Feasibility())
    return [*children, *space.population(rows).programs()]


@given(origins())
def test_any_annotation_of_any_sketch(origin: Origin) -> None:
    check(origin, annotations(origin))


@pytest.mark.parametrize("number", range(len(MUTATIONS)), ids=[name for name, _, _ in MUTATIONS])
@given(origins())
def test_any_mutation(number: int, origin: Origin) -> None:
    check(origin, mutants(origin, number, origin.population(2)))


@given(origins())
def test_any_crossover(origin: Origin) -> None:
    check(origin, crossings(origin, origin.population(2)))


def descendants(origin: Origin) -> list[Program]:
    """Some of everything."""
    parents = origin.population(4)
    two = parents.take(np.arange(len(parents))[:2])
    mutated = [child for number in range(len(MUTATIONS)) for child in mutants(origin, number, two)]
    return [*annotations(origin), *mutated, *crossings(origin, parents)]


def some_descendants(origin: Origin, count: int) -> list[tuple[LoopNest, MeasureCase]]:
    """The nests of a few of them that are worth building."""
    programs = descendants(origin)
    shuffled = [programs[i] for i in origin.rng.permutation(len(programs))]
    pairs = nests_of(origin, shuffled[: 2 * count])
    return [pair for pair in pairs if not not_worth_building(pair[0], threads=max(THREADS))][:count]


def compiled_results(
    nests: Sequence[LoopNest], cases: Sequence[MeasureCase], threads: int, vector_bytes: int
) -> list[list[np.ndarray]]:
    """The outputs of all nests as compiled C; the compiler is called once."""
    library = build_library(emit_library(nests, threads=threads, vector_bytes=vector_bytes))
    results = []
    for nest, case in zip(nests, cases):
        outputs = [np.full(buffer.shape, 77, buffer.dtype) for buffer in nest.outputs]
        load_kernel(library, nest)(*case.inputs, *outputs)
        results.append(outputs)
    return results


@pytest.mark.cc
@pytest.mark.slow
@settings(max_examples=settings().max_examples // 4)
@given(st.lists(origins(), min_size=4, max_size=4), st.sampled_from([16, 32, 64]))
def test_any_program_as_compiled_code(four: list[Origin], vector_bytes: int) -> None:
    pairs = [pair for origin in four for pair in some_descendants(origin, 4)]
    nests = [LoopNest(f"kernel{n}", nest.inputs, nest.outputs, nest.body) for n, (nest, _) in enumerate(pairs)]
    cases = [case for _, case in pairs]
    for threads in THREADS:
        for nest, case, outputs in zip(nests, cases, compiled_results(nests, cases, threads, vector_bytes)):
            for actual, expected in zip(outputs, case.expected, strict=True):
                np.testing.assert_array_equal(actual, expected, err_msg=f"{threads} threads\n{nest}")
