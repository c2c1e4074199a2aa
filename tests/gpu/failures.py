"""Section of kernels that go wrong on purpose: each must be one clear result, and the next kernel must run."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from runtime.expr import Buffer
from runtime.measure_case import MeasureCase
from tests.gpu.hand_written import HandLaunch, HandModule
from tests.gpu.report import Row
from tests.gpu.session import Session

SIZE, SECONDS = 256, 3.0


@dataclass(frozen=True)
class Failure:
    """A kernel's body, the result that it must have, and a part of its reason.

    workspace: bytes that are asked for besides.
    """

    name: str
    body: str
    kind: str
    reason: str = ""
    workspace: int = 0
    block: int = SIZE


RIGHT = "B[i] = A[i] + 1.0f;"
FAILURES = (
    Failure("illegal address", f"{RIGHT} B[i + (1 << 28)] = 0.0f;", "crash", "CUDA_ERROR_ILLEGAL_ADDRESS"),
    Failure("hang", "while (*(volatile float*)&A[i] == A[i]) B[i] = 0.0f;", "run_timeout", "still running"),
    Failure("out of memory", RIGHT, "crash", "out of GPU memory", workspace=1 << 42),
    Failure("block too large", RIGHT, "compile_error", "does not fit the GPU", block=2048),
    Failure("wrong answer", "B[i] = A[i];", "wrong_answer", "differs in 256 of 256"),
    Failure("part not written", "if (i > 3) " + RIGHT, "wrong_answer", "got nan"),
    Failure("outside its buffer", f"{RIGHT} if (i == 0) B[{SIZE}] = 0.0f;", "wrong_answer", "outside its buffer `B`"),
    Failure("changed input", f"{RIGHT} A[i] = 0.0f;", "wrong_answer", "it wrote to its input 0"),
    Failure("no such name", "B[i] = missing;", "compile_error", "missing"),
)


def failures(session: Session) -> Iterator[Row]:
    """Each failure, and after each a kernel that is right."""
    for failure in FAILURES:
        module = _module(failure.body, failure.workspace, failure.block)
        result = session.measure(module, module.case, run_timeout=SECONDS, repeats=3)
        expected = result.kind == failure.kind and failure.reason in result.reason
        status = "ok" if expected else f"expected {failure.kind} ({failure.reason}), got {result}"
        facts = {"kind": result.kind, "reason": result.reason}
        yield Row("failures", f"{failure.name}: {result.kind}", status, facts=facts)
        good = _module(RIGHT)
        after = session.measure(good, good.case, run_timeout=SECONDS, repeats=3)
        if not after.ok:
            yield Row("failures", f"a right kernel after `{failure.name}`", f"expected ok, got {after}")


def _module(body: str, workspace: int = 0, block: int = SIZE) -> HandModule:
    text = f"""extern "C" __global__ void failing(float* A, float* B) {{
  const int i = threadIdx.x;
  {body}
}}
"""
    values = np.arange(SIZE, dtype=np.float32)
    buffers = [Buffer(name, (SIZE,)) for name in "AB"]
    extra = (Buffer("W", (workspace // 4,)),) if workspace else ()
    launch = HandLaunch("failing", 1, block, ("A", "B"))
    case = MeasureCase([values], [values + 1])
    return HandModule("failing", text, (launch,), (buffers[0],), (buffers[1],), case, extra)
