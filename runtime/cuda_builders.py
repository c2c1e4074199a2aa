"""The ways to build CUDA text: nvcc, NVRTC, and the CPU shim for the stand-in driver."""

from __future__ import annotations

import os
from collections.abc import Callable

from runtime.compile_cuda import Cubin, NvccNotFound, compile_cuda, find_nvcc
from runtime.nvrtc import NvrtcNotFound, compile_nvrtc, find_nvrtc

Builder = Callable[[str, str, float], Cubin]  # text, architecture, seconds


def build_with_nvcc(text: str, arch: str, timeout: float) -> Cubin:
    """A cubin by the compiler on this machine."""
    return compile_cuda(text, arch, timeout=timeout)


def build_with_nvrtc(text: str, arch: str, timeout: float) -> Cubin:
    """A cubin by the compiler that is a library; it cannot be stopped, so `timeout` is not kept."""
    return compile_nvrtc(text, arch)


def build_for_cpu(text: str, arch: str, timeout: float) -> Cubin:
    """A library that the stand-in driver runs, whatever the architecture."""
    from runtime.cuda_on_cpu.build import build_on_cpu

    return Cubin(build_on_cpu(text, checks=True), "cpu", {})


BUILDERS: dict[str, Builder] = {"nvcc": build_with_nvcc, "nvrtc": build_with_nvrtc, "cpu": build_for_cpu}


def default_builder() -> str:
    """The name of a builder that makes code for the driver that is there; NVRTC, which knows no time limit, after nvcc.

    `$MINI_CUDA_BUILDER` names another, such as `nvrtc` for its speed.
    Raises: NvccNotFound: there is none. ValueError: the variable names none.
    """
    from runtime import cuda_stand_in
    from runtime.gpu_detection import detect_gpu

    if os.environ.get("MINI_CUDA_DRIVER") and detect_gpu().name == cuda_stand_in.NAME:
        return "cpu"
    named = os.environ.get("MINI_CUDA_BUILDER", "")
    if named:
        if named not in BUILDERS:
            raise ValueError(f"MINI_CUDA_BUILDER must be one of {', '.join(BUILDERS)}, got {named!r}")
        return named
    try:
        find_nvcc()
    except NvccNotFound:
        try:
            find_nvrtc()
        except NvrtcNotFound:
            pass
        else:
            return "nvrtc"
        raise
    return "nvcc"
