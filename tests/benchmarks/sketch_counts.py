"""How many sketches each of ten computations has, and every sketch as a loop nest.

Paper: Ansor §4.1, Table 1

The counts of the published system (TVM v0.12, four cores) are the reference; beside them stand the counts under the
conditions of the paper's own table, where a stage with data reuse may also be left alone. For CUDA the published system
takes other shapes of two of them. Winograd's weights come transformed.

Paper: Ansor §4.3
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

from ansor_mini.gpu_rules.rules import GPU_RULE_SETS
from ansor_mini.sketch import Sketch, derive
from ansor_mini.sketch_rules import RULE_SETS
from ansor_mini.sketch_text import show_sketch
from ansor_mini.workloads import parse_workload
from runtime.gpu import gpu
from runtime.machine import detect
from tests.benchmarks.command import main

CORES = 4

# The reference's order; name, workload, and what the published system counts for a CPU and for a GPU.
CASES: tuple[tuple[str, str, int, int], ...] = (
    ("matmul 512 x 512 x 512", "matmul:512,512,512", 3, 1),
    ("matmul 8 x 8, K = 512", "matmul:8,8,512", 5, 2),
    ("two chained matmuls, 512", "matmuls:512,512,512,512", 9, 1),
    ("conv2d + bias + batch norm + relu", "ConvLayer:56,56,512,512,3,1,1", 3, 1),
    ("max pool 2D", "maxpool:56,56,512,2,1,1", 1, 1),
    ("row minimum (10, 1024)", "rowmin:10,1024", 3, 2),
    ("softmax (1, 1024)", "softmax:1,1024", 9, 4),
    ("softmax (1, 12, 128, 128)", "softmax4d:12,128,128", 9, 4),
    ("Winograd conv2d (28, 28, 128, 128)", "winograd:28,28,128,128,1,4", 3, 1),
    ("sum of 128 numbers", "total:128", 3, 2),
)

CUDA_SHAPES = {"matmul:8,8,512": "matmul:8,8,1024", "softmax:1,1024": "softmax:2,1024"}
GPU = "h100"


def cuda_sketches(workload: str, rules: str = "published") -> tuple[Sketch, ...]:
    """The sketches of a workload for a GPU, in the shape that the published system counts there."""
    return derive(parse_workload(CUDA_SHAPES.get(workload, workload)), GPU_RULE_SETS[rules], gpu(GPU))


def sketches(workload: str, rules: str) -> tuple[Sketch, ...]:
    """The sketches of a workload under a named set of rules, on four cores."""
    return derive(parse_workload(workload), RULE_SETS[rules], detect(cores=CORES))


def benchmark(quick: bool) -> dict[str, Any]:
    """Print the sketches and a table, and return the counts in the reference's order."""
    found = {rules: {name: sketches(workload, rules) for name, workload, *_ in CASES} for rules in RULE_SETS}
    cuda = {name: cuda_sketches(workload) for name, workload, *_ in CASES}
    turned = {name: cuda_sketches(workload, "extended") for name, workload, *_ in CASES}
    for name, workload, *_ in CASES:
        sys.stdout.write("\n".join(_drawn(name, workload, found["published"][name])) + "\n")
        shape = CUDA_SHAPES.get(workload, workload)
        sys.stdout.write("\n".join(_drawn(f"{name}, on a GPU", shape, cuda[name])) + "\n")
    columns = ("expected", "published", "paper", "expected", "published", "extended")
    sys.stdout.write(f"{'':36} {'CPU':>29} {'GPU':>29}\n")
    sys.stdout.write(f"{'computation':36} {' '.join(f'{column:>9}' for column in columns)}\n")
    for name, _, expected, on_gpu in CASES:
        counts = [expected, *(len(found[rules][name]) for rules in ("published", "paper"))]
        counts += [on_gpu, len(cuda[name]), len(turned[name])]
        sys.stdout.write(f"{name:36} {' '.join(f'{count:9}' for count in counts)}\n")
    return {
        "cpu": [len(found["published"][name]) for name, *_ in CASES],
        "paper": [len(found["paper"][name]) for name, *_ in CASES],
        "expected": [expected for _, _, expected, _ in CASES],
        "cuda": [len(cuda[name]) for name, *_ in CASES],
        "cuda_expected": [on_gpu for *_, on_gpu in CASES],
    }


def _drawn(name: str, workload: str, all_sketches: tuple[Sketch, ...]) -> Iterator[str]:
    """The sketches of one computation, with the rules that gave each."""
    yield f"{name}: {workload}"
    for number, sketch in enumerate(all_sketches, start=1):
        yield f"  sketch {number} of {len(all_sketches)}: {', '.join(rule for rule in sketch.rules if rule) or 'skip'}"
        yield from (f"    {line}" for line in show_sketch(sketch).splitlines())
    yield ""


if __name__ == "__main__":
    sys.exit(main("sketch_counts", benchmark, __doc__.splitlines()[0]))
