"""A model in the place of measurements, so that the whole loop of a search for GPUs runs where there is none.

Called like a `LocalMeasurer`; every record of it says `model`. `CheckedMeasurer` also runs each program on the CPU,
thread by thread and under checks, and compares its outputs: a wrong program is a `wrong_answer` with the report.

Paper: Ansor §3
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ansor_mini.record import MODEL
from runtime.compile_c import CompileError
from runtime.gpu import Gpu
from runtime.gpu_model import predict
from runtime.loop_nest import LoopNest
from runtime.measure_case import MeasureCase, MeasureResult

OnResult = Callable[[int, MeasureResult], None]


class ModelMeasurer:
    """Predicts the time of programs on a GPU; what cannot be launched there is a failure with the model's reason."""

    source = MODEL

    def __init__(self, gpu: Gpu) -> None:
        """Predict for one GPU."""
        self.gpu = gpu

    def __call__(self, nests: Sequence[LoopNest], on_result: OnResult | None = None) -> list[MeasureResult]:
        """Predict; calls `on_result(number, result)` for each."""
        results = []
        for number, nest in enumerate(nests):
            results.append(self.result(nest))
            if on_result is not None:
                on_result(number, results[-1])
        return results

    def result(self, nest: LoopNest) -> MeasureResult:
        """The prediction as a result."""
        found = predict(nest, self.gpu)
        if found.reason:
            return MeasureResult("lowering_error", (), found.reason)
        return MeasureResult("ok", (found.seconds,))

    def close(self) -> None:
        """Nothing to close."""

    def __enter__(self) -> ModelMeasurer:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class CheckedMeasurer(ModelMeasurer):
    """A model's times for programs that were run under checks on the CPU and answered as expected."""

    def __init__(self, gpu: Gpu, case: MeasureCase) -> None:
        """Predict for one GPU, and check on one case."""
        super().__init__(gpu)
        self.case = case

    def result(self, nest: LoopNest) -> MeasureResult:
        """The prediction, or what is wrong with the program."""
        found = super().result(nest)
        try:
            wrong = checked_mistake(nest, self.case) if found.ok else ""
        except CompileError as error:
            return MeasureResult("compile_error", (), "\n".join(str(error).splitlines()[:5]))
        return MeasureResult("wrong_answer", (), wrong) if wrong else found


def checked_mistake(nest: LoopNest, case: MeasureCase) -> str:
    """Run a nest as CUDA on the CPU under all checks; the first thing that is wrong with it, empty when nothing is.

    Raises: CompilerNotFound: there is no C++ compiler.
    """
    from runtime.cuda_on_cpu import run_on_cpu
    from runtime.emit_cuda import EmitError, emit_cuda

    try:
        module = emit_cuda(nest)
    except EmitError as error:
        return f"no CUDA: {error}"
    outputs, reports = run_on_cpu(module, case.inputs)
    return str(reports[0]) if reports else case.mistake(outputs)
