"""Measures the programs of one task on this machine, checked against the DAG's NumPy meaning.

Paper: Ansor §3
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from concurrent.futures import Executor
from types import TracebackType
from typing import Any

import numpy as np

from ansor_mini.compute_dag import ComputeDAG
from ansor_mini.layout_rewrite import pack_case
from runtime.loop_nest import LoopNest
from runtime.measure import measure
from runtime.measure_case import MeasureCase, MeasureResult
from runtime.narrow_floats import pack
from runtime.runner import Runner

PACKED_BYTES = 512 << 20  # weights in the layouts of programs that wait to be measured


def case_of(dag: ComputeDAG, rng: np.random.Generator) -> MeasureCase:
    """Inputs for a DAG, and the outputs they must give.

    Small integers where every order of summation gives the same bits, so that results are compared with ==; numbers
    around 1 (positive, for square roots and quotients) otherwise.
    """
    inputs: list[np.ndarray] = []
    for tensor in dag.inputs:
        if dag.exact or "float" not in tensor.dtype:
            inputs.append(pack(rng.integers(-3, 4, tensor.shape), tensor.dtype))
        else:
            inputs.append(pack(rng.uniform(0.5, 1.5, tensor.shape), tensor.dtype))
    return MeasureCase(inputs, dag.evaluate(*inputs), exact=dag.exact)


class LocalMeasurer:
    """Builds and runs programs of one task in this machine's builder pool and one isolated runner."""

    def __init__(
        self,
        dag: ComputeDAG,
        *,
        threads: int = 1,
        rng: np.random.Generator | None = None,
        case: MeasureCase | None = None,
        constants: Collection[str] = (),
        runner: Runner | None = None,
        executor: Executor | None = None,
        **options: Any,
    ) -> None:
        """Prepare the inputs (or take `case`); `options` go to `runtime.measure.measure`.

        constants: names of inputs that are weights, which every program may read in a layout of its own.
        """
        self.tensors = dag.inputs
        self.constants = frozenset(constants)
        self.case = case or case_of(dag, rng or np.random.default_rng(0))
        self.threads, self.executor, self.options = threads, executor, options
        self._owned = runner is None
        self.runner = runner or Runner()

    def __call__(self, nests: Sequence[LoopNest], on_result: Any) -> list[MeasureResult]:
        """Measure; calls `on_result(number, result)` as each is known."""
        results: list[MeasureResult] = []
        for start in range(0, len(nests), self._at_once):

            def report(number: int, result: MeasureResult, start: int = start) -> None:
                on_result(start + number, result)

            pairs = [pack_case(nest, self.case, self.constants) for nest in nests[start : start + self._at_once]]
            results += measure(
                [nest for nest, _ in pairs],
                [case for _, case in pairs],
                threads=self.threads,
                executor=self.executor,
                runner=self.runner,
                on_result=report,
                **self.options,
            )
        return results

    @property
    def _at_once(self) -> int:
        """How many programs may have weights of their own in memory together."""
        names = [tensor.name for tensor in self.tensors]
        packed = sum(array.nbytes for name, array in zip(names, self.case.inputs) if name in self.constants)
        return max(1, PACKED_BYTES // max(1, packed))

    def close(self) -> None:
        """Stop the runner, unless it was given."""
        if self._owned:
            self.runner.close()

    def __enter__(self) -> LocalMeasurer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
