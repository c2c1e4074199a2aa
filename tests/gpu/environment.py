"""What a report says about the machine: GPU, driver, compiler, PyTorch, tools, and the state of the source tree."""

from __future__ import annotations

import importlib.metadata
import platform
import shutil
import subprocess
from pathlib import Path
from typing import Any

from runtime.compile_cuda import NvccNotFound, find_nvcc
from runtime.gpu_detection import detect_gpu, device_lines
from runtime.machine import detect


def describe() -> dict[str, Any]:
    """Facts by name, all of them text or numbers."""
    facts: dict[str, Any] = dict(device_lines())
    facts["gpu_fields"] = detect_gpu().as_dict()
    try:
        facts["nvcc"] = find_nvcc().line
    except NvccNotFound as error:
        facts["nvcc"] = str(error)
    facts["host"] = f"{detect().line}; Python {platform.python_version()}, {platform.platform()}"
    for package in ("numpy", "torch", "cffi"):
        try:
            facts[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            facts[package] = "not installed"
    for tool in ("compute-sanitizer", "ncu"):
        facts[tool] = find_tool(tool) or "not installed"
    facts["commit"] = _said(["git", "rev-parse", "--short", "HEAD"])
    facts["clocks"] = _said(
        ["nvidia-smi", "--query-gpu=clocks.sm,clocks.mem,clocks.max.sm,power.limit", "--format=csv,noheader"]
    )
    return facts


def find_tool(name: str) -> str:
    """The path of one of CUDA's tools, on PATH or beside nvcc; empty when it is not there."""
    found = shutil.which(name) or shutil.which(name, path="/usr/local/cuda/bin:/usr/local/cuda/compute-sanitizer")
    if found:
        return found
    try:
        home = Path(find_nvcc().command).resolve().parents[1]
    except NvccNotFound:
        return ""
    places = (home / "bin" / name, home / "compute-sanitizer" / name)
    return next((str(place) for place in places if place.exists()), "")


def _said(command: list[str]) -> str:
    try:
        return subprocess.run(
            command, capture_output=True, text=True, timeout=10, check=False, cwd=Path(__file__).parent
        ).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return ""
