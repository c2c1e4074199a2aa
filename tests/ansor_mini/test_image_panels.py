"""Panels of an image that a window slides over."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, note, reject, settings
from hypothesis import strategies as st

from ansor_mini.annotation import sample
from ansor_mini.cpu_rules.image_panels import image_behind, pack_image
from ansor_mini.cpu_rules.padding import READ_THROUGH_PADDING
from ansor_mini.cpu_rules.windows import UNROLLED_WINDOWS
from ansor_mini.local_measurer import case_of
from ansor_mini.schedule import ScheduleError
from ansor_mini.sketch import derive
from ansor_mini.sketch_rules import CPU_RULES
from ansor_mini.workloads import WORKLOADS, parse_workload
from runtime.emit_c import prepare
from runtime.loop_nest import Allocate, walk_stmts
from tests.strategies.programs import SMALL_MACHINE, check_nest

RULES = (pack_image(row_bytes=32), UNROLLED_WINDOWS, READ_THROUGH_PADDING, *CPU_RULES)
SMALL = parse_workload("DEP:5,5,8,3,2,1")
PACKED = [sketch for sketch in derive(SMALL, RULES, SMALL_MACHINE) if "pack-image" in sketch.rules]


def test_the_other_sketches_stay() -> None:
    every = derive(SMALL, RULES, SMALL_MACHINE)
    assert len(PACKED) == 2
    assert [s.key for s in every if s not in PACKED] == [s.key for s in derive(SMALL, RULES[1:], SMALL_MACHINE)]


@pytest.mark.parametrize("shape", WORKLOADS["DEP"].shapes)
def test_only_pixels_that_lie_far_apart_are_packed(shape: tuple[int, ...]) -> None:
    dag = WORKLOADS["DEP"].dag(*shape)
    assert image_behind(dag, dag["pad"]) == ("X" if shape[2] >= 512 else "")


def test_a_panel_holds_the_image_without_its_padding() -> None:
    dag = parse_workload("DEP:7,7,1024,3,1,1")
    sketch = next(s for s in derive(dag, (pack_image(), *RULES[1:]), SMALL_MACHINE) if "unrolled-rows" in s.rules)
    annotation = {hole.name: hole.values[0] for hole in sketch.holes}
    annotation |= {"conv.local.c": (1, 32), "conv.local.h": (7, 1), "conv.local.w": (1, 7)}
    nest = sketch.program(annotation).lower()
    shapes = {s.buffer.name: s.buffer.shape for s in walk_stmts(nest.body) if isinstance(s, Allocate)}
    assert shapes["X_pack"] == (1, 7, 7, 32)
    assert str(nest).splitlines()[1].strip() == "for c0 in range(32):"


@settings(max_examples=25)
@given(st.integers(0, 2**32 - 1), st.sampled_from(PACKED))
def test_programs_with_a_panel_compute_the_same(seed: int, sketch) -> None:
    program = sample(sketch, np.random.default_rng(seed), SMALL_MACHINE)
    note(str(program))
    case = case_of(SMALL, np.random.default_rng(0))
    try:
        nest = program.lower()
    except ScheduleError:
        reject()
    for form in (nest, prepare(nest, vector_bytes=32)):
        check_nest(form, case)
