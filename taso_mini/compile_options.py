"""What the main job may be told."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from runtime.graph_operators.winograd import MATRICES

DEFAULT_BUDGET_SECONDS = 80.0


@dataclass(frozen=True)
class CompileOptions:
    """What `compile_model` may be told.

    trials, budget_seconds: programs to measure and seconds to spend in all; with neither, 80 seconds.
    cost: "measured" (operators timed on this machine in every layout, once each, kept in `cost_file`; layouts are then
        chosen with the substitutions) or "flops" (a formula that knows no layouts; images are put channels last).
    fresh_prices: measure operators anew that `cost_file` has a price of, as after measuring on a busy machine.
    joint: choose the graph while its kernels are tuned (`taso_mini.joint`), rather than before.
    winograd: 2 or 4, to try Winograd's definition of 3 x 3 convolutions with tiles of that size too, which rounds
        otherwise; 0 keeps to the direct sums.
    out: directory for the compiled network, the records and the report; without it the network is temporary.
    resume: go on from the records in `out`. emit_c: directory for a stand-alone C program.
    records: a store of records that models and numbers of threads share: what it holds is not measured again, counts as
        trials, and new records are added to it. With no trials, the programs in it that were chosen in this network,
        or else the fastest alone, are used as they are, and it may be compressed.
    compare: also build and time the plain, default and substituted variants and ONNX Runtime.
    """

    trials: int | None = None
    budget_seconds: float | None = None
    threads: int | None = None
    seed: int = 0
    shapes: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    out: Path | None = None  # this and the other paths may be given as text
    resume: bool = False
    records: Path | None = None
    cost: str = "measured"
    cost_file: Path | None = None
    fresh_prices: bool = False
    joint: bool = False
    winograd: int = 0
    compare: bool = True
    emit_c: Path | None = None

    def __post_init__(self) -> None:
        for name in ("out", "records", "cost_file", "emit_c"):
            if getattr(self, name) is not None:
                object.__setattr__(self, name, Path(getattr(self, name)))
        for name, value, least in (("trials", self.trials, 0), ("threads", self.threads, 1)):
            if value is not None and value < least:
                raise ValueError(f"{name} must be at least {least}, got {value}")
        if self.budget_seconds is not None and not self.budget_seconds >= 0:
            raise ValueError(f"budget_seconds must not be negative, got {self.budget_seconds}")
        if self.cost not in ("measured", "flops"):
            raise ValueError(f'cost must be "measured" or "flops", got {self.cost!r}')
        if self.joint and self.cost != "measured":
            raise ValueError('joint needs cost="measured": it compares measured kernels')
        if self.fresh_prices and self.cost != "measured":
            raise ValueError('fresh_prices needs cost="measured": a formula measures nothing')
        if self.winograd not in (0, *MATRICES):
            raise ValueError(f"winograd: expected 0 or a tile of {sorted(MATRICES)}, got {self.winograd!r}")
        if self.winograd and (self.joint or (self.trials == 0 and self.records is None)):
            raise ValueError("winograd needs trials or records, and not joint: measured kernels choose the definition")
        if self.resume and self.out is None:
            raise ValueError("--resume needs --out DIR, where the records are")

    @property
    def limits(self) -> tuple[float, float]:
        """The most programs and the most seconds, infinite where only the other one is given."""
        seconds = DEFAULT_BUDGET_SECONDS if self.trials is None else math.inf
        trials = math.inf if self.trials is None else self.trials
        return trials, seconds if self.budget_seconds is None else self.budget_seconds
