"""Compiles and times programs on a GPU: built side by side, run one at a time in a child process.

Like `runtime.measure`, with two differences: the GPU's clock is not disturbed by compilers, so programs run while
others are still being built; and what the compiler says about registers and spills is kept in a result's `facts`.
On the stand-in (`runtime.cuda_stand_in`) the same programs are built for the CPU, and no time means anything.

Whatever a program does wrong is a `MeasureResult` with a kind and a reason; nothing here raises for it.

Paper: Ansor §3
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Union

from runtime import cuda_stand_in
from runtime.compile_c import CompileError
from runtime.compile_cuda import TIMEOUT, Cubin, Resources
from runtime.compiler_process import CompileTimeout, built_side_by_side
from runtime.cuda_builders import BUILDERS, default_builder
from runtime.gpu import Gpu
from runtime.gpu_detection import detect_gpu
from runtime.gpu_limits import launch_problem
from runtime.loop_nest import LoopNest
from runtime.machine import usable_cores
from runtime.measure_case import MeasureCase, MeasureResult
from runtime.narrow_floats import storage
from runtime.runner import Runner

if TYPE_CHECKING:
    from runtime.emit_cuda import CudaModule, Launch

Measurable = Union[LoopNest, "CudaModule", Callable[[], LoopNest]]
OnResult = Callable[[int, MeasureResult], None]
Signature = tuple[tuple[tuple[int, ...], str], ...]
CHILD_MODULE = "runtime.cuda_child"


@dataclass(frozen=True)
class BuiltModule:
    """A compiled module: its launches by buffer names, and what the compiler said about its kernels."""

    module: CudaModule
    cubin: Cubin

    def dynamic_shared(self, launch: Launch) -> int:
        """Bytes of shared memory to give at the launch: what it needs beyond the kernel's static arrays."""
        return self.cubin.dynamic_shared(launch.kernel, launch.shared_bytes)

    @property
    def facts(self) -> dict[str, int]:
        """The largest kernel's resources, and the spills of all together."""
        kernels = list(self.cubin.kernels.values())
        facts = {"kernels": len(kernels), "threads": max((launch.block for launch in self.module.launches), default=1)}
        facts |= {key: max((getattr(own, key) for own in kernels), default=0) for key in ("registers", "shared")}
        return facts | {key: sum(getattr(own, key) for own in kernels) for key in ("spill_stores", "spill_loads")}


@dataclass(frozen=True)
class Timing:
    """How programs are run: seconds one may take, how it is timed, whether the L2 cache is flushed before each call."""

    run_timeout: float = 10.0
    min_repeat_seconds: float = 0.002
    repeats: int = 10
    cold_caches: bool = False
    graphs: bool = True
    ordinal: int = 0

    def __post_init__(self) -> None:
        for name in ("run_timeout", "repeats"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} must be above 0, got {getattr(self, name)}")
        for name in ("min_repeat_seconds", "ordinal"):
            if not getattr(self, name) >= 0:
                raise ValueError(f"{name} must not be negative, got {getattr(self, name)}")


def measure_cuda(
    programs: Sequence[Measurable],
    case: MeasureCase | Sequence[MeasureCase],
    gpu: Gpu | None = None,
    *,
    builder: str | None = None,
    executor: Executor | None = None,
    runner: Runner | None = None,
    build_timeout: float = TIMEOUT,
    on_result: OnResult | None = None,
    **timing: Any,
) -> list[MeasureResult]:
    """Measure programs that all compute `case` on this machine's GPU; one result each, in order.

    Args:
        programs: loop nests with GPU loops, functions that return one, or CUDA modules.
        case: inputs and the outputs they must give; a sequence has one for each program.
        gpu: what to compile for and whose limits hold; by default the one that is there.
        builder: a name in `cuda_builders.BUILDERS`; by default `cuda_builders.default_builder()`.
        executor: runs the builders; by default threads of this process, one per core.
        runner: a running one to use again, made by `cuda_runner`.
        build_timeout: seconds one compiler may take.
        on_result: called with each program's number and result as soon as it is known, in order.
        timing: fields of `Timing`.

    Raises: NoGpu: there is none. CompilerNotFound: there is no CUDA compiler. ValueError: a number that cannot be.
    """
    options = Timing(**timing)
    gpu = gpu or detect_gpu(options.ordinal)
    builder = builder or default_builder()
    cases = [case] * len(programs) if isinstance(case, MeasureCase) else list(case)
    jobs = [
        (build, (program, signature_of(own), gpu, builder, build_timeout))
        for program, own in zip(programs, cases, strict=True)
    ]
    # One core stays free for the child, which must launch faster than the GPU runs.
    found = built_side_by_side(jobs, executor, max(1, usable_cores() - 1))
    results = []
    with ExitStack() as stack:
        for number, (built, own) in enumerate(zip(found, cases, strict=True)):
            if isinstance(built, MeasureResult):
                result = built
            else:
                runner = runner or stack.enter_context(cuda_runner())
                runner.load(own)
                result = replace(runner.request(request_of(built, options)), facts=built.facts)
            results.append(result)
            if on_result is not None:
                on_result(number, result)
    return results


class CudaMeasurer:
    """Measures the programs of one case on this machine's GPU; called like `ansor_mini.local_measurer.LocalMeasurer`.

    `options` go to `measure_cuda`. A context manager, which holds one child process.
    """

    def __init__(
        self, case: MeasureCase, gpu: Gpu | None = None, *, runner: Runner | None = None, **options: Any
    ) -> None:
        """Raises: NoGpu: this machine has none that can be used. ValueError: an option that cannot be."""
        self.gpu = gpu or detect_gpu(options.get("ordinal", 0))
        self.case, self.options = case, options
        self._owned = runner is None
        self.runner = runner or cuda_runner()

    @property
    def source(self) -> str:
        """What a record of these results may call them: `measured`, or `rehearsed` on the stand-in."""
        return "rehearsed" if self.gpu.name == cuda_stand_in.NAME else "measured"

    def __call__(self, nests: Sequence[Measurable], on_result: OnResult | None = None) -> list[MeasureResult]:
        """Measure; calls `on_result(number, result)` as each is known."""
        return measure_cuda(nests, self.case, self.gpu, runner=self.runner, on_result=on_result, **self.options)

    def close(self) -> None:
        """End the child process, unless the runner was given."""
        if self._owned:
            self.runner.close()

    def __enter__(self) -> CudaMeasurer:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def cuda_runner() -> Runner:
    """A child process that runs CUDA programs, to be used again by several measurements and then closed."""
    return Runner(CHILD_MODULE)


def signature_of(case: MeasureCase) -> Signature:
    """Shape and dtype of a case's inputs and outputs."""
    return tuple((array.shape, str(array.dtype)) for array in (*case.inputs, *case.expected))


def build(
    program: Measurable, signature: Signature, gpu: Gpu, builder: str, timeout: float
) -> BuiltModule | MeasureResult:
    """Emit and compile one program, or say why it cannot be run on this GPU or on arrays of this signature."""
    try:
        module = _module(program, signature)
    except Exception as error:  # whatever goes wrong in a schedule is the program's failure, not ours
        return MeasureResult("lowering_error", (), _reason(error))
    try:
        built = BuiltModule(module, BUILDERS[builder](module.text, gpu.arch, timeout))
    except CompileTimeout as error:
        return MeasureResult("build_timeout", (), _reason(error))
    except CompileError as error:
        return MeasureResult("compile_error", (), _reason(error))
    for launch in module.launches:
        resources = built.cubin.kernels.get(launch.kernel, Resources(0))
        problem = launch_problem(gpu, launch.grid, launch.block, resources, built.dynamic_shared(launch))
        if problem:
            return MeasureResult("compile_error", (), f"{launch.kernel} does not fit the GPU: {problem}", built.facts)
    return built


def _module(program: Measurable, signature: Signature) -> CudaModule:
    if callable(program):
        program = program()
    if isinstance(program, LoopNest):
        from runtime.emit_cuda import emit_cuda

        module = emit_cuda(program)
    else:
        module = program
    expected = tuple((buffer.shape, str(storage(buffer.dtype))) for buffer in (*module.inputs, *module.outputs))
    if expected != signature:
        raise ValueError(f"it is declared for {expected}, the case holds {signature}")
    return module


def request_of(built: BuiltModule, timing: Timing) -> dict[str, Any]:
    """What `runtime.cuda_child` is told."""
    module = built.module
    return {
        "image": str(built.cubin.path),
        "inputs": [buffer.name for buffer in module.inputs],
        "outputs": [buffer.name for buffer in module.outputs],
        "workspace": [(buffer.name, buffer.nbytes) for buffer in module.workspace],
        "launches": [
            {
                "kernel": launch.kernel,
                "grid": launch.grid,
                "block": launch.block,
                "arguments": launch.arguments,
                "shared": built.dynamic_shared(launch),
            }
            for launch in module.launches
        ],
        **vars(timing),
    }


def _reason(error: Exception) -> str:
    """What went wrong, in at most a few lines."""
    lines = str(error).strip().splitlines()[:5] or [type(error).__name__]
    return "\n".join(line[:300] for line in lines)
