"""Section of NVIDIA's own checker: compute-sanitizer's tools over small emitted and hand-written programs.

`python -m tests.gpu.sanitizer FOLDER` runs what the section put into a folder, once each, and is what the tool watches.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from runtime.cuda_child import LoadedCase, Program
from runtime.cuda_driver import Device
from runtime.loop_nest import LoopNest
from runtime.measure_case import MeasureCase, MeasureResult
from runtime.measure_cuda import Timing, build, request_of, signature_of
from runtime.scratch import scratch_folder
from tests.benchmarks import sgemm_ladder
from tests.gpu import hand_written
from tests.gpu.environment import find_tool
from tests.gpu.report import Row
from tests.gpu.session import Session

TOOLS = ("memcheck", "racecheck", "synccheck", "initcheck")
TOOL_SECONDS = 60.0


@dataclass(frozen=True)
class Sample:
    """A program small enough for a tool that slows it down a hundred times."""

    name: str
    program: Any
    case: MeasureCase


def samples() -> list[Sample]:
    """The programs."""
    modules = [hand_written.copy(4096), hand_written.matmul(128)]
    rng = np.random.default_rng(0)
    a, b = (rng.integers(-3, 4, (128, 128)).astype(np.float32) for _ in range(2))
    case = MeasureCase([a, b], [a @ b])
    nests: dict[str, LoopNest] = {
        "naive": sgemm_ladder.naive(128),
        "shared tile": sgemm_ladder.shared_tile(128),
        "tile of 8x8": sgemm_ladder.register_tile(128),
    }
    found = [Sample(module.name, module, module.case) for module in modules]
    return found + [Sample(name, nest, case) for name, nest in nests.items()]


def sanitize(session: Session) -> Iterator[Row]:
    """One row per tool."""
    tool = find_tool("compute-sanitizer")
    with scratch_folder("sanitizer") as folder:
        missing = {}
        for number, sample in enumerate(samples()):
            built = build(sample.program, signature_of(sample.case), session.gpu, session.builder, 60.0)
            if isinstance(built, MeasureResult):
                missing[sample.name] = str(built)[:300]
                continue
            own = folder / str(number)
            own.mkdir()
            sample.case.save(own)
            (own / "request.json").write_text(json.dumps(request_of(built, Timing()) | {"name": sample.name}))
        if not tool:
            status = "skipped: compute-sanitizer is not installed"
            done = _watched([sys.executable, "-m", "tests.gpu.sanitizer", str(folder)])
            yield Row("sanitizer", "programs run once", done or status, facts={"not built": missing})
            return
        for name in TOOLS:
            command = [tool, "--tool", name, "--error-exitcode", "99", sys.executable, "-m", "tests.gpu.sanitizer"]
            said = _watched([*command, str(folder)])
            count = sum(1 for _ in folder.iterdir())
            yield Row("sanitizer", f"{name}: {count} programs", said or "ok", facts={"not built": missing})


def _watched(command: list[str]) -> str:
    """Run a command; empty when all is well, else what it says."""
    root = Path(__file__).resolve().parents[2]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=TOOL_SECONDS, check=False, cwd=root)
    except subprocess.TimeoutExpired:
        return f"skipped: not done after {TOOL_SECONDS:.0f} s"
    said = done.stdout + done.stderr
    if done.returncode == 0:
        return ""
    errors = [line.strip("= ") for line in said.splitlines() if re.match(r"=+ +\w", line)][1:6]
    return f"exit status {done.returncode}: {'; '.join(errors) or said.strip()[-300:]}"


def run_saved(folder: Path) -> int:
    """Run every program of a folder once; the number of wrong answers."""
    wrong = 0
    with Device() as device:
        for own in sorted(folder.iterdir()):
            request = json.loads((own / "request.json").read_text())
            loaded = LoadedCase(device, str(own))
            with Program(device, loaded, request) as program:
                program.call()
                mistake = program.mistake()
            loaded.free()
            if mistake:
                wrong += 1
                sys.stderr.write(f"{request['name']}: {mistake}\n")
    return wrong


if __name__ == "__main__":
    sys.exit(1 if run_saved(Path(sys.argv[1])) else 0)
