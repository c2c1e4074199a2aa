"""CUDA text on the CPU: what it computes, what the checks say, and what a launch refuses."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.compile_c import CompileError
from runtime.cuda_on_cpu import compile_on_cpu, run_on_cpu
from runtime.cuda_on_cpu.kernels import unwritten
from runtime.expr import Buffer
from tests.benchmarks.checked_kernels.bugs import all_bugs
from tests.benchmarks.checked_kernels.cases import CASES, run_case

pytestmark = pytest.mark.cc

SHARE = """
extern "C" __global__ void none(const int* from, const float* x, float* y) {
    __shared__ float s[64];
    s[threadIdx.x] = x[threadIdx.x];
    y[threadIdx.x] = s[from[threadIdx.x]];
}
extern "C" __global__ void warp(const int* from, const float* x, float* y) {
    __shared__ float s[64];
    s[threadIdx.x] = x[threadIdx.x];
    __syncwarp();
    y[threadIdx.x] = s[from[threadIdx.x]];
}
extern "C" __global__ void block(const int* from, const float* x, float* y) {
    __shared__ float s[64];
    s[threadIdx.x] = x[threadIdx.x];
    __syncthreads();
    y[threadIdx.x] = s[from[threadIdx.x]];
}
extern "C" __global__ void scatter(const int* to, const float* x, float* y) {
    y[to[blockIdx.x * blockDim.x + threadIdx.x]] = x[threadIdx.x];
}
extern "C" __global__ void count(const int* to, const float* x, float* y) {
    atomicAdd(&y[to[blockIdx.x * blockDim.x + threadIdx.x]], 1.0f);
}
"""
WARPS = """
extern "C" __global__ void lanes(const int* x, int* y, int operation, int lane, int width) {
    int v = x[threadIdx.x], r = 0;
    if (operation == 0) r = __shfl_sync(0xffffffff, v, lane, width);
    if (operation == 1) r = __shfl_up_sync(0xffffffff, v, lane, width);
    if (operation == 2) r = __shfl_down_sync(0xffffffff, v, lane, width);
    if (operation == 3) r = __shfl_xor_sync(0xffffffff, v, lane, width);
    if (operation == 4) r = __ballot_sync(0xffffffff, v > 0);
    if (operation == 5) r = __any_sync(0xffffffff, v > 2) * 2 + __all_sync(0xffffffff, v > -3);
    if (operation == 6) r = __reduce_add_sync(0xffffffff, v);
    if (operation == 7) r = __reduce_min_sync(0xffffffff, v);
    if (operation == 8) r = __match_any_sync(0xffffffff, v);
    y[threadIdx.x] = r;
}
"""


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_correct_kernel_is_right_and_not_accused(case):
    reports, right = run_case(case)
    assert not reports and right


@pytest.mark.slow
@pytest.mark.parametrize("bug", all_bugs()[1::4], ids=lambda bug: f"{bug.kernel}-{bug.kind}")
def test_a_planted_mistake_is_reported_with_its_line(bug):
    case = next(case for case in CASES if case.name == bug.kernel)
    reports, _ = run_case(case, bug.planted(case), bug.launch, time_limit=30)
    fitting = [report for report in reports if report.kind in bug.expected]
    assert fitting and all(report.line for report in fitting)


@given(st.lists(st.integers(0, 63), min_size=64, max_size=64), st.sampled_from(["none", "warp", "block"]))
def test_a_race_is_reported_exactly_when_a_read_is_not_ordered_with_its_write(source, ordered_by):
    index, x = np.array(source, np.int32), np.arange(64, dtype=np.float32)
    reports = compile_on_cpu(SHARE).launch(ordered_by, 1, 64, [index, x, np.zeros(64, np.float32)])
    me = np.arange(64)
    racing = {"none": index != me, "warp": index // 32 != me // 32, "block": index < 0}[ordered_by]
    kinds = {report.kind for report in reports}
    assert kinds <= {"shared-race", "uninitialised-shared"} and ("shared-race" in kinds) == bool(racing.any())


@given(st.lists(st.integers(0, 40), min_size=8, max_size=8), st.sampled_from([(1, 8), (2, 4), (8, 1)]))
def test_writes_of_one_element_race_unless_they_are_atomic(targets, launch):
    index, x, y = np.array(targets, np.int32), np.ones(8, np.float32), np.zeros(41, np.float32)
    kernels = compile_on_cpu(SHARE)
    reports = kernels.launch("scatter", *launch, [index, x, y])
    assert [report.kind for report in reports] == ["global-race"] * (len(set(targets)) < 8)
    y[:] = 0
    assert not kernels.launch("count", *launch, [index, x, y])
    assert np.array_equal(y, np.bincount(index, minlength=41))


@given(st.lists(st.integers(-3, 3), min_size=32, max_size=32), st.integers(0, 31), st.sampled_from([4, 16, 32]))
def test_warp_operations_are_those_of_the_manual(values, lane, width):
    x, kernels = np.array(values, np.int32), compile_on_cpu(WARPS)

    def run(operation):
        y = np.zeros(32, np.int32)
        assert not kernels.launch("lanes", 1, 32, [x, y, operation, lane, width])
        return y.tolist()

    first = [me // width * width for me in range(32)]
    assert run(0) == [values[first[me] + lane % width] for me in range(32)]
    assert run(1) == [values[me - lane] if me - lane >= first[me] else values[me] for me in range(32)]
    assert run(2) == [values[me + lane] if me + lane < first[me] + width else values[me] for me in range(32)]
    assert run(3) == [values[me ^ lane] if me ^ lane < first[me] + width else values[me] for me in range(32)]
    ballot = sum(1 << me for me in range(32) if values[me] > 0)
    assert run(4) == [np.uint32(ballot).astype(np.int32)] * 32
    assert run(5) == [(max(values) > 2) * 2 + (min(values) > -3)] * 32
    assert run(6) == [sum(values)] * 32 and run(7) == [min(values)] * 32
    same = [sum(1 << me for me in range(32) if values[me] == value) for value in values]
    assert run(8) == np.array(same, np.uint32).astype(np.int32).tolist()


def test_a_report_names_line_block_thread_and_element():
    text = "__global__ void k(const float* x, float* y) {\n    y[0] = 1;\n    y[threadIdx.x + 30] = x[0];\n}\n"
    x, y = np.ones(4, np.float32), np.zeros(32, np.float32)
    (race, report) = compile_on_cpu(text).launch("k", 1, 4, [x, y])
    assert (race.kind, race.line) == ("global-race", 2)
    assert (report.kind, report.line, report.block, report.thread) == ("out-of-bounds", 3, (0, 0, 0), (2, 0, 0))
    assert "`y[32]`" in report.message and "write of 4 bytes" in report.message and race.times == 2


def test_neighbouring_halves_do_not_race_and_one_half_does():
    text = """#include <cuda_fp16.h>
__global__ void k(half* y, int n) { y[threadIdx.x % n] = 1.0f; }"""
    kernels = compile_on_cpu(text)
    assert not kernels.launch("k", 1, 32, [np.zeros(32, np.float16), 32])
    assert [report.kind for report in kernels.launch("k", 1, 32, [np.zeros(32, np.float16), 16])] == ["global-race"]


def test_halves_round_as_numpy_does():
    text = """#include <cuda_fp16.h>
__global__ void k(const float* x, half* y, float* z) {
    y[threadIdx.x] = x[threadIdx.x];
    z[threadIdx.x] = y[threadIdx.x];
}"""
    rng = np.random.default_rng(0)
    bits = rng.integers(0, 2**32, 1024, dtype=np.uint64).astype(np.uint32)
    x = np.concatenate([bits.view(np.float32)[:512], (rng.normal(size=512) * 10.0 ** rng.integers(-9, 6, 512))]).astype(
        np.float32
    )
    y, z = np.zeros(1024, np.float16), np.zeros(1024, np.float32)
    assert not compile_on_cpu(text).launch("k", 1, 1024, [x, y, z])
    with np.errstate(over="ignore", invalid="ignore"):
        wanted = x.astype(np.float16)
    assert np.array_equal(y, wanted, equal_nan=True) and np.array_equal(z, wanted.astype(np.float32), equal_nan=True)


def test_a_crash_and_an_endless_loop_are_reports_of_a_child_process():
    text = (
        "__global__ void crash(int* x) { abort(); }\n__global__ void forever(volatile int* x) { while (x[0] == 0) {} }"
    )
    kernels = compile_on_cpu(text)
    assert [report.kind for report in kernels.launch("crash", 1, 1, [np.zeros(1, np.int32)], time_limit=20)] == [
        "crash"
    ]
    stopped = kernels.launch("forever", 1, 1, [np.zeros(1, np.int32)], time_limit=0.3)
    assert [report.kind for report in stopped] == ["time-limit"] and "0.3 seconds" in stopped[0].message


def test_without_checks_results_are_the_same_and_barriers_are_still_watched():
    text = "__global__ void k(float* y) { y[threadIdx.x] = 2; if (threadIdx.x < 5) __syncthreads(); }"
    y = np.zeros(32, np.float32)
    reports = compile_on_cpu(text, checks=False).launch("k", 1, 32, [y])
    assert [report.kind for report in reports] == ["divergent-barrier"] and (y == 2).all()


def test_instances_of_templates_can_be_launched():
    text = "template <class T, int by> __global__ void scale(T* x) { x[threadIdx.x] *= by; }"
    kernels = compile_on_cpu(text, instances=("scale<float, 3>", "scale<int, 4>"))
    x, y = np.ones(8, np.float32), np.ones(8, np.int32)
    assert not kernels.launch("scale<float, 3>", 1, 8, [x]) and not kernels.launch("scale<int, 4>", 1, 8, [y])
    assert (x == 3).all() and (y == 4).all()


def test_a_lock_of_spinning_threads_comes_to_an_end():
    text = """__global__ void k(int* lock, int* x) {
        bool done = false;
        while (!done) if (atomicCAS(lock, 0, 1) == 0) { atomicAdd(x, 1); atomicExch(lock, 0); done = true; }
    }"""
    x = np.zeros(1, np.int32)
    assert not compile_on_cpu(text).launch("k", 2, 64, [np.zeros(1, np.int32), x], time_limit=30) and x[0] == 128


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"kernel": "other"}, ValueError, "kernel must be one of k"),
        ({"block": 2048}, ValueError, "2048 threads, a block may have 1024"),
        ({"block": 0}, ValueError, "block must be one to three positive numbers"),
        ({"grid": (1, 1, 1, 1)}, ValueError, "grid must be"),
        ({"shared_bytes": 300000}, ValueError, "shared_bytes must be"),
        ({"arguments": []}, TypeError, "takes 2 arguments"),
        ({"arguments": [1.0, 2]}, TypeError, "`x` is a pointer"),
        ({"arguments": [np.zeros((4, 4), np.float32).T, 2]}, ValueError, "C-contiguous"),
        ({"arguments": [np.zeros(4, np.float32), "a"]}, TypeError, "number"),
    ],
)
def test_a_launch_that_a_gpu_would_refuse_is_one_sentence(change, error, message):
    kernels = compile_on_cpu("__global__ void k(float* x, int n) {}")
    launch = {"kernel": "k", "grid": 1, "block": 4, "arguments": [np.zeros(4, np.float32), 1], **change}
    with pytest.raises(error, match=message):
        kernels.launch(**launch)


def test_launch_bounds_are_kept():
    kernels = compile_on_cpu("__global__ void __launch_bounds__(64) k(float* x) {}")
    with pytest.raises(ValueError, match="__launch_bounds__ allow 64"):
        kernels.launch("k", 1, 128, [np.zeros(4, np.float32)])


def test_text_that_is_no_cuda_is_a_compiler_message_with_its_line():
    with pytest.raises(CompileError, match=r"wrong\.cu:2"):
        compile_on_cpu("\n__global__ void k( { }", file="wrong.cu")


def test_marks_of_written_elements_go_from_launch_to_launch():
    text = """__global__ void w(float* x) { x[threadIdx.x] = 1; }
    __global__ void r(float* x, float* y) { y[threadIdx.x] = x[threadIdx.x]; }"""
    kernels, x, y = compile_on_cpu(text), np.zeros(8, np.float32), np.zeros(8, np.float32)
    marks = unwritten(x)
    assert not kernels.launch("w", 1, 4, [x], written={0: marks}) and marks.tolist() == [1] * 4 + [0] * 4
    assert not kernels.launch("r", 1, 4, [x, y], written={0: marks})
    assert [report.kind for report in kernels.launch("r", 1, 5, [x, y], written={0: marks})] == ["uninitialised-global"]


def test_a_module_of_two_launches_gives_its_outputs():
    text = """
    extern "C" __global__ void twice(const float* a, float* t) { t[threadIdx.x] = 2 * a[threadIdx.x]; }
    extern "C" __global__ void plus(const float* t, float* b) { b[threadIdx.x] = t[threadIdx.x] + 1; }"""
    a, t, b = (Buffer(name, (8,)) for name in "atb")
    launches = [
        SimpleNamespace(kernel="twice", grid=1, block=8, shared_bytes=0, arguments=("a", "t")),
        SimpleNamespace(kernel="plus", grid=1, block=8, shared_bytes=0, arguments=("t", "b")),
    ]
    module = SimpleNamespace(text=text, launches=launches, inputs=(a,), outputs=(b,), workspace=(t,))
    given = np.arange(8, dtype=np.float32)
    (result,), reports = run_on_cpu(module, [given])
    assert not reports and np.array_equal(result, 2 * given + 1)
    module.launches = launches[1:]
    assert [report.kind for report in run_on_cpu(module, {"a": given})[1]] == ["uninitialised-global"]
    with pytest.raises(ValueError, match="inputs must be the arrays a"):
        run_on_cpu(module, [])


def test_the_host_part_of_a_file_is_built_and_does_not_run():
    text = """#include <cuda_runtime.h>
template <int n> __global__ void fill(float* y, int value) { y[n * blockIdx.x + threadIdx.x] = value; }
int main() {
    float* y;
    if (cudaMalloc(&y, 64 * sizeof(float)) != cudaSuccess) return 1;
    fill<32><<<2,
               32>>>(y, 3);
    return cudaDeviceSynchronize();
}"""
    y = np.zeros(40, np.float32)
    (report,) = compile_on_cpu(text, instances=("fill<32>",)).launch("fill<32>", 2, 32, [y, 3])
    assert report.line == 2 and "`y[40]` of 40" in report.message and (y == 3).all()


def test_an_assertion_is_a_report_and_structures_are_passed_by_value():
    text = """struct Pair { float a; int b; };
__global__ void k(float* y, Pair pair) { y[threadIdx.x] = pair.a; assert(threadIdx.x < pair.b); }"""
    y, pair = np.zeros(32, np.float32), np.array([(1.5, 8)], "f4, i4")[0]
    (report,) = compile_on_cpu(text).launch("k", 1, 32, [y, pair])
    assert (report.kind, report.line, report.thread) == ("assertion", 2, (8, 0, 0)) and (y[:9] == 1.5).all()
    with pytest.raises(TypeError, match="structure of 8 bytes"):
        compile_on_cpu(text).launch("k", 1, 32, [y, 3])
