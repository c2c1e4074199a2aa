import dataclasses
import os
import re
import signal
import subprocess

import numpy as np
import pytest

from runtime import cuda_builders, cuda_library, cuda_stand_in
from runtime.compile_cuda import Cubin, NvccNotFound, Resources
from runtime.cuda_builders import BUILDERS, default_builder
from runtime.cuda_library import NoGpu
from runtime.emit_cuda import CudaModule, Launch
from runtime.expr import Buffer
from runtime.loop_nest_text import parse
from runtime.measure_case import MeasureCase
from runtime.measure_cuda import BuiltModule, CudaMeasurer, Timing, measure_cuda

pytestmark = pytest.mark.cc

A, B = Buffer("A", (128,)), Buffer("B", (128,))
CASE = MeasureCase([np.arange(128, dtype=np.float32)], [np.arange(128, dtype=np.float32) + 1])
NEST = parse("""def plus(A: float32[128]) -> (B: float32[128]):
    for b in block(2):
        for t in thread(64):
            B[b * 64 + t] = A[b * 64 + t] + 1.0
""")
FAST = {"repeats": 3, "min_repeat_seconds": 1e-4}


def module(body, name="plus", grid=2, block=64, workspace=()):
    extra = "".join(f", float* {buffer.name}" for buffer in workspace)
    text = f"""extern "C" __global__ void {name}(float* A, float* B{extra}) {{
  const int i = blockIdx.x * blockDim.x + threadIdx.x;
  {body}
}}
"""
    names = ("A", "B", *(buffer.name for buffer in workspace))
    return CudaModule(text, (Launch(name, grid, block, names, 0),), (A,), (B,), tuple(workspace))


PLUS = "if (i < 128) B[i] = A[i] + 1.0f;"


@pytest.fixture(autouse=True)
def stand_in():
    cuda_library._open_driver.cache_clear()
    with cuda_stand_in.use():
        yield
    cuda_library._open_driver.cache_clear()


def outcome(program, **options):
    return measure_cuda([program], CASE, **{**FAST, **options})[0]


def test_nests_modules_and_functions_that_lower_one():
    seen = []
    results = measure_cuda(
        [NEST, module(PLUS), lambda: NEST], CASE, on_result=lambda number, result: seen.append((number, result)), **FAST
    )
    assert [result.kind for result in results] == ["ok"] * 3
    assert seen == list(enumerate(results))
    assert all(len(result.seconds) == 3 and result.facts["threads"] == 64 for result in results)


def test_a_measurer_is_called_like_a_local_one_and_says_that_it_rehearsed():
    seen = []
    with CudaMeasurer(CASE, **FAST) as measurer:
        results = measurer([NEST, NEST], lambda number, result: seen.append(number))
        assert measurer.source == "rehearsed" and measurer.gpu.name == cuda_stand_in.NAME
    assert seen == [0, 1] and all(result.ok for result in results)


def test_workspace_between_two_launches():
    workspace = Buffer("W", (128,))
    text = """extern "C" __global__ void first(const float* A, float* W) { W[threadIdx.x] = A[threadIdx.x] * 2.0f; }
extern "C" __global__ void second(const float* W, float* B) { B[threadIdx.x] = W[threadIdx.x] * 0.5f + 1.0f; }
"""
    launches = (Launch("first", 1, 128, ("A", "W"), 0), Launch("second", 1, 128, ("W", "B"), 0))
    assert outcome(CudaModule(text, launches, (A,), (B,), (workspace,))).ok


def test_each_program_on_a_case_of_its_own():
    cases = [CASE, MeasureCase(CASE.inputs, [CASE.inputs[0] + 2])]
    assert [result.kind for result in measure_cuda([NEST, NEST], cases, **FAST)] == ["ok", "wrong_answer"]


@pytest.mark.parametrize(
    "body, kind, reason",
    [
        ("B[i] = A[i];", "wrong_answer", r"output 0 differs in 128 of 128 elements, first at \[0\]"),
        ("if (i < 100) B[i] = A[i] + 1.0f;", "wrong_answer", "differs in 28 of 128 .* got nan"),
        (PLUS + " if (i == 0) B[130] = 0.0f;", "wrong_answer", "it wrote outside its buffer `B`"),
        (PLUS + " if (i == 3) A[3] = 9.0f;", "wrong_answer", "it wrote to its input 0"),
        (PLUS + " if (i == 0) A[-2] = 9.0f;", "wrong_answer", "it wrote outside its input 0"),
        (PLUS + " B[i + 100000000] = 0.0f;", "crash", "CUDA_ERROR_ILLEGAL_ADDRESS .*cuLaunchKernel of plus"),
        ("B[i] = undeclared;", "compile_error", "undeclared"),
        ("B[i] = B[i] == B[i] ? 7.0f : A[i] + 1.0f;", "wrong_answer", "right at first, but after more calls"),
    ],
)
def test_every_mistake_is_one_clear_result(body, kind, reason):
    found = outcome(module(body))
    assert found.kind == kind and re.search(reason, found.reason), found


def test_the_next_program_runs_after_one_that_poisoned_the_context():
    fault = module(PLUS + " B[i + 100000000] = 0.0f;")
    results = measure_cuda([module(PLUS), fault, module(PLUS), module("B[i] = 0.0f;"), module(PLUS)], CASE, **FAST)
    assert [result.kind for result in results] == ["ok", "crash", "ok", "wrong_answer", "ok"]


def test_an_input_that_was_changed_is_as_before_for_the_next():
    results = measure_cuda([module(PLUS + " A[i] = 5.0f;"), module(PLUS)], CASE, **FAST)
    assert [result.kind for result in results] == ["wrong_answer", "ok"]


def test_a_kernel_that_hangs_is_a_timeout_and_leaves_no_process(monkeypatch):
    monkeypatch.setenv("MINI_STAND_IN", "hang=plus")
    with CudaMeasurer(CASE, run_timeout=0.5, **FAST) as measurer:
        found = measurer([module(PLUS), module(PLUS, "other")])
    assert [result.kind for result in found] == ["run_timeout", "ok"]
    assert found[0].reason == "still running after 0.5 s"
    listed = subprocess.run(["ps", "-eo", "ppid,args"], capture_output=True, text=True, check=False).stdout
    assert not [line for line in listed.splitlines() if "cuda_child" in line and line.split()[0] == str(os.getpid())]


@pytest.mark.parametrize("nbytes", [10_000, 20_000])
def test_too_little_memory_for_inputs_or_for_outputs(monkeypatch, nbytes):
    monkeypatch.setenv("MINI_STAND_IN", f"memory={nbytes}")
    big = Buffer("W", (1 << 20,))
    found = outcome(module(PLUS, workspace=[big]))
    assert found.kind == "crash" and found.reason.startswith("out of GPU memory: ")


def test_a_driver_fault_is_a_result(monkeypatch):
    monkeypatch.setenv("MINI_STAND_IN", "fault=plus")
    found = outcome(NEST)
    assert found.kind == "crash" and "CUDA_ERROR_ILLEGAL_ADDRESS" in found.reason


def test_a_gpu_that_is_gone_when_the_child_starts_is_a_result(monkeypatch):
    with CudaMeasurer(CASE, **FAST) as measurer:
        monkeypatch.setenv("MINI_STAND_IN", "no_device")
        found = measurer([NEST])[0]
    assert (found.kind, found.reason) == ("crash", "no GPU: the CUDA driver finds no device")


def test_a_child_that_is_killed_is_replaced():
    with CudaMeasurer(CASE, **FAST) as measurer:
        assert measurer([NEST])[0].ok
        child = measurer.runner._state.child
        assert child is not None
        os.kill(child.process.pid, signal.SIGKILL)
        assert measurer([NEST])[0].ok


def test_no_gpu_is_said_before_anything_is_built(monkeypatch):
    monkeypatch.setenv("MINI_CUDA_DRIVER", "/nowhere/libcuda.so.1")
    with pytest.raises(NoGpu, match="this machine has no CUDA driver"):
        CudaMeasurer(CASE)
    with pytest.raises(NoGpu, match="this machine has no CUDA driver"):
        measure_cuda([NEST], CASE)


def test_what_does_not_fit_the_gpu_is_not_launched(monkeypatch):
    monkeypatch.setitem(BUILDERS, "cpu", lambda *_: Cubin(os.devnull, "sm_90", {"plus": Resources(255)}))
    found = outcome(module(PLUS, block=512))
    assert found.kind == "compile_error" and found.facts["registers"] == 255
    assert found.reason == (
        "plus does not fit the GPU: 255 registers x 512 threads need 131072 registers, a multiprocessor has 65536"
    )


def test_a_case_of_another_shape():
    found = measure_cuda([NEST], MeasureCase([np.zeros(3, np.float32)], [np.zeros(128, np.float32)]))[0]
    assert found.kind == "lowering_error" and "the case holds" in found.reason


def test_lowering_that_fails():
    def fails():
        raise ArithmeticError("no such tile")

    found = outcome(fails)
    assert (found.kind, found.reason) == ("lowering_error", "no such tile")


def test_cold_caches_time_every_call_alone():
    assert len(outcome(NEST, cold_caches=True, repeats=4).seconds) == 4


@pytest.mark.parametrize("wrong", [{"repeats": 0}, {"run_timeout": 0}, {"min_repeat_seconds": -1}, {"ordinal": -1}])
def test_numbers_that_cannot_be(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Timing(**wrong)


def test_the_stand_in_takes_what_was_built_for_the_cpu():
    assert default_builder() == "cpu"


def test_a_builder_by_name_and_nvrtc_where_there_is_no_nvcc(monkeypatch):
    def missing():
        raise NvccNotFound("no CUDA compiler found")

    monkeypatch.delenv("MINI_CUDA_DRIVER")
    monkeypatch.setattr(cuda_builders, "find_nvcc", missing)
    monkeypatch.setattr(cuda_builders, "find_nvrtc", lambda: None)
    assert default_builder() == "nvrtc"
    monkeypatch.setattr(cuda_builders, "find_nvrtc", lambda: missing())
    with pytest.raises(NvccNotFound):
        default_builder()
    monkeypatch.setenv("MINI_CUDA_BUILDER", "nvrtc")
    assert default_builder() == "nvrtc"
    monkeypatch.setenv("MINI_CUDA_BUILDER", "other")
    with pytest.raises(ValueError, match="MINI_CUDA_BUILDER must be one of nvcc, nvrtc, cpu, got 'other'"):
        default_builder()


def test_facts_of_several_kernels():
    kernels = {"a": Resources(40, 100, 8, 4), "b": Resources(64, 0, 0, 0)}
    launches = (Launch("a", 1, 32, (), 0), Launch("b", 1, 256, (), 0))
    built = BuiltModule(CudaModule("", launches, (), (), ()), Cubin(os.devnull, "sm_90", kernels))
    facts = {"kernels": 2, "threads": 256, "registers": 64, "shared": 100, "spill_stores": 8, "spill_loads": 4}
    assert built.facts == facts
    assert built.dynamic_shared(dataclasses.replace(launches[0], shared_bytes=150)) == 50
