"""Any legal schedule computes what NumPy computes, bit for bit."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, note, settings
from hypothesis import strategies as st

from ansor_mini.compute_dag import ComputeDAG
from ansor_mini.lowering import lower
from ansor_mini.schedule import initial_state, replay
from ansor_mini.tensor_expression import compute, placeholder
from runtime.compile_c import build_library, load_kernel, run_nest
from runtime.emit_c import emit_library
from runtime.expr import select
from runtime.interpreter import interpret
from runtime.verify_nest import verify
from tests.strategies.dags import small_inputs
from tests.strategies.schedules import cases


def same(got: tuple[np.ndarray, ...], expected: tuple[np.ndarray, ...]) -> bool:
    return all(np.array_equal(a, b) and a.dtype == b.dtype for a, b in zip(got, expected, strict=True))


@given(cases())
def test_lowered_nest_means_what_the_dag_means(case):
    nest = lower(case.state)
    note(str(nest))
    verify(nest)
    inputs = small_inputs(case.dag, 0)
    assert same(interpret(nest, *inputs), case.dag.evaluate(*inputs))


@given(cases())
def test_replaying_the_steps_gives_the_same_nest(case):
    assert lower(replay(case.dag, case.steps)) == lower(case.state)


@pytest.mark.cc
@settings(max_examples=6)
@given(st.lists(cases(), min_size=4, max_size=8), st.sampled_from([1, 2]))
def test_emitted_c_means_what_the_dag_means(some, threads):
    nests = [replace(lower(case.state), name=f"kernel{number}") for number, case in enumerate(some)]
    library = build_library(emit_library(nests, threads=threads))
    for case, nest in zip(some, nests):
        note(str(nest))
        inputs = small_inputs(case.dag, 1)
        outputs = [np.full(buffer.shape, np.nan, buffer.dtype) for buffer in nest.outputs]
        load_kernel(library, nest)(*inputs, *outputs)
        assert same(tuple(outputs), case.dag.evaluate(*inputs))


@pytest.mark.cc
def test_padded_copy_with_a_short_inner_loop_survives_the_compiler():
    # gcc 12 at -O3 with AVX zeroed two of the six rows
    x = placeholder((6, 2), "X")
    pad = compute((10, 2), lambda i, j: select((i >= 2) & (i < 8), x[i - 2, j], 0.0), "pad")
    data = np.arange(1, 13, dtype=np.float32).reshape(6, 2)
    nest = lower(initial_state(ComputeDAG([pad])))
    assert same(run_nest(nest, data), (np.pad(data, ((2, 2), (0, 0))),))
