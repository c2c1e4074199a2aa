"""The benchmark of compiled programs: a refused one does not take its neighbours down."""

from __future__ import annotations

import pytest

from runtime.compile_cuda import NvccNotFound, Resources, find_nvcc
from tests.benchmarks import cuda_compile
from tests.benchmarks.cuda_compile import Compiled, benchmark, draw

GOOD = 'extern "C" __global__ void good(float* A) { A[threadIdx.x] = 1.0f; }\n'
BAD = 'extern "C" __global__ void bad(float* A) { A[threadIdx.x] = missing; }\n'


@pytest.fixture
def programs(monkeypatch, tmp_path):
    try:
        find_nvcc()
    except NvccNotFound as error:
        pytest.skip(str(error))
    monkeypatch.setenv("MINI_CACHE", str(tmp_path))
    drawn = [Compiled("one", GOOD), Compiled("two", BAD)]
    monkeypatch.setattr(cuda_compile, "draw", lambda quick: drawn)
    return drawn


def test_a_refused_program_is_counted_alone(programs, capsys) -> None:
    figures = benchmark(quick=True)
    assert (figures["programs"], figures["compiled"], figures["spilling"]) == (2, 1, 0)
    assert "refused for sm_90: two: " in capsys.readouterr().out
    assert all(len(programs[0].resources[arch]) == 1 for arch in cuda_compile.ARCHITECTURES)


def test_what_spills_on_one_architecture_spills() -> None:
    program = Compiled("one", GOOD, {"sm_80": [Resources(64, spill_stores=8)], "sm_90": [Resources(60)]})
    assert program.spills and program.of("registers", "sm_80") == 64 and program.of("registers", "sm_70") == 0


@pytest.mark.slow
def test_drawn_programs_are_different() -> None:
    drawn = draw(quick=True)
    assert len({program.text for program in drawn}) == len(drawn) > 12
