"""Kernels of tensor loops: exact on the CPU under checks, legal for nvcc, and every wait and barrier is needed."""

from __future__ import annotations

import re

import numpy as np
import pytest
from hypothesis import given, note, settings
from hypothesis import strategies as st

from ansor_mini.gpu_rules.tensor_lowering import TensorTiling
from runtime.compile_c import run_nest
from runtime.compile_cuda import NvccNotFound, compile_cuda, find_nvcc
from runtime.cuda_on_cpu import run_on_cpu
from runtime.cuda_text.tensor_cores import FUNCTIONS, prelude, prelude_of
from runtime.cuda_text.tensor_expressions import swizzled
from runtime.emit_cuda import CudaModule, EmitError, emit_cuda
from runtime.interpreter import interpret
from runtime.loop_nest_text import parse
from runtime.narrow_floats import pack
from runtime.verify_nest import verify
from tests.strategies.tensor_programs import SMALL_TILINGS, nest_of, product, products

STEPS = TensorTiling(16, 32, 16, 16, 16, 3)


def case(dag, seed=0):
    rng = np.random.default_rng(seed)
    inputs = [pack(rng.integers(-3, 4, tensor.shape), tensor.dtype) for tensor in dag.inputs]
    return inputs, dag.evaluate(*inputs)[0]


@pytest.mark.slow
@given(products(), SMALL_TILINGS, st.integers(0, 100))
@settings(max_examples=8, deadline=None)
def test_the_nest_means_the_product(dag, tiling, seed):
    nest = nest_of(dag, tiling)
    note(str(nest))
    verify(nest)
    assert parse(str(nest)) == nest
    inputs, expected = case(dag, seed)
    np.testing.assert_array_equal(interpret(nest, *inputs)[0], expected)


@pytest.mark.slow
@pytest.mark.cc
@given(products(), SMALL_TILINGS, st.integers(0, 100))
@settings(max_examples=5, deadline=None)
def test_the_kernel_is_exact_and_clean_on_the_cpu(dag, tiling, seed):
    module = emit_cuda(nest_of(dag, tiling))
    note(module.text)
    inputs, expected = case(dag, seed)
    (got,), reports = run_on_cpu(module, inputs)
    assert not reports
    np.testing.assert_array_equal(got, expected)


@pytest.mark.cc
@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32"])
@pytest.mark.parametrize("by_columns", [(False, False), (True, False), (False, True), (True, True)])
def test_operands_in_any_order(dtype, by_columns):
    dag = product(32, 24, 40, dtype, a_by_columns=by_columns[0], b_by_columns=by_columns[1])
    inputs, expected = case(dag)
    (got,), reports = run_on_cpu(emit_cuda(nest_of(dag, STEPS)), inputs)
    assert not reports
    np.testing.assert_array_equal(got, expected)


@pytest.mark.cc
@pytest.mark.parametrize("dtype", ["float16", "float32"])
@pytest.mark.parametrize("sizes, stages", [((32, 32, 128), 3), ((33, 29, 37), 2)])
def test_fragments_loaded_ahead(dtype, sizes, stages):
    dag = product(*sizes, dtype)
    nest = nest_of(dag, TensorTiling(32, 32, 32, 16, 16, stages))
    module, plain = emit_cuda(nest, tensor_cores="mma-ahead"), emit_cuda(nest)
    assert "unsigned a[2][1][" in module.text and "unsigned a[1][" in plain.text
    inputs, expected = case(dag)
    (got,), reports = run_on_cpu(module, inputs)
    assert not reports
    np.testing.assert_array_equal(got, expected)


@pytest.mark.cc
@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32"])
@pytest.mark.parametrize("sizes, by_columns", [((32, 32, 48), False), ((33, 29, 37), True)])
def test_the_same_nest_through_wmma(dtype, sizes, by_columns):
    dag = product(*sizes, dtype, a_by_columns=by_columns, b_by_columns=by_columns)
    module = emit_cuda(nest_of(dag, STEPS), tensor_cores="wmma")
    assert "mma_sync(" in module.text and "ldmatrix" not in module.text
    inputs, expected = case(dag)
    (got,), reports = run_on_cpu(module, inputs)
    assert not reports
    np.testing.assert_array_equal(got, expected)


@pytest.mark.cc
@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32"])
def test_the_same_nest_as_c(dtype):
    dag = product(33, 29, 37, dtype)
    inputs, expected = case(dag)
    np.testing.assert_array_equal(run_nest(nest_of(dag, STEPS), *inputs)[0], expected)


@pytest.mark.cc
def test_shared_memory_beyond_what_may_be_declared():
    dag = product(64, 256, 96)
    module = emit_cuda(nest_of(dag, TensorTiling(64, 256, 32, 32, 64, 4)))
    assert module.launches[0].shared_bytes == 4 * (64 + 256) * 32 * 2 > 48 << 10
    assert "extern __shared__" in module.text
    inputs, expected = case(dag)
    (got,), reports = run_on_cpu(module, inputs)
    assert not reports
    np.testing.assert_array_equal(got, expected)


def without(module: CudaModule, line: str, which: int) -> CudaModule:
    """The module without one occurrence of a line of the kernel."""
    head, kernel = module.text.split('extern "C"')
    places = [match.start() for match in re.finditer(re.escape(line), kernel)]
    start = places[which]
    broken = f'{head}extern "C"{kernel[:start]}{kernel[start + len(line) :]}'
    return CudaModule(broken, module.launches, module.inputs, module.outputs, module.workspace)


@pytest.mark.cc
@pytest.mark.parametrize("stages, interface", [(1, "mma"), (3, "mma"), (3, "mma-ahead"), (3, "wmma")])
@pytest.mark.parametrize("line", ["__syncthreads();", "cp_async_wait_0();", "cp_async_wait_1();"])
def test_every_barrier_and_every_wait_is_needed(stages, interface, line):
    dag = product(32, 32, 192)
    module = emit_cuda(nest_of(dag, TensorTiling(32, 32, 32, 16, 16, stages)), tensor_cores=interface)
    inputs, expected = case(dag)
    count = module.text.split('extern "C"')[1].count(line)
    assert count or line != "__syncthreads();"
    for which in range(count):
        (got,), reports = run_on_cpu(without(module, line, which), inputs)
        assert reports or not np.array_equal(got, expected)


@pytest.mark.parametrize("arch", ["sm_80", "sm_90"])
@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32"])
def test_nvcc_takes_it_without_a_warning_or_a_spill(arch, dtype):
    try:
        find_nvcc()
    except NvccNotFound as error:
        pytest.skip(str(error))
    through_wmma = emit_cuda(
        nest_of(product(512, 512, 512, dtype), TensorTiling(128, 128, 32, 64, 32, 2)), tensor_cores="wmma"
    )
    assert compile_cuda(through_wmma.text, arch).kernels["kernel"].spill_stores == 0
    large, small = TensorTiling(128, 128, 32, 64, 64, 3), TensorTiling(64, 64, 32, 32, 32, 3)
    for sizes, tiling in (((512, 512, 512), large), ((333, 222, 111), small)):
        module = emit_cuda(nest_of(product(*sizes, dtype), tiling))
        resources = compile_cuda(module.text, arch).kernels["kernel"]
        assert resources.spill_stores == resources.spill_loads == 0
        assert resources.registers * module.launches[0].block <= 65536


def test_a_prelude_holds_what_the_text_calls():
    text = prelude_of("ldmatrix_x4_trans(b, &B[0]);\nmma_bfloat16(c, a, b[0], b[1]);")
    assert "ldmatrix_x4_trans(" in text and "mma_bfloat16(" in text and "cp_async" not in text
    for name, function in FUNCTIONS.items():
        assert ("asm" in function) == ("CUDA_ON_CPU" in function), f"{name} needs a body for each compiler"
    with pytest.raises(ValueError, match="no function 'mma_int4'"):
        prelude(["mma_int4"])


@pytest.mark.parametrize("per_row", [1, 2, 4, 8, 12, 16, 32])
def test_chunks_stay_in_their_row_and_eight_rows_meet_no_bank_twice(per_row):
    def place(row, chunk):
        return eval(swizzled(str(row), str(chunk), per_row).replace("/", "//"))

    for row in range(32):
        assert sorted(place(row, chunk) for chunk in range(per_row)) == list(range(per_row))
    if per_row & (per_row - 1) == 0:
        for first in range(0, 32, 8):
            for chunk in range(per_row):
                banks = {(row * per_row + place(row, chunk)) % 8 for row in range(first, first + 8)}
                assert len(banks) == 8


@pytest.mark.parametrize("per_row", [8, 16, 32])
def test_lanes_that_read_a_transposed_tf32_tile_meet_no_bank_twice(per_row):
    def bank(row, column):
        chunk = eval(swizzled(str(row), str(column // 4), per_row, True).replace("/", "//"))
        return (row * per_row + chunk) % 8 * 4 + column % 4

    for first in range(0, 16, 4):
        for start in range(0, per_row * 4, 8):
            assert len({bank(first + lane % 4, start + lane // 4) for lane in range(32)}) == 32


@pytest.mark.parametrize(
    "change, reason",
    [
        (("warp(", "range("), "inside a warp loop"),
        (("tensor(16)", "tensor(8)"), "extent 16"),
    ],
)
def test_what_cannot_be_emitted_is_one_clear_error(change, reason):
    text = str(nest_of(product(32, 32, 32), STEPS)).replace(*change)
    with pytest.raises(EmitError, match=reason):
        emit_cuda(parse(text))


def test_an_unknown_interface_is_named():
    with pytest.raises(ValueError, match="interface must be one of mma, mma-ahead, wmma, got 'wgmma'"):
        emit_cuda(nest_of(product(32, 32, 32), STEPS), tensor_cores="wgmma")
