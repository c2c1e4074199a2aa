"""Runs CUDA text on the CPU under checks: `compile_on_cpu`, `CpuKernels.launch`, `run_on_cpu`, `Report`."""

from __future__ import annotations

from runtime.cuda_on_cpu.kernels import CpuKernels, compile_on_cpu
from runtime.cuda_on_cpu.reports import Report
from runtime.cuda_on_cpu.run_module import run_on_cpu

__all__ = ["CpuKernels", "Report", "compile_on_cpu", "run_on_cpu"]
