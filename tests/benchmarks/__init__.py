"""Benchmarks: `python -m tests.benchmarks.NAME [--quick] [--json FILE]`; the last line of stdout is one JSON object.

Numbers are ratios of medians taken in turns in one process. NumPy's OpenBLAS is compared as it is installed, on one
thread: environment variables that would make it take another machine's kernels are dropped before NumPy is loaded.
"""

from __future__ import annotations

import os

for name in ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE"):
    os.environ.pop(name, None)
os.environ["OPENBLAS_NUM_THREADS"] = "1"
