"""Emitted C computes what the interpreter computes, bit for bit."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, note
from hypothesis import strategies as st

from runtime.compile_c import build_library, load_kernel
from runtime.emit_c import emit_kernel, emit_library, prepare
from runtime.interpreter import interpret
from runtime.loop_nest import LoopNest
from runtime.verify_nest import verify
from tests.strategies.loop_nests import nests, small_integers


def assert_same(batch: list[LoopNest], seed: int = 0, threads: int = 1, vector_bytes: int | None = None) -> None:
    """Run nests both ways and compare every bit of the outputs; one compiler run for all of them."""
    batch = [LoopNest(f"kernel{n}", nest.inputs, nest.outputs, nest.body) for n, nest in enumerate(batch)]
    source = emit_library(batch, threads=threads, vector_bytes=vector_bytes)
    library = build_library(source)
    for nest in batch:
        inputs = small_integers(nest, np.random.default_rng(seed))
        outputs = [np.full(buffer.shape, 77, buffer.dtype) for buffer in nest.outputs]
        load_kernel(library, nest)(*inputs, *outputs)
        for expected, got in zip(interpret(nest, *inputs), outputs):
            np.testing.assert_array_equal(got, expected, err_msg=f"{nest}\n{emit_kernel(nest, threads=threads)}")


@given(nests(), st.integers(0, 2**32 - 1), st.sampled_from([16, 32, 64]))
def test_prepared_nests_are_legal_and_mean_the_same(nest: LoopNest, seed: int, vector_bytes: int) -> None:
    note(str(nest))
    verify(nest)
    prepared = prepare(nest, vector_bytes=vector_bytes)
    note(str(prepared))
    verify(prepared)
    inputs = small_integers(nest, np.random.default_rng(seed))
    for expected, got in zip(interpret(nest, *inputs), interpret(prepared, *inputs)):
        np.testing.assert_array_equal(got, expected)


@pytest.mark.cc
@given(
    st.lists(nests(), min_size=1, max_size=8),
    st.integers(0, 2**32 - 1),
    st.sampled_from([16, 32, 64]),
    st.integers(1, 2),
)
def test_c_equals_interpreter(batch: list[LoopNest], seed: int, vector_bytes: int, threads: int) -> None:
    assert_same(batch, seed, threads, vector_bytes)
