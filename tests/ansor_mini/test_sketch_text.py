"""A sketch is drawn with the names of its tiles, and what is drawn holds for every program."""

from __future__ import annotations

import re

import numpy as np
import pytest

from ansor_mini.annotation import sample
from ansor_mini.bounds import infer
from ansor_mini.sketch import derive
from ansor_mini.sketch_text import show_sketch
from ansor_mini.workloads import parse_workload
from runtime.machine import detect

FUSED = """\
for i.0 in range(C.local.i[0]):
    for j.0 in range(C.local.j[0]):
        for i.1 in range(C.local.i[1]):
            for j.1 in range(C.local.j[1]):
                for k.0 in range(C.local.k[0]):
                    for i.2 in range(C.local.i[2]):
                        for j.2 in range(C.local.j[2]):
                            for k.1 in range(C.local.k[1]):
                                for i.3 in range(C.local.i[3]):
                                    for j.3 in range(C.local.j[3]):
                                        C.local += ...
        for i.1 in range(C.local.i[1:]):
            for j.1 in range(C.local.j[1:]):
                C = ..."""


def test_a_consumer_fused_at_the_first_level() -> None:
    drawn = [show_sketch(sketch) for sketch in derive(parse_workload("matmul:512,512,512"))]
    assert FUSED in drawn


@pytest.mark.parametrize("workload", ["C2D:14,14,32,32,3,1,1", "T2D:4,4,16,8,4,2,1", "softmax:64,64", "NRM:32,48"])
def test_every_extent_has_a_name(workload: str) -> None:
    for sketch in derive(parse_workload(workload)):
        drawn = show_sketch(sketch)
        assert ".." not in drawn.replace("...", ""), drawn
        for stage in sketch.stages:
            assert f"{stage.name} " in drawn or f"{stage.name}\n" in drawn or f" {stage.name}" in drawn


def test_the_names_are_true_of_another_program() -> None:
    """The drawing was made from some annotations; the product of a root stage's extents fits others, too."""
    rng, machine = np.random.default_rng(1), detect()
    sketch = derive(parse_workload("matmul:64,48,32"), structure="SSRSRS")[0]
    names = re.findall(r"for \S+ in range\((\S+)\[(\d)\]\)", show_sketch(sketch))
    assert len(names) == 10
    for _ in range(5):
        program = sample(sketch, rng, machine)
        values = program.annotation | {"C.parallel": 0, "C.vectorize": 0}
        extents = infer(sketch.program(values).schedule())["C"].extents
        for hole, part in names:
            lengths = values[hole]
            assert isinstance(lengths, tuple)
            if int(part):
                assert extents[f"{hole.removeprefix('C.')}.{part}"] == lengths[int(part) - 1]
