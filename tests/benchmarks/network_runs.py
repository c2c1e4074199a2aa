"""What the tuning of each network took and found, as `record_networks` notes it and `networks` reads it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

from tests.benchmarks.command import RESULTS
from tests.benchmarks.network_cases import AS_GIVEN, WINOGRAD

RUNS = RESULTS / "networks-runs.json"
DONE_WHEN = ("trials", "patience", "exhausted")


@dataclass(frozen=True)
class Run:
    """What the tuning of one network for one number of threads took, all sittings together.

    latencies: of each form of the network, in seconds, once it has been measured. stopped: why tuning ended, "" before.
    winograd: whether Winograd's definition was tuned too.
    """

    network: str
    threads: int
    trials_per_task: int
    tasks: int = 0
    trials: int = 0
    seconds: float = 0.0
    stopped: str = ""
    winograd: bool = False
    latencies: Mapping[str, float] = field(default_factory=dict)

    def __str__(self) -> str:
        times = "".join(f", {form} {1e3 * seconds:.3f} ms" for form, seconds in self.latencies.items())
        work = f"{self.tasks} tasks, {self.trials} trials, {self.seconds:.0f} s, ended by {self.stopped or 'force'}"
        return f"{self.network} {self.threads}t: {work}{times}"

    def done(self, trials_per_task: int, winograd: bool = False) -> bool:
        """Whether the network was tuned with so many trials for each task, or for as long as that promised more."""
        enough = self.trials_per_task >= trials_per_task and self.winograd >= winograd
        return self.stopped in DONE_WHEN and enough

    def fastest(self, winograd: bool = False) -> str:
        """The form that was fastest, Winograd's among them only if it is asked for."""
        allowed = {form: seconds for form, seconds in self.latencies.items() if winograd or form != WINOGRAD}
        return min(allowed, key=allowed.__getitem__, default=AS_GIVEN)


def read_runs(path: Path = RUNS) -> dict[tuple[str, int], Run]:
    """The runs of a file by network and threads; none when there is no file."""
    if not path.exists():
        return {}
    runs = [Run(**fields) for fields in json.loads(path.read_text(encoding="utf-8"))]
    return {(run.network, run.threads): run for run in runs}


def write_runs(runs: Iterable[Run], path: Path = RUNS) -> None:
    """Write the file anew; it appears when it is complete."""
    lines = ",\n ".join(json.dumps(asdict(run)) for run in runs)
    partial = path.with_name(f"{path.name}.partial")
    partial.write_text(f"[{lines}]\n", encoding="utf-8")
    partial.replace(path)
