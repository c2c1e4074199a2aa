"""What a kernel is measured on, and what a measurement says.

A `MeasureCase` is inputs with the outputs they must give; it travels to the runner's process as a folder of .npy files
that both map into memory, so that it is written once for any number of kernels. A `MeasureResult` is a time or the
reason why there is none: a program that fails is a value, never an exception.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

KINDS = ("ok", "lowering_error", "compile_error", "build_timeout", "run_timeout", "crash", "wrong_answer")


@dataclass(frozen=True)
class MeasureResult:
    """One program's outcome: `kind` is one of KINDS, `seconds` per call (one entry per repeat) when it is "ok".

    facts: what else is known about the compiled program, such as the registers that a GPU kernel uses.

    >>> MeasureResult("ok", (3e-6, 1e-6, 2e-6)).cost
    1e-06
    >>> print(MeasureResult("crash", (), "killed by SIGSEGV"))
    crash: killed by SIGSEGV
    """

    kind: str
    seconds: tuple[float, ...] = ()
    reason: str = ""
    facts: dict[str, int] = field(default_factory=dict, compare=False)

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"kind must be one of {', '.join(KINDS)}, got {self.kind!r}")

    @property
    def ok(self) -> bool:
        """The program ran and answered rightly."""
        return self.kind == "ok"

    @property
    def cost(self) -> float:
        """Seconds per call in the fastest repeat, since other work can only add time; infinite for a failure."""
        return min(self.seconds) if self.ok else float("inf")

    def __str__(self) -> str:
        return f"ok: {self.cost * 1e6:.6g} us" if self.ok else f"{self.kind}: {self.reason}"


class MeasureCase:
    """Inputs, and what a right program makes of them.

    exact: outputs must equal `expected` element by element (right for small integers held in floats), else each may
    differ by rtol times the largest finite magnitude in its output.
    """

    def __init__(
        self, inputs: Sequence[np.ndarray], expected: Sequence[np.ndarray], *, exact: bool = True, rtol: float = 1e-4
    ) -> None:
        """Raises: TypeError: an array that is none. ValueError: nothing expected, or a negative rtol."""
        for name, arrays in (("inputs", inputs), ("expected", expected)):
            for array in arrays:
                if not isinstance(array, np.ndarray):
                    raise TypeError(f"{name} must be NumPy arrays, got {type(array).__name__}")
        if not expected:
            raise ValueError("expected must hold at least one output, got none")
        if not rtol >= 0:
            raise ValueError(f"rtol must not be negative, got {rtol}")
        # np.require keeps zero-dimensional arrays as they are, which ascontiguousarray does not.
        self.inputs = tuple(np.require(array, requirements="C") for array in inputs)
        self.expected = tuple(np.require(array, requirements="C") for array in expected)
        self.exact, self.rtol = exact, rtol

    @property
    def files(self) -> list[tuple[str, np.ndarray]]:
        """The names of the files that hold the arrays."""
        kinds = (("input", self.inputs), ("expected", self.expected))
        return [(f"{kind}{number}.npy", array) for kind, arrays in kinds for number, array in enumerate(arrays)]

    def save(self, folder: Path, known: Mapping[int, Path] | None = None) -> None:
        """Write the case into an existing folder.

        known: files that hold arrays already, by the array's id; they are linked instead of written again.
        """
        for name, array in self.files:
            if known and id(array) in known:
                os.link(known[id(array)], folder / name)
            else:
                np.save(folder / name, array)
        description = {"exact": self.exact, "rtol": self.rtol}
        description |= {"inputs": len(self.inputs), "expected": len(self.expected)}
        (folder / "case.json").write_text(json.dumps(description))

    @classmethod
    def load(cls, folder: Path) -> MeasureCase:
        """Map a saved case into memory, read-only: a kernel that writes to its input is killed by the system."""
        description = json.loads((folder / "case.json").read_text())
        inputs, expected = (
            [np.asarray(np.load(folder / f"{kind}{number}.npy", mmap_mode="r")) for number in range(description[count])]
            for kind, count in (("input", "inputs"), ("expected", "expected"))
        )
        return cls(inputs, expected, exact=description["exact"], rtol=description["rtol"])

    def mistake(self, outputs: Sequence[np.ndarray]) -> str:
        """The first difference from what was expected, in words; empty when there is none.

        >>> case = MeasureCase([], [np.array([1.0, 2.0])])
        >>> case.mistake([np.array([1.0, 5.0])])
        'output 0 differs in 1 of 2 elements, first at [1]: expected 2.0, got 5.0'
        """
        for number, (expected, actual) in enumerate(zip(self.expected, outputs, strict=True)):
            wrong = ~self._agree(expected, actual)
            count = int(np.count_nonzero(wrong))
            if count:
                where = np.unravel_index(int(np.argmax(wrong)), wrong.shape)
                place = ", ".join(str(int(index)) for index in where)
                return (
                    f"output {number} differs in {count} of {wrong.size} elements, first at [{place}]: "
                    f"expected {expected[where].item()}, got {actual[where].item()}"
                )
        return ""

    def _agree(self, expected: np.ndarray, actual: np.ndarray) -> np.ndarray:
        """Which elements are right; a NaN is right where a NaN is expected."""
        same = np.asarray(expected == actual)
        if expected.dtype.kind != "f" or same.all():
            return same
        same |= np.isnan(expected) & np.isnan(actual)
        if self.exact or same.all():
            return same
        finite = np.isfinite(expected)
        largest = float(np.max(np.abs(expected), where=finite, initial=0.0))
        with np.errstate(invalid="ignore", over="ignore"):
            return same | (finite & (np.abs(actual.astype(np.float64) - expected) <= self.rtol * largest))
