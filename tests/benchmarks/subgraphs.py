"""The paper's two subgraphs, four shapes each, batch 1 and 16: tuned kernels against NumPy, PyTorch and ONNX Runtime.

Paper: Ansor §7.2

ConvLayer is a convolution, batch normalisation and relu; TBS is two transposes, a batched matrix product and softmax,
the scores of attention. Our kernel has them in one loop nest. The peers get what is usually done for them: the scale of
the normalisation is part of the weights and its shift a bias, ONNX Runtime fuses what it can, PyTorch runs in both
channel orders and, except in a quick run, as `torch.compile` fuses it with frozen weights; NumPy has TBS only. Every
answer, ours and the peers', is compared with the definition evaluated in NumPy. Turns, processes and limits are those
of `operators`.

`--quick` and `--recorded` take the programs in `results/subgraphs-records.jsonl.gz`. A full run tunes every case first:
`python -m tests.benchmarks.tune_operators --suite subgraphs` does that alone, and goes on where it stopped.
"""

from __future__ import annotations

import sys
from argparse import Namespace
from typing import Any

from tests.benchmarks.command import main
from tests.benchmarks.operator_cases import SUBGRAPHS
from tests.benchmarks.operators import add_arguments, compare_suite


def subgraphs(quick: bool, options: Namespace) -> dict[str, Any]:
    """The sixteen cases, those that are recorded."""
    return compare_suite(SUBGRAPHS, quick, options.recorded)


if __name__ == "__main__":
    sys.exit(main("subgraphs", subgraphs, __doc__ or "", add_arguments))
