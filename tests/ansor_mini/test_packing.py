"""Packed operands: which are packed, and that every program with a packed panel computes the same."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, note, settings
from hypothesis import strategies as st

from ansor_mini.annotation import sample
from ansor_mini.cache_read import CacheRead
from ansor_mini.compute_dag import ComputeDAG
from ansor_mini.cpu_rules.packing import operands_to_pack, pack_operands
from ansor_mini.schedule import ScheduleError, State, replay
from ansor_mini.schedule_examples import matmul
from ansor_mini.sketch import Sketch, derive
from ansor_mini.sketch_rules import CPU_RULES
from ansor_mini.steps import Split, parse_step
from ansor_mini.tensor_expression import compute, placeholder
from ansor_mini.workloads import parse_workload
from runtime.emit_c import prepare
from runtime.interpreter import interpret
from runtime.loop_nest import Allocate, walk_stmts
from runtime.machine import detect
from runtime.verify_nest import verify

SMALL = matmul(6, 40, 3)
B = placeholder((3, 40), "B")
C = compute((3, 40), lambda i, j: B[i, j] + 1.0, "C")
SHARED = ComputeDAG([compute((3, 40), lambda i, j: B[i, j] * C[i, j], "D")])
RULES = (pack_operands(row_bytes=160), *CPU_RULES)


def packed(sketches: tuple[Sketch, ...]) -> list[Sketch]:
    return [sketch for sketch in sketches if "pack-operand" in sketch.rules]


@pytest.mark.parametrize(
    ("workload", "constants", "expected"),
    [
        ("matmul:1024,1024,1024", (), ["B"]),
        ("matmul:1024,1024,1024", ("B",), []),
        ("matmul:512,512,512", (), ["B"]),
        ("matmul:512,32,512", (), []),
        ("matmul:1024,1024,1024 batch=2", (), ["B"]),
    ],
)
def test_operands_with_rows_far_apart_are_packed(
    workload: str, constants: tuple[str, ...], expected: list[str]
) -> None:
    name, _, batch = workload.partition(" batch=")
    state = State.initial(parse_workload(name, batch=int(batch or 1)))
    assert operands_to_pack(state["C"], state.dag.inputs, constants) == expected


def test_the_other_sketches_stay() -> None:
    with_rule = derive(SMALL, RULES)
    assert [s.key for s in with_rule if s not in packed(with_rule)] == [s.key for s in derive(SMALL)]
    assert len(packed(with_rule)) == 1


def test_a_panel_is_as_wide_as_the_tile_and_as_long_as_the_reduction() -> None:
    (sketch,) = packed(derive(SMALL, RULES))
    annotation = {hole.name: hole.values[0] for hole in sketch.holes}
    annotation |= {"C.i": (1, 1, 2), "C.j": (1, 1, 16)}
    nest = sketch.program(annotation).lower()
    (panel,) = [stmt.buffer for stmt in walk_stmts(nest.body) if isinstance(stmt, Allocate)]
    assert (panel.name, panel.shape, panel.scope) == ("B_pack", (3, 16), "local")


@settings(max_examples=25)
@given(st.integers(0, 2**32 - 1))
def test_programs_with_a_panel_compute_the_same(seed: int) -> None:
    rng = np.random.default_rng(seed)
    (sketch,) = packed(derive(SMALL, RULES))
    program = sample(sketch, rng, detect())
    note(str(program))
    inputs = [rng.integers(-3, 4, tensor.shape).astype(np.float32) for tensor in SMALL.inputs]
    for nest in (program.lower(), prepare(program.lower(), vector_bytes=64)):
        verify(nest)
        np.testing.assert_array_equal(interpret(nest, *inputs)[0], inputs[0] @ inputs[1])


def test_steps_are_read_back_from_text() -> None:
    step = CacheRead("C", "B")
    assert parse_step(repr(step)) == step


def test_wrong_copies_are_refused() -> None:
    with pytest.raises(ScheduleError, match="does not read an input X"):
        replay(SMALL, [CacheRead("C", "X")])
    with pytest.raises(ScheduleError, match="already has a copy"):
        replay(SHARED, [CacheRead("C", "B"), CacheRead("D", "B")])
    with pytest.raises(ScheduleError, match="must not be scheduled before"):
        replay(SMALL, [Split("C", "i", (2,)), CacheRead("C", "B")])
