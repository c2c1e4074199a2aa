"""Section of tensorised programs: every tiling of the rule `tensorize` measured, the best beside cuBLAS and cuDNN.

The best tiling is then printed in the other ways that the emitter knows: with fragments loaded ahead, through WMMA.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from ansor_mini.compute_dag import ComputeDAG
from ansor_mini.gpu_rules.tensorize import (
    GPU_RULES_WITH_TENSOR_CORES,
    GPU_RULES_WITH_TF32,
    is_tensorized,
    tensor_programs,
)
from ansor_mini.narrow_inputs import with_narrow_inputs
from ansor_mini.sketch import Sketch, derive
from ansor_mini.tensor_steps import TENSOR_TILINGS
from ansor_mini.workloads import parse_workload
from runtime.emit_cuda import CudaModule, emit_cuda
from runtime.measure_case import MeasureCase, MeasureResult
from runtime.measure_cuda import measure_cuda
from runtime.narrow_floats import pack
from tests.gpu.peers import Request
from tests.gpu.report import Row, row_of
from tests.gpu.session import Session, with_peer

LEFT = 60.0  # seconds that later sections shall have


@dataclass(frozen=True)
class Entry:
    """One computation: its workload on a GPU and in a rehearsal, dtype of the operands, the request to the peer."""

    workload: str
    rehearsed: str
    dtype: str
    peer: str
    request: Request = field(default_factory=dict)
    batch: int = 1

    @property
    def name(self) -> str:
        """For tables."""
        batch = f" batch {self.batch}" if self.batch > 1 else ""
        return f"{self.workload}{batch} {'tf32' if self.dtype == 'float32' else self.dtype}"


def _product(size: int, dtype: str) -> Entry:
    request = {"kind": "matmul", "shape": [size] * 3, "dtype": "tf32" if dtype == "float32" else dtype}
    return Entry(f"matmul:{size},{size},{size}", "matmul:48,40,64", dtype, "cuBLAS", request)


def _convolution(size: int, channels: int, batch: int) -> Entry:
    request: Request = {
        "kind": "conv",
        "input": [batch, channels, size, size],
        "dtype": "float16",
        "channels_last": True,
    }
    request |= {"weight": [channels, channels, 3, 3], "options": {"padding": 1}}
    workload = f"C2D:{size},{size},{channels},{channels},3,1,1"
    return Entry(workload, "C2D:6,6,8,16,3,1,1", "float16", "cuDNN", request, batch)


ENTRIES = (
    _product(4096, "float16"),
    _product(4096, "float32"),
    _product(1024, "float16"),
    _convolution(56, 64, 16),
    _convolution(14, 256, 16),
)


def tensorized(session: Session) -> Iterator[Row]:
    """All tilings through mma.sync; then the best one through WMMA, for comparison."""
    entries = ENTRIES[:1] + ENTRIES[3:4] if session.rehearsal else ENTRIES
    answers = session.peers([{"name": entry.name, **entry.request} for entry in entries])
    for entry in entries:
        if session.seconds_left < LEFT and not session.rehearsal:
            yield Row("tensorized", entry.name, "skipped: no time left")
            continue
        dag, sketch = _tensorized_sketch(session, entry)
        case = _case(dag)
        programs = list(tensor_programs(sketch))
        programs = programs[-2:] if session.rehearsal else programs
        results = _measure(session, [emit_cuda(program.lower()) for program in programs], case)
        best = min(range(len(results)), key=lambda number: results[number].cost)
        tiling = TENSOR_TILINGS[int(programs[best].frozen[0][1][0])]  # type: ignore[index]
        row = row_of("tensorized", entry.name, results[best], flops=float(dag.flops))
        tried = [f"{program}: {result}" for program, result in zip(programs, results)]
        row.facts |= {"tiling": str(tiling), "tried": tried}
        yield with_peer(row, entry.peer, answers, entry.name)
        nest = programs[best].lower()
        ways = {"fragments ahead": "mma-ahead", "through WMMA": "wmma"}
        others = _measure(session, [emit_cuda(nest, tensor_cores=way) for way in ways.values()], case)
        for label, other in zip(ways, others):
            row = row_of("tensorized", f"{entry.name} {label}", other, flops=float(dag.flops))
            yield with_peer(row, entry.peer, answers, entry.name)


def _measure(session: Session, modules: list[CudaModule], case: MeasureCase) -> list[MeasureResult]:
    return measure_cuda(
        modules, case, session.gpu, builder=session.builder, runner=session.runner, run_timeout=30.0,
        min_repeat_seconds=0.01,
    )  # fmt: skip


def _tensorized_sketch(session: Session, entry: Entry) -> tuple[ComputeDAG, Sketch]:
    workload, batch = (entry.rehearsed, 1) if session.rehearsal else (entry.workload, entry.batch)
    dag, rules = parse_workload(workload, batch=batch), GPU_RULES_WITH_TF32
    if entry.dtype != "float32":
        dag, rules = with_narrow_inputs(dag, entry.dtype), GPU_RULES_WITH_TENSOR_CORES
    (sketch,) = [sketch for sketch in derive(dag, rules, session.gpu) if is_tensorized(sketch)]
    return dag, sketch


def _case(dag: ComputeDAG) -> MeasureCase:
    """Small integers, and the result by BLAS, tap by tap, since a DAG evaluates slowly."""
    rng = np.random.default_rng(0)
    inputs = [rng.integers(-3, 4, tensor.shape) for tensor in dag.inputs]
    wide = [array.astype(np.float32) for array in inputs]
    if len(dag.outputs[0].shape) == 2:
        expected = wide[0] @ wide[1]
    else:
        expected = _convolve(*wide)
    return MeasureCase([pack(array, tensor.dtype) for array, tensor in zip(inputs, dag.inputs)], [expected])


def _convolve(x: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """A convolution of 3 x 3 taps with padding 1 and stride 1, channels last."""
    _, height, width, _ = x.shape
    padded = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    result = np.zeros((*x.shape[:3], weight.shape[-1]), np.float32)
    for i in range(3):
        for j in range(3):
            result += padded[:, i : i + height, j : j + width] @ weight[i, j]
    return result
