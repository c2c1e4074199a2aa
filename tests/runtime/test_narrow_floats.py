"""Floats of 16 bits: rounding, arrays, and what programs make of them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.compile_c import run_nest
from runtime.emit_c import EmitError, emit_kernel
from runtime.expr import Buffer, Const, as_expr, cast
from runtime.expr_text import show
from runtime.interpreter import interpret
from runtime.loop_nest_text import parse
from runtime.narrow_floats import from_bfloat16, pack, storage, to_bfloat16, to_tf32, unpack
from runtime.node import TensorType


@given(st.floats(2.0**-100, 2.0**100, width=32))
def test_bfloat16_is_the_nearest_of_its_neighbours(value):
    number = np.float32(value)
    bits = int(to_bfloat16(number)[()])
    around = from_bfloat16(np.array([bits - 1, bits, bits + 1], np.uint16)).astype(np.float64)
    assert abs(around[1] - float(number)) == np.min(np.abs(around - float(number)))


def test_ties_of_bfloat16_go_to_even_and_nan_stays():
    assert from_bfloat16(to_bfloat16(np.float32([1 + 2**-8, 1 + 3 * 2**-8]))).tolist() == [1.0, 1 + 2**-6]
    assert np.isnan(from_bfloat16(to_bfloat16(np.float32([np.nan]))))[0]
    assert from_bfloat16(to_bfloat16(np.float32([np.inf, -np.inf]))).tolist() == [np.inf, -np.inf]


@given(st.integers(-2048, 2048))
def test_tf32_keeps_small_integers(value):
    assert to_tf32(np.float32([value]))[0] == value


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32"])
def test_packing_and_unpacking_keep_small_integers(dtype):
    numbers = np.arange(-16, 17)
    array = pack(numbers, dtype)
    assert array.dtype == storage(dtype)
    assert unpack(array, dtype).tolist() == numbers.tolist()


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_a_program_reads_and_writes_narrow_arrays(dtype):
    text = f"def f(A: {dtype}[3]) -> (B: {dtype}[3]):\n    for i in range(3):\n"
    text += f"        B[i] = cast({dtype}, cast(float32, A[i]) * 2.0)"
    nest = parse(text)
    assert parse(str(nest)) == nest
    (result,) = interpret(nest, pack(np.array([1, -2, 3]), dtype))
    assert unpack(result, dtype).tolist() == [2, -4, 6]


@pytest.mark.cc
@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@pytest.mark.parametrize("kind", ["range", "vectorize"])
def test_emitted_c_reads_and_writes_them_as_the_interpreter_does(dtype, kind):
    text = f"def f(A: {dtype}[35]) -> (B: {dtype}[35], C: {dtype}[35]):\n    for i in {kind}(35):\n"
    text += f"        B[i] = cast({dtype}, cast(float32, A[i]) * 0.1)\n        C[i] = {dtype}(-1.5)"
    nest, values = parse(text), pack(np.linspace(-40, 40, 35), dtype)
    for got, expected in zip(run_nest(nest, values), interpret(nest, values)):
        np.testing.assert_array_equal(got, expected)


def test_c_does_not_compute_in_16_bits():
    nest = parse("def f(A: float16[3]) -> (B: float16[3]):\n    for i in range(3):\n        B[i] = A[i] + A[i]")
    with pytest.raises(EmitError, match="cast its operands to float32"):
        emit_kernel(nest)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_constants_are_printed_with_their_dtype(dtype):
    assert show(Const(0.5, dtype)) == f"{dtype}(0.5)"
    assert as_expr(2, dtype).dtype == dtype
    assert cast("float32", Buffer("A", (1,), dtype)[0]).dtype == "float32"


def test_graphs_stay_with_wide_types():
    with pytest.raises(ValueError, match="float16"):
        TensorType((1,), "float16")
