"""Unrolled windows, and reading through zero padding."""

from __future__ import annotations

import numpy as np
import pytest

from ansor_mini.compute_dag import ComputeDAG
from ansor_mini.cpu_rules.padding import READ_THROUGH_PADDING, skips_padding, surrounds
from ansor_mini.cpu_rules.windows import UNROLLED_WINDOWS
from ansor_mini.local_measurer import case_of
from ansor_mini.sketch import Sketch, derive
from ansor_mini.sketch_rules import CPU_RULES
from ansor_mini.tensor_expression import compute, placeholder, reduce_axis, reduce_sum
from ansor_mini.workloads import WORKLOADS
from runtime.emit_c import prepare
from runtime.expr import select
from tests.strategies.programs import SMALL_MACHINE, SMALL_WORKLOADS, check_nest, random_nests

RULES = (READ_THROUGH_PADDING, UNROLLED_WINDOWS, *CPU_RULES)


def padded_sum(*, added: float = 0.0, squared: bool = False) -> ComputeDAG:
    x, k = placeholder((6,), "X"), reduce_axis(3, "k")
    pad = compute((8,), lambda i: select((i >= 1) & (i < 7), x[i - 1], 0.0), "pad")
    read = lambda i: pad[i + k] * pad[i + k] if squared else pad[i + k] + added if added else pad[i + k]  # noqa: E731
    return ComputeDAG([compute((6,), lambda i: reduce_sum(read(i), k), "S")])


def check(sketch: Sketch, programs: int) -> int:
    """Programs of a sketch compute what was declared; how many of those that were drawn are feasible."""
    case, nests = case_of(sketch.dag, np.random.default_rng(0)), list(random_nests([sketch], programs))
    for nest in nests:
        check_nest(prepare(nest, vector_bytes=16), case)
    return len(nests)


@pytest.mark.parametrize("name", ["depthwise convolution", "convolution", "max pool", "capsule convolution"])
def test_every_sketch_computes_what_was_declared(name: str) -> None:
    assert sum(check(sketch, 1) for sketch in derive(SMALL_WORKLOADS[name](), RULES, SMALL_MACHINE))


@pytest.mark.parametrize("shape", WORKLOADS["DEP"].shapes)
def test_a_depthwise_convolution_has_two_windows_with_and_without_padding(shape: tuple[int, ...]) -> None:
    found = derive(WORKLOADS["DEP"].dag(*shape), RULES)
    assert sorted("read-through-padding" in sketch.rules for sketch in found) == [False, False, True, True]
    assert {sketch.rules[2] for sketch in found} == {"unrolled-window", "unrolled-rows"}


def test_long_reductions_have_no_window() -> None:
    dag = WORKLOADS["C2D"].dag(7, 7, 16, 16, 3, 1, 1)
    assert derive(dag, (UNROLLED_WINDOWS, *CPU_RULES)) == derive(dag, CPU_RULES)


def test_padding_is_skipped_only_where_it_adds_nothing() -> None:
    plain, added, squared = padded_sum(), padded_sum(added=1.0), padded_sum(squared=True)
    assert all(surrounds(dag["pad"]) and not surrounds(dag["S"]) for dag in (plain, added, squared))
    assert skips_padding(plain["S"], plain["pad"])
    assert skips_padding(squared["S"], squared["pad"])
    assert not skips_padding(added["S"], added["pad"])
    assert not any("read-through-padding" in sketch.rules for sketch in derive(added, RULES))
    for dag in (plain, added, squared):
        assert sum(check(sketch, 3) for sketch in derive(dag, RULES, SMALL_MACHINE))
