"""Section of emitted programs: the published ladder of matrix products as nests, beside the model's prediction."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from runtime.emit_cuda import emit_cuda
from runtime.gpu_model import predict
from runtime.measure_case import MeasureCase
from tests.benchmarks import sgemm_ladder
from tests.gpu.report import Row, row_of
from tests.gpu.session import Session, with_peer

AHEAD = 3  # last rungs that are also timed with tiles loaded ahead of their use


def ladder(session: Session) -> Iterator[Row]:
    """Each rung against cuBLAS; its facts hold the predicted seconds and what was published for the same step."""
    size = session.size(sgemm_ladder.SIZE, 64)
    rng = np.random.default_rng(0)
    a, b = (rng.integers(-3, 4, (size, size)).astype(np.float32) for _ in range(2))
    case = MeasureCase([a, b], [a @ b])
    rungs = {"naive": lambda: sgemm_ladder.naive(64)} if session.rehearsal else sgemm_ladder.LADDER
    answers = session.peers([{"name": "matmul", "kind": "matmul", "shape": [size] * 3}])
    for name, make in rungs.items():
        nest = make()
        result = session.measure(nest, case, min_repeat_seconds=0.01)
        row = row_of("emitted ladder", f"{name} {size}", result, flops=2.0 * size**3)
        row.facts |= {"predicted seconds": predict(nest, session.gpu).seconds}
        row.facts |= {"published TFLOPS": sgemm_ladder.PUBLISHED.get(name, {})}
        yield with_peer(row, "cuBLAS", answers, "matmul")
    for name, make in list(rungs.items())[-AHEAD:]:
        result = session.measure(emit_cuda(make(), prefetch=True), case, min_repeat_seconds=0.01)
        row = row_of("emitted ladder", f"{name}, loaded ahead {size}", result, flops=2.0 * size**3)
        yield with_peer(row, "cuBLAS", answers, "matmul")
