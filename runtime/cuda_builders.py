"""The ways to build CUDA text: nvcc, NVRTC, and the CPU shim for the stand-in driver."""

from __future__ import annotations

import os
from collections.abc import Callable

from runtime.compile_cuda import Cubin, compile_cuda, find_nvcc

Builder = Callable[[str, str, float], Cubin]  # text, architecture, seconds


def build_with_nvcc(text: str, arch: str, timeout: float) -> Cubin:
    """A cubin by the compiler on this machine."""
    return compile_cuda(text, arch, timeout=timeout)


def build_for_cpu(text: str, arch: str, timeout: float) -> Cubin:
    """A library that the stand-in driver runs, whatever the architecture."""
    from runtime.cuda_on_cpu.build import build_on_cpu

    return Cubin(build_on_cpu(text, checks=True), "cpu", {})


BUILDERS: dict[str, Builder] = {"nvcc": build_with_nvcc, "cpu": build_for_cpu}


def default_builder() -> str:
    """The name of the fastest builder that makes code for the driver that is there.

    Raises: CompilerNotFound: there is none.
    """
    from runtime import cuda_stand_in
    from runtime.gpu_detection import detect_gpu

    if os.environ.get("MINI_CUDA_DRIVER") and detect_gpu().name == cuda_stand_in.NAME:
        return "cpu"
    find_nvcc()
    return "nvcc"
