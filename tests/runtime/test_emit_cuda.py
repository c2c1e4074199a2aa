"""Emitted CUDA means what its nest means, and holds no barrier too many or too few."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, note, settings
from hypothesis import strategies as st

from runtime.emit_cuda import CudaModule, EmitError, emit_cuda
from runtime.loop_nest import LoopNest
from runtime.loop_nest_text import parse
from runtime.verify_nest import verify
from tests.strategies import gpu_nests
from tests.strategies.gpu_nests import Tiling, product

BARRIER = "__syncthreads();"
TILED = product(Tiling(33, 40, 17, (2, 4, 2), (1, 8, 4), 4, 2, True, 4, False))
SOFTMAX = parse("""def softmax(A: float32[3, 150]) -> (C: float32[3, 150]):
    for b in block(3):
        with local(float32[()]) as most:
            with shared(float32[()]) as total:
                most[()] = -inf
                total[()] = 0.0
                for k in range(3):
                    for t in thread(50):
                        most[()] = max(most[()], A[b, k * 50 + t])
                for k in range(3):
                    for t in thread(50):
                        total[()] = total[()] + exp(A[b, k * 50 + t] - most[()])
                for k in range(3):
                    for t in thread(50):
                        C[b, k * 50 + t] = exp(A[b, k * 50 + t] - most[()]) / total[()]
""")
REVERSED_TWICE = parse("""def reversed_twice(A: float32[4, 64]) -> (C: float32[4, 64]):
    for b in block(4):
        with shared(float32[64]) as S:
            for step in range(2):
                for t in thread(64):
                    S[t] = A[b, t] + 1.0
                for t in thread(64):
                    C[b, t] = S[63 - t]
""")
WORKSPACE = parse("""def neighbours(A: float32[64]) -> (C: float32[64]):
    with workspace(float32[64]) as T:
        for b in block(2):
            for t in thread(32):
                T[b * 32 + t] = A[b * 32 + t] * 2.0
        for b in block(1):
            for t in thread(64):
                C[t] = T[63 - t] + T[(t + 1) % 64]
""")
CASES = {nest.name: nest for nest in (TILED, SOFTMAX, REVERSED_TWICE, WORKSPACE)}
EXPECTED = {
    "product": lambda a, b: a @ b,
    "softmax": lambda a: np.exp(a) / np.exp(a).sum(axis=1, keepdims=True),
    "reversed_twice": lambda a: a[:, ::-1] + 1,
    "neighbours": lambda a: 2 * (a[::-1] + np.roll(a, -1)),
}


def run(module: CudaModule, *inputs: np.ndarray) -> tuple[tuple[np.ndarray, ...], tuple]:
    """The outputs of a module and what the checks report."""
    from runtime.cuda_on_cpu.run_module import run_on_cpu

    return run_on_cpu(module, inputs)


def whole_numbers(nest: LoopNest, seed: int = 0) -> list[np.ndarray]:
    """Inputs whose sums and products are exact."""
    rng = np.random.default_rng(seed)
    return [rng.integers(-3, 4, buffer.shape).astype(buffer.dtype) for buffer in nest.inputs]


@pytest.mark.cc
@pytest.mark.slow
@settings(max_examples=12)
@given(gpu_nests.CASES, st.booleans())
def test_emitted_text_computes_what_the_nest_does(case: gpu_nests.Case, prefetch: bool) -> None:
    verify(case.nest)
    note(str(case.nest))
    module = emit_cuda(case.nest, prefetch=prefetch)
    note(module.text)
    inputs = whole_numbers(case.nest)
    outputs, reports = run(module, *inputs)
    assert not reports
    np.testing.assert_array_equal(outputs[0], case.expected(*inputs))


@pytest.mark.cc
@pytest.mark.parametrize(("name", "prefetch"), [*((name, False) for name in CASES), ("product", True)])
def test_every_barrier_is_needed_and_none_is_missing(name: str, prefetch: bool) -> None:
    module, inputs = emit_cuda(CASES[name], prefetch=prefetch), whole_numbers(CASES[name])
    outputs, reports = run(module, *inputs)
    assert not reports
    np.testing.assert_allclose(outputs[0], EXPECTED[name](*inputs), rtol=1e-5)
    places = [found.start() for found in re.finditer(re.escape(BARRIER), module.text)]
    assert bool(places) == (name != "neighbours")
    for place in places:
        without = module.text[:place] + ";" + module.text[place + len(BARRIER) :]
        _, reports = run(replace(module, text=without), *inputs)
        assert any("race" in report.kind or "uninitialised" in report.kind for report in reports), without


def test_operands_of_a_tile_are_loaded_as_vectors() -> None:
    text = emit_cuda(product(Tiling(64, 64, 16, (2, 4, 4), (2, 8, 4), 8, 1, True, 4, False))).text
    inner = text[text.index("As_r[") : text.index("acc[", text.index("As_r["))]
    assert inner.count("*(const float4*)&As[") == 1 and inner.count("*(const float4*)&Bs[") == 1
    assert "*(float4*)&C[" in text


def test_the_next_tiles_are_loaded_before_the_present_ones_are_used() -> None:
    text = emit_cuda(TILED, prefetch=True).text
    body = text[text.index("for (int k0") :]
    assert body.index("As_next[0] = ") < body.index("acc[")
    assert text.count("__syncthreads();") == emit_cuda(TILED).text.count("__syncthreads();")


def test_reductions_across_threads_shuffle() -> None:
    text = emit_cuda(SOFTMAX).text
    assert text.count("warp_max_f32(") == text.count("warp_add_f32(") == 2  # defined once, called once
    assert emit_cuda(SOFTMAX).launches[0].block == 64  # whole warps


def test_each_root_is_a_kernel() -> None:
    module = emit_cuda(WORKSPACE)
    assert [(launch.kernel, launch.grid, launch.block) for launch in module.launches] == [
        ("neighbours_0", 2, 32),
        ("neighbours_1", 1, 64),
    ]
    assert [launch.arguments for launch in module.launches] == [("A", "T"), ("C", "T")]
    assert [buffer.name for buffer in module.workspace] == ["T"]


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("for t in thread(2048):\n        C[t] = 0.0", "2048 threads"),
        ("for i in range(2):\n        for b in block(1024):\n            C[i * 1024 + b] = 0.0", "block loops"),
        (
            "with shared(float32[2048, 8]) as S:\n        for t in thread(32):\n            S[t, 0] = 0.0\n"
            "        for t in thread(32):\n            C[t] = S[31 - t, 0]",
            "shared memory",
        ),
        (
            "with shared(float32[64]) as S:\n        for t in thread(32):\n            for u in thread(32):\n"
            "                S[u] = cast(float32, t)\n            C[t] = S[t]",
            "uses the variable",
        ),
        ("for t in thread(64):\n        C[t // 2] = cast(float32, t)", "two threads store"),
    ],
)
def test_what_no_gpu_runs_is_refused_with_the_reason(body: str, reason: str) -> None:
    with pytest.raises(EmitError, match=reason):
        emit_cuda(parse(f"def f() -> (C: float32[2048]):\n    {body}"))


def test_nvcc_takes_the_text_without_a_warning() -> None:
    from runtime.compile_cuda import compile_cuda, find_nvcc

    try:
        find_nvcc()
    except RuntimeError as error:
        pytest.skip(str(error))
    modules = [emit_cuda(nest) for nest in (SOFTMAX, REVERSED_TWICE, TILED)]
    for module in modules:
        built = compile_cuda(module.text, "sm_90")
        assert all(resources.spill_stores == 0 for resources in built.kernels.values())
