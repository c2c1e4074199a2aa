"""What lies between blocks: device variables, and fences that publish values."""

from __future__ import annotations

import numpy as np
import pytest

from runtime.cuda_on_cpu import compile_on_cpu

pytestmark = pytest.mark.cc

FLAG = """
__global__ void hand_over(float* x, int* flag, float* y) {
    if (blockIdx.x == 0) { x[0] = 1; BEFORE atomicExch(flag, 1); AFTER }
    else if (atomicAdd(OTHER, 0) == 1) y[0] = x[0];
}"""


@pytest.mark.parametrize(
    ("before", "after", "word", "races"),
    [
        ("__threadfence();", "", "flag", False),
        ("", "", "flag", True),
        ("__threadfence();", "x[0] = 2;", "flag", True),
        ("__threadfence();", "", "flag + 1", True),
        ("__threadfence_block();", "", "flag", True),
    ],
)
def test_a_fence_and_a_flag_hand_values_to_another_block(before, after, word, races):
    text = FLAG.replace("BEFORE", before).replace("AFTER", after).replace("OTHER", word)
    x, flag, y = np.zeros(1, np.float32), np.array([0, 1], np.int32), np.zeros(1, np.float32)
    reports = compile_on_cpu(text).launch("hand_over", 2, 1, [x, flag, y])
    assert [report.kind for report in reports] == ["global-race"] * races


VARIABLES = """__device__ int total = 0;
__constant__ float scale[4] = {1, 2, 3, 4};
__global__ void plain(float* y) { y[blockIdx.x * 32 + threadIdx.x] = scale[threadIdx.x % 4]; total += 1; }
__global__ void atomic(float* y) { y[blockIdx.x * 32 + threadIdx.x] = scale[threadIdx.x % 4]; atomicAdd(&total, 1); }
"""


@pytest.mark.parametrize(("kernel", "races"), [("plain", True), ("atomic", False)])
def test_device_variables_are_shared_by_all_threads(kernel, races):
    reports = compile_on_cpu(VARIABLES).launch(kernel, 2, 32, [np.zeros(64, np.float32)])
    assert {report.kind for report in reports} == ({"global-race"} if races else set())
    assert all("device variable `total`" in report.message and report.line == 3 for report in reports)
