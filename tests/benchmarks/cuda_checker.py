"""How many planted mistakes in CUDA kernels the checks on the CPU find, and whether they accuse a correct kernel.

Each kernel of `checked_kernels` runs as it is: a report is a false one, and its result must equal NumPy's. Then it
runs with one mistake at a time: every barrier taken out, indices shifted, masks changed, tiles too small. A mistake
counts as caught when a report of a kind that names it comes. `--quick` plants every second mistake.
"""

from __future__ import annotations

import sys
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from runtime.cuda_on_cpu import Report
from runtime.machine import detect
from tests.benchmarks.checked_kernels.bug import Bug
from tests.benchmarks.checked_kernels.bugs import all_bugs
from tests.benchmarks.checked_kernels.cases import CASES, run_case
from tests.benchmarks.command import main

SECONDS = 30.0  # for one launch
BY_NAME = {case.name: case for case in CASES}


def reports_of(bug: Bug) -> tuple[Report, ...]:
    """What the checks say about a kernel with one mistake."""
    case = BY_NAME[bug.kernel]
    return run_case(case, bug.planted(case), bug.launch, time_limit=SECONDS)[0]


def is_caught(bug: Bug, reports: tuple[Report, ...]) -> bool:
    """Whether a report names the mistake."""
    return any(report.kind in bug.expected for report in reports)


def benchmark(quick: bool) -> dict[str, Any]:
    """Print a line for each mistake and a table of kernels; return the counts."""
    with ThreadPoolExecutor(detect().cores) as pool:
        unchanged = list(pool.map(lambda case: run_case(case, time_limit=SECONDS), CASES))
        bugs = all_bugs()[::2] if quick else all_bugs()
        found = list(pool.map(reports_of, bugs))
    for bug, reports in zip(bugs, found):
        said = str(reports[0]) if reports else "nothing"
        verdict = "caught" if is_caught(bug, reports) else "MISSED"
        sys.stdout.write(f"{verdict} {bug.kernel}: {bug.kind}\n         {said}\n")
    caught = [bug for bug, reports in zip(bugs, found) if is_caught(bug, reports)]
    planted_in, caught_in = Counter(bug.kernel for bug in bugs), Counter(bug.kernel for bug in caught)
    sys.stdout.write(f"\n{'kernel':16} {'planted':>7} {'caught':>6} {'false reports':>13} {'result':>7}\n")
    for case, (reports, right) in zip(CASES, unchanged):
        counts = f"{planted_in[case.name]:7} {caught_in[case.name]:6} {len(reports):13}"
        sys.stdout.write(f"{case.name:16} {counts} {'right' if right else 'WRONG':>7}\n")
    return {
        "planted": len(bugs),
        "caught": len(caught),
        "false_reports": sum(len(reports) for reports, _ in unchanged),
        "kinds": len({bug.kind for bug in bugs}),
        "kernels": len(CASES),
        "right_results": sum(right for _, right in unchanged),
        "missed": [f"{bug.kernel}: {bug.kind}" for bug in bugs if bug not in caught],
    }


if __name__ == "__main__":
    sys.exit(main("cuda_checker", benchmark, __doc__.splitlines()[0]))
