"""The options that say what a search is for: this machine's cores or a GPU, and who says how long programs take.

Paper: Ansor §3, §4.3
"""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Collection, Mapping
from contextlib import AbstractContextManager
from typing import Any, cast

import numpy as np

from ansor_mini.compute_dag import ComputeDAG
from ansor_mini.local_measurer import LocalMeasurer, case_of
from ansor_mini.model_measurer import CheckedMeasurer, ModelMeasurer
from ansor_mini.target import Target, cpu_target, cuda_target
from ansor_mini.task import Measurer
from runtime.compile_c import find_compiler
from runtime.gpu import GPUS, Gpu, gpu
from runtime.machine import detect
from runtime.measure_case import MeasureCase

TARGETS = ("cpu", "cuda")
MEASURES = ("run", "model", "gpu", "check")
DEFAULT_GPU = "h100"

Open = AbstractContextManager[Measurer]


def add_target(parser: ArgumentParser) -> None:
    """Declare the options."""
    group = parser.add_argument_group("target")
    group.add_argument("--target", default="cpu", choices=TARGETS, help="what programs are for (default: cpu)")
    group.add_argument(
        "--gpu", metavar="NAME", help=f"for --target cuda: {', '.join(GPUS)} (default: the one here, h100)"
    )
    group.add_argument(
        "--measure",
        choices=MEASURES,
        help="who says how long a program takes: run and gpu run it on the cores and the GPU of this machine; model "
        "predicts and measures nothing; check does too, and runs programs under checks on the CPU (default: run, gpu)",
    )


def chosen_target(arguments: Namespace) -> Target:
    """The target that the options name.  Raises: ValueError: they do not go together, or there is no GPU."""
    measure = measure_of(arguments)
    if arguments.target == "cpu":
        if arguments.gpu or measure != "run":
            raise ValueError("--gpu and --measure model, gpu or check need --target cuda")
        return cpu_target(detect(), arguments.threads)
    if measure == "run":
        raise ValueError("--measure run is for --target cpu; for cuda it is one of model, gpu and check")
    if arguments.threads != 1:
        raise ValueError(f"--threads is for --target cpu, got {arguments.threads} with cuda")
    return cuda_target(_gpu(arguments.gpu, measure))


def measure_of(arguments: Namespace) -> str:
    """Who says how long a program takes."""
    return str(arguments.measure or ("run" if arguments.target == "cpu" else "gpu"))


def _gpu(name: str | None, measure: str) -> Gpu:
    if measure == "gpu":
        from runtime.cuda_library import NoGpu
        from runtime.gpu_detection import detect_gpu

        if name:
            raise ValueError("--measure gpu takes the GPU that is here; leave --gpu out")
        try:
            return detect_gpu()
        except NoGpu as error:
            raise ValueError(f"{error}; --measure model predicts instead") from None
    return gpu(name or DEFAULT_GPU)


def open_measurer(
    arguments: Namespace,
    target: Target,
    dag: ComputeDAG,
    rng: np.random.Generator,
    constants: Collection[str],
    options: Mapping[str, Any],
) -> Open:
    """What measures the programs of one computation, to be closed after use."""
    return cast(Open, MEASURERS[measure_of(arguments)](target, dag, lambda: case_of(dag, rng), constants, options))


MakeCase = Callable[[], MeasureCase]
Maker = Callable[[Target, ComputeDAG, MakeCase, Collection[str], Mapping[str, Any]], Any]


def _run(
    target: Target, dag: ComputeDAG, case: MakeCase, constants: Collection[str], options: Mapping[str, Any]
) -> Any:
    find_compiler()
    threads = options.get("threads", 1)
    rest = {name: value for name, value in options.items() if name != "threads"}
    return LocalMeasurer(dag, threads=threads, case=case(), constants=constants, **rest)


def _on_gpu(
    target: Target, dag: ComputeDAG, case: MakeCase, constants: Collection[str], options: Mapping[str, Any]
) -> Any:
    from runtime.measure_cuda import CudaMeasurer

    return CudaMeasurer(
        case(), _device(target), **{name: value for name, value in options.items() if name != "threads"}
    )


def _model(
    target: Target, dag: ComputeDAG, case: MakeCase, constants: Collection[str], options: Mapping[str, Any]
) -> Any:
    return ModelMeasurer(_device(target))


def _check(
    target: Target, dag: ComputeDAG, case: MakeCase, constants: Collection[str], options: Mapping[str, Any]
) -> Any:
    return CheckedMeasurer(_device(target), case())


def _device(target: Target) -> Gpu:
    assert isinstance(target.device, Gpu)
    return target.device


MEASURERS: Mapping[str, Maker] = {"run": _run, "gpu": _on_gpu, "model": _model, "check": _check}
