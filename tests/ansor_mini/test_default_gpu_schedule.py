"""The default schedule for a GPU fits every computation, computes what NumPy computes, and can be launched."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings

from ansor_mini.compute_dag import ComputeDAG
from ansor_mini.default_gpu_schedule import default_gpu_steps
from ansor_mini.gpu_movement import copies_nest
from ansor_mini.lowering import lower
from ansor_mini.schedule import replay
from ansor_mini.workloads import parse_workload
from runtime.gpu import gpu
from runtime.gpu_model import refusal
from runtime.gpu_model.sites import kernels
from runtime.interpreter import interpret
from runtime.loop_nest import LoopNest
from runtime.verify_nest import verify
from tests.strategies.dags import dags

H100 = gpu("h100")
SMALL = (
    "matmul:6,7,5", "C1D:10,3,4,3,2,1", "C2D:7,7,4,6,3,1,1", "GRP:6,6,8,8,3,1,1", "DIL:9,9,2,3,3,1,2",
    "DEP:6,6,5,3,1,1",
    "T2D:4,4,3,4,4,2,1", "NRM:12,20", "ConvLayer:6,6,3,4,3,1,1", "TBS:8,2,6", "softmax:3,200", "rowmin:4,300",
)  # fmt: skip


def default(dag: ComputeDAG) -> LoopNest:
    """The default nest."""
    return lower(replay(dag, default_gpu_steps(dag, H100)))


def check(dag: ComputeDAG, nest: LoopNest) -> None:
    """It is legal, can be launched, and gives what NumPy gives."""
    verify(nest)
    assert refusal(nest, H100) == ""
    rng = np.random.default_rng(0)
    inputs = [rng.integers(1, 4, tensor.shape).astype(tensor.dtype) for tensor in dag.inputs]
    for ours, expected in zip(interpret(nest, *inputs), dag.evaluate(*inputs), strict=True):
        if dag.exact:
            np.testing.assert_array_equal(ours, expected)
        else:
            np.testing.assert_allclose(ours, expected, rtol=1e-4)


@pytest.mark.parametrize("text", SMALL)
def test_defaults_compute_what_numpy_computes(text: str) -> None:
    dag = parse_workload(text)
    check(dag, default(dag))


@settings(max_examples=25)
@given(dags())
def test_random_computations_have_a_default(dag: ComputeDAG) -> None:
    check(dag, default(dag))


def test_every_launch_has_blocks_of_whole_warps() -> None:
    for kernel in kernels(default(parse_workload("ConvLayer:56,56,64,64,3,2,1"))):
        assert kernel.threads % 32 == 0
        assert kernel.grid > 132


def test_threads_share_a_long_reduction_with_few_results() -> None:
    sites = [site for kernel in kernels(default(parse_workload("rowmin:10,1024"))) for site in kernel.sites]
    assert any(site.collective for site in sites)
    plain = [site for kernel in kernels(default(parse_workload("matmul:512,512,512"))) for site in kernel.sites]
    assert not any(site.collective for site in plain)


@pytest.mark.parametrize("join", [True, False])
def test_pieces_are_joined_and_cut(join: bool) -> None:
    nest = copies_nest(3, [4, 1, 40], join, "float32", "copy", H100)
    verify(nest)
    pieces = [np.random.default_rng(n).random((3, width)).astype(np.float32) for n, width in enumerate((4, 1, 40))]
    whole = np.concatenate(pieces, axis=1)
    found = interpret(nest, *(pieces if join else [whole]))
    for ours, expected in zip(found, [whole] if join else pieces, strict=True):
        np.testing.assert_array_equal(ours, expected)
