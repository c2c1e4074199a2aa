"""Channel-blocked convolutions are the channels-last ones over rearranged arrays, and have sketches as good."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansor_mini.annotation import sample
from ansor_mini.blocked_tensors import block_data, block_weights, unblock_data
from ansor_mini.cpu_rules.extended import extended_rules
from ansor_mini.local_measurer import case_of
from ansor_mini.sketch import Sketch, derive
from ansor_mini.workloads import WORKLOADS, parse_workload
from runtime.interpreter import interpret
from runtime.loop_nest import LoopNest
from runtime.machine import Machine
from tests.strategies.programs import SMALL_MACHINE

WIDE = Machine("wide", 2, 64, 32 << 10, 1 << 20, 16 << 20, 64)  # sixteen lanes
WITH_ALTERNATIVES = [name for name, workload in WORKLOADS.items() if workload.alternatives]
CHANNELS = st.sampled_from([1, 3, 16, 17, 24, 32, 48])


def assert_alternatives_equal(name: str, numbers: tuple[int, ...], batch: int) -> None:
    workload = WORKLOADS[name]
    plain = workload.dag(*numbers, batch=batch)
    case = case_of(plain, np.random.default_rng(0))
    for alternative in workload.alternatives:
        dag = WORKLOADS[alternative.name].dag(*numbers, batch=batch)
        by_name = {tensor.name: array for tensor, array in zip(plain.inputs, case.inputs)}
        arrays = [alternative.arrange[tensor.name](by_name[tensor.name]) for tensor in dag.inputs]
        np.testing.assert_array_equal(alternative.restore(dag.evaluate(*arrays)[0]), case.expected[0])


@given(st.integers(1, 2), CHANNELS, CHANNELS, st.integers(3, 6), st.sampled_from([1, 3]), st.integers(1, 2))
def test_convolutions_equal_the_channels_last_ones(
    batch: int, ci: int, co: int, size: int, kernel: int, stride: int
) -> None:
    assert_alternatives_equal("C2D", (size, size + 1, ci, co, kernel, stride, kernel // 2), batch)


@given(st.integers(1, 2), CHANNELS, st.integers(3, 6), st.sampled_from([1, 3]), st.integers(1, 2))
def test_depthwise_convolutions_equal_the_channels_last_ones(
    batch: int, channels: int, size: int, kernel: int, stride: int
) -> None:
    assert_alternatives_equal("DEP", (size, size + 1, channels, kernel, stride, kernel // 2), batch)


@pytest.mark.parametrize("name", WITH_ALTERNATIVES)
def test_alternatives_are_workloads_with_the_same_numbers_and_work(name: str) -> None:
    workload = WORKLOADS[name]
    for alternative in workload.alternatives:
        other = WORKLOADS[alternative.name]
        assert (other.fields, other.shapes, other.constants) == (workload.fields, workload.shapes, workload.constants)
        shape = workload.shapes[-1]
        assert other.dag(*shape).flops == workload.dag(*shape).flops
        assert set(alternative.arrange) == {tensor.name for tensor in other.dag(*shape).inputs}


@given(CHANNELS)
def test_unblocking_is_the_way_back(channels: int) -> None:
    x = np.arange(2 * 3 * 4 * channels).reshape(2, 3, 4, channels)
    np.testing.assert_array_equal(unblock_data(block_data(x)), x)


def test_weights_keep_their_place_in_the_sum() -> None:
    w = np.arange(3 * 2 * 48 * 32).reshape(3, 2, 48, 32)
    blocked = block_weights(w)
    assert blocked.shape == (2, 3, 3, 2, 16, 16)
    assert blocked[1, 2, 2, 1, 5, 7] == w[2, 1, 2 * 16 + 5, 16 + 7]


def a_nest(sketch: Sketch, block: int) -> LoopNest:
    """A program of a sketch whose tile is two rows of four positions and one block of channels."""
    annotation = sample(sketch, np.random.default_rng(0), WIDE).annotation
    for hole in sketch.holes:
        axis = hole.name.rpartition(".")[2]
        if hole.kind == "tile" and not hole.reduce:
            annotation[hole.name] = (1,) * (hole.parts - 2) + ({"h": 2, "w": 4, "c": block}.get(axis, 1),)
        elif hole.kind == "vectorize":
            annotation[hole.name] = min(1, max(hole.choices))
    return sketch.program(annotation).lower()


@pytest.mark.parametrize("workload", ["DEP_NCHW16c:8,8,64,3,1,1", "C2D_NCHW16c:8,8,64,32,3,1,1"])
def test_the_block_of_channels_is_a_vector(workload: str) -> None:
    for sketch in derive(parse_workload(workload), extended_rules(("W",)), WIDE):
        text = str(a_nest(sketch, 16))
        assert text.count("vectorize(16)") >= 2, text


def test_the_window_of_a_depthwise_convolution_is_unrolled() -> None:
    found = derive(parse_workload("DEP_NCHW16c:8,8,64,3,1,1"), extended_rules(("W",)), WIDE)
    assert {rule for sketch in found for rule in sketch.rules} >= {"unrolled-window", "unrolled-rows"}
    for sketch in found:
        text = str(a_nest(sketch, 16))
        assert "for kw in unroll(3)" in text
        assert ("for kh in unroll(3)" in text) == ("unrolled-window" in sketch.rules)


@pytest.mark.parametrize("name", WITH_ALTERNATIVES)
def test_alternatives_have_the_sketches_of_their_workload(name: str) -> None:
    shape = WORKLOADS[name].shapes[2]
    for alternative in WORKLOADS[name].alternatives:
        plain, other = (
            derive(WORKLOADS[n].dag(*shape), extended_rules(("W",)), WIDE) for n in (name, alternative.name)
        )
        # Blocks lie densely: there is nothing to pack.
        without = [sketch.rules for sketch in plain if "pack-image" not in sketch.rules]
        assert [sketch.rules for sketch in other] == without


def test_a_schedule_of_the_alternative_computes_the_workload() -> None:
    numbers = (4, 5, 6, 3, 1, 1)
    workload, (alternative,) = WORKLOADS["DEP"], WORKLOADS["DEP"].alternatives
    case = case_of(workload.dag(*numbers), np.random.default_rng(0))
    dag = WORKLOADS[alternative.name].dag(*numbers)
    arrays = [alternative.arrange[tensor.name](array) for tensor, array in zip(dag.inputs, case.inputs)]
    for sketch in derive(dag, extended_rules(("W",)), SMALL_MACHINE):
        (result,) = interpret(a_nest(sketch, 6), *arrays)
        np.testing.assert_array_equal(alternative.restore(result), case.expected[0])
