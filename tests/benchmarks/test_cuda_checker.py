"""The benchmark's mistakes: enough kinds, each at a place that exists, and none that leaves the text as it was."""

from __future__ import annotations

import pytest

from runtime.compile_c import CompilerNotFound
from runtime.compile_cuda import compile_cuda, find_nvcc
from tests.benchmarks.checked_kernels.bugs import all_bugs
from tests.benchmarks.checked_kernels.cases import CASES
from tests.benchmarks.cuda_checker import BY_NAME


def test_there_are_at_least_forty_kinds_in_ten_kernels():
    bugs = all_bugs()
    assert len({bug.kind for bug in bugs}) >= 40 and len({bug.kernel for bug in bugs}) >= 10
    assert {bug.kernel for bug in bugs} == {case.name for case in CASES}


def test_each_mistake_changes_the_text_or_the_launch():
    for bug in all_bugs():
        case = BY_NAME[bug.kernel]
        assert bug.planted(case) != case.text or bug.launch not in (None, case.launch), bug
        assert bug.expected


def test_every_barrier_of_every_kernel_is_taken_out_once():
    text = "".join(case.text for case in CASES)
    barriers = text.count("__syncthreads();") + text.count("__syncwarp();") + text.count("__pipeline_wait_prior(1);")
    assert sum("removed:" in bug.kind for bug in all_bugs()) == barriers


@pytest.mark.slow
def test_every_kernel_is_cuda_to_nvcc():
    try:
        find_nvcc()
    except CompilerNotFound as error:
        pytest.skip(str(error))
    for case in CASES:
        cubin = compile_cuda(case.text)
        assert set(cubin.kernels) == {case.name} and cubin.kernels[case.name].spill_stores == 0
