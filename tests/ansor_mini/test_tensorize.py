"""The sketch rule for Tensor Cores: which stages it takes, what their programs compute, what it leaves alone."""

from __future__ import annotations

import numpy as np
import pytest

from ansor_mini.gpu_rules.contraction import contraction, future_contraction
from ansor_mini.gpu_rules.rules import GPU_RULES
from ansor_mini.gpu_rules.tensorize import (
    GPU_RULES_WITH_TENSOR_CORES,
    GPU_RULES_WITH_TF32,
    fitting_tilings,
    is_tensorized,
    tensor_programs,
)
from ansor_mini.local_measurer import case_of
from ansor_mini.model_measurer import ModelMeasurer
from ansor_mini.narrow_inputs import with_narrow_inputs
from ansor_mini.schedule import ScheduleError, initial_state, replay
from ansor_mini.schedule_examples import matmul
from ansor_mini.sketch import derive
from ansor_mini.steps import ComputeInline, Tensorize, parse_step
from ansor_mini.task_tuner import SearchOptions, Task, TaskTuner
from ansor_mini.tensor_steps import TENSOR_TILINGS
from ansor_mini.workloads import parse_workload
from runtime.cuda_on_cpu import run_on_cpu
from runtime.emit_cuda import emit_cuda
from runtime.gpu import gpu
from runtime.interpreter import interpret
from runtime.verify_nest import verify
from tests.strategies.tensor_programs import product

H100 = gpu("h100")
# Workload, batch, dtype of the operands. Rows, columns and depths that no tile divides; padding, strides, dilation.
WORKLOADS = [
    ("matmul:33,29,37", 1, "float16"),
    ("matmul:16,24,40", 2, "bfloat16"),
    ("C1D:12,8,16,3,2,1", 1, "float16"),
    ("C2D:6,5,16,24,3,1,1", 1, "float16"),
    ("C2D:7,7,3,16,3,2,1", 2, "bfloat16"),
    ("C2D:5,5,8,8,1,1,0", 1, "float32"),
    ("C3D:3,4,4,8,16,3,1,1", 1, "float16"),
    ("DIL:7,7,8,16,3,1,1", 1, "float16"),
    ("T2D:3,3,16,8,4,2,1", 1, "float16"),
    ("CAP:3,3,8,8,3,1,1", 1, "bfloat16"),
    ("ConvLayer:5,5,8,16,3,1,1", 1, "float16"),
]


def tensorized(workload, batch, dtype):
    """The DAG of a workload and its tensorised sketch."""
    dag = parse_workload(workload, batch=batch)
    rules = GPU_RULES_WITH_TF32
    if dtype != "float32":
        dag, rules = with_narrow_inputs(dag, dtype), GPU_RULES_WITH_TENSOR_CORES
    (sketch,) = [sketch for sketch in derive(dag, rules, H100) if is_tensorized(sketch)]
    return dag, sketch


def check_programs(dag, programs):
    """Run programs on the CPU under checks."""
    case = case_of(dag, np.random.default_rng(0))
    for program in programs:
        nest = program.lower()
        verify(nest)
        got, reports = run_on_cpu(emit_cuda(nest), case.inputs)
        assert not reports, str(program)
        for output, expected in zip(got, case.expected):
            np.testing.assert_array_equal(output, expected)


@pytest.mark.parametrize("workload, batch, dtype", WORKLOADS)
@pytest.mark.cc
def test_programs_compute_the_workload_and_are_clean(workload, batch, dtype):
    dag, sketch = tensorized(workload, batch, dtype)
    programs = list(tensor_programs(sketch))
    assert len(programs) == len(sketch.holes[0].values)
    check_programs(dag, programs[-1:])


@pytest.mark.slow
@pytest.mark.cc
def test_every_tiling_computes_the_same():
    dag, sketch = tensorized("matmul:256,264,72", 1, "float16")
    programs = list(tensor_programs(sketch))
    assert len(programs) == len(TENSOR_TILINGS)
    check_programs(dag, programs)


def test_the_nest_runs_serially_too():
    dag, sketch = tensorized("C2D:3,3,4,8,3,1,1", 1, "float16")
    case = case_of(dag, np.random.default_rng(1))
    nest = list(tensor_programs(sketch))[-1].lower()
    np.testing.assert_array_equal(interpret(nest, *case.inputs)[0], case.expected[0])


def test_the_other_sketches_stay():
    dag = with_narrow_inputs(parse_workload("matmul:64,64,64"), "float16")
    plain = [sketch.key for sketch in derive(dag, GPU_RULES, H100)]
    both = [sketch for sketch in derive(dag, GPU_RULES_WITH_TENSOR_CORES, H100)]
    assert [sketch.key for sketch in both if not is_tensorized(sketch)] == plain
    assert sum(map(is_tensorized, both)) == 1


@pytest.mark.parametrize(
    "dag, rules, target, why",
    [
        (matmul(64, 64, 64), GPU_RULES_WITH_TENSOR_CORES, "h100", "float32 is not rounded unasked"),
        (product(64, 64, 64), GPU_RULES_WITH_TENSOR_CORES, "t4", "sm_75 has no such instructions"),
        (parse_workload("DEP:8,8,16,3,1,1"), GPU_RULES_WITH_TF32, "h100", "no axis of the weights alone"),
        (parse_workload("NRM:16,16"), GPU_RULES_WITH_TF32, "h100", "no columns"),
        (parse_workload("maxpool:8,8,16,2,1,1"), GPU_RULES_WITH_TF32, "h100", "no sum"),
    ],
)
def test_what_it_leaves_alone(dag, rules, target, why):
    assert not any(is_tensorized(sketch) for sketch in derive(dag, rules, gpu(target))), why


def test_a_consumer_takes_the_results_as_they_come():
    _, sketch = tensorized("ConvLayer:5,5,8,16,3,1,1", 1, "float16")
    (step,) = [step for step in sketch.steps if isinstance(step, Tensorize)]
    assert step.consumer
    module = emit_cuda(next(tensor_programs(sketch)).lower())
    assert len(module.launches) == 1 and not module.workspace


def test_large_results_have_all_tilings_small_ones_those_with_little_padding():
    large = contraction(initial_state(product(4096, 4096, 4096)), "C")
    small = contraction(initial_state(product(17, 100, 64)), "C")
    assert large is not None and small is not None
    assert fitting_tilings(large, H100) == tuple(range(len(TENSOR_TILINGS)))
    assert all(TENSOR_TILINGS[n].m <= 32 and TENSOR_TILINGS[n].n <= 112 for n in fitting_tilings(small, H100))
    single = contraction(initial_state(product(4096, 4096, 4096, "float32")), "C")
    assert single is not None
    assert all(TENSOR_TILINGS[n].shared_bytes("float32") <= 163 << 10 for n in fitting_tilings(single, gpu("a100")))


def test_the_axes_of_a_convolution():
    dag = with_narrow_inputs(parse_workload("C2D:6,5,16,24,3,1,1"), "float16")
    assert contraction(initial_state(dag), "conv") is None  # the padding is still a float32 stage of its own
    state = replay(dag, [ComputeInline("pad")])
    found = contraction(state, "conv")
    assert found is not None and found == future_contraction(initial_state(dag), "conv")
    assert [axis.name for axis in found.rows.outer] == ["n", "h", "w"]
    assert [axis.name for axis in found.columns.outer] == ["c"]
    assert (found.rows.extent, found.columns.extent, found.depth) == (30, 24, 144)
    assert found.rows.condition is not None and found.columns.condition is None
    assert found.rows.inner_last and not found.columns.inner_last


def test_the_step_is_read_back_and_refuses_what_is_no_product():
    step = Tensorize("C", (3,), "D")
    assert parse_step(repr(step)) == step
    state = initial_state(parse_workload("maxpool:8,8,16,2,1,1"))
    with pytest.raises(ScheduleError, match="is no sum of products"):
        Tensorize(state.stages[-1].name, (0,)).apply(state)
    with pytest.raises(ScheduleError, match="tilings"):
        Tensorize("C", (len(TENSOR_TILINGS),)).apply(initial_state(product(32, 32, 32)))
    with pytest.raises(ScheduleError, match="must not be scheduled before"):
        replay(product(32, 32, 32), [Tensorize("C", (0,)), Tensorize("C", (0,))])


def test_a_search_with_the_rule_ends_on_tensor_cores():
    dag = with_narrow_inputs(parse_workload("matmul:512,512,512"), "float16")
    options = SearchOptions(rules=GPU_RULES_WITH_TENSOR_CORES)
    task, rng = Task("product", dag), np.random.default_rng(0)
    tuner = TaskTuner(task, rng=rng, measurer=ModelMeasurer(H100), machine=H100, options=options)
    assert tuner.round(16) == 16
    assert tuner.best is not None and is_tensorized(tuner.best.sketch)


def test_narrow_inputs_by_name():
    dag = parse_workload("ConvLayer:5,5,8,16,3,1,1")
    narrow = with_narrow_inputs(dag, "bfloat16")
    assert {tensor.name: tensor.dtype for tensor in narrow.inputs if tensor.dtype == "bfloat16"}.keys() == {"X", "W"}
    with pytest.raises(ValueError, match="nothing"):
        with_narrow_inputs(dag, "bfloat16", ["nothing"])
    with pytest.raises(ValueError, match="float32"):
        with_narrow_inputs(dag, "float32")
