"""The rewrites that the paper shows, found by the search: for each, the rules on the way.

Paper: TASO §7.3

No rewrite is written down anywhere. The rules are the shipped ones, those that follow from them at once
(`derived_rules`), and the axioms with constants or grouped convolutions as rules where the shipped set lacks them. What
pays depends on the processor, and here that is a model of one: seconds = operations / speed + bytes / bandwidth + a
start. Two are used, one core of a server and a large graphics processor (V100), on which starts and small kernels weigh
more. Each graph that is found computes what the given one does, on random inputs in float64 at a reduced size.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from runtime.graph import Graph, GraphBuilder, Node, Params, TensorType
from runtime.operators import find_operator, infer
from taso_mini.axioms import AXIOMS
from taso_mini.derived_rules import completed
from taso_mini.matching import directed
from taso_mini.models import MODELS
from taso_mini.models.bert import bert
from taso_mini.models.nasnet_a import nasnet_a
from taso_mini.models.nasrnn import nasrnn
from taso_mini.optimizer import Effort, Optimized, search
from taso_mini.rules_text import load_rules
from taso_mini.terms import Substitution, constants
from tests.benchmarks.command import main

Types = Sequence[TensorType]


@dataclass(frozen=True)
class Processor:
    """Prices operators by a formula; a reshape is free, and so is a split, which is read where it is."""

    name: str
    flops_per_second: float
    bytes_per_second: float
    start_seconds: float

    def cost(self, node: Node, types: Types) -> float:
        """Return seconds; only convolutions and products of matrices are charged for arithmetic."""
        if node.operator in ("reshape", "split"):
            return 0.0
        params, results = infer(node.operator, tuple(types), node.params)
        seconds = sum(kind.nbytes for kind in (*types, *results)) / self.bytes_per_second + self.start_seconds
        if node.operator in ("conv", "matmul"):
            plain = Params(**{**params, "activation": "none"}) if "activation" in params else params
            seconds += find_operator(node.operator).flops(types, results, plain) / self.flops_per_second
        return seconds

    estimate = cost


CORE = Processor("one core", 220e9, 50e9, 1e-6)
GRAPHICS = Processor("graphics processor", 7e12, 800e9, 5e-6)


def rules() -> tuple[Substitution, ...]:
    """The shipped rules and what follows, and the axioms that the shipped set has no counterpart of."""
    shipped = load_rules()
    extra = [
        Substitution(axiom.name, (axiom.left,), (axiom.right,), axiom.conditions, f"axiom {axiom.number or 'of ours'}")
        for axiom in AXIOMS
        if constants(axiom.left, axiom.right) or axiom.name == "conv-concat-both-channels"
    ]
    return completed([*shipped, *directed(extra)])


def branches(rng: np.random.Generator, *, image: int = 56, channels: int = 128, count: int = 32) -> Graph:
    """The middle of ResNeXt's first block as its authors draw it: so many small convolutions side by side."""
    build = GraphBuilder("resnext-branches")
    parts = [build.input("x", (1, channels, image, image))]
    while len(parts) < count:
        half = build.types[parts[0]].shape[1] // 2
        parts = [piece for part in parts for piece in build.add("split", part, axis=1, sizes=(half, half))]
    width = channels // count
    weights = [build.weight(f"w{i}", random_weight(rng, (width, width, 3, 3))) for i in range(count)]
    parts = [build.add("conv", part, w, padding=(1,) * 4) for part, w in zip(parts, weights, strict=True)]
    while len(parts) > 1:
        parts = [build.add("concat", *parts[i : i + 2], axis=1) for i in range(0, len(parts), 2)]
    return build.finish(build.add("relu", parts[0], name="y"))


def fire(rng: np.random.Generator, *, image: int = 55, squeeze: int = 16, expand: int = 64) -> Graph:
    """A module with a 1 x 1 and a 3 x 3 convolution of one image, as in SqueezeNet and Inception."""
    build = GraphBuilder("module")
    x = build.input("x", (1, squeeze, image, image))
    made = []
    for size in (1, 3):
        w = build.weight(f"w{size}", random_weight(rng, (expand, squeeze, size, size)))
        made.append(build.add("relu", build.add("conv", x, w, padding=(size // 2,) * 4)))
    return build.finish(build.add("concat", *made, axis=1, name="y"))


def random_weight(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Values of a size that keeps activations near one."""
    return (rng.standard_normal(shape) / np.sqrt(np.prod(shape[1:]))).astype(np.float32)


@dataclass(frozen=True)
class Case:
    """A rewrite of the paper.

    build: the graph; reduced: the same, small enough to compute with NumPy.
    shows: parts of names; without a rule that has one of them it would not be that rewrite.
    """

    name: str
    build: Callable[[np.random.Generator], Graph]
    reduced: Callable[[np.random.Generator], Graph]
    processor: Processor
    shows: tuple[str, ...]


CASES = (
    Case("NasNet-A: sum of average pools as a convolution", MODELS["nasnet_a"],
         partial(nasnet_a, image=32, channels=4, stem=4, stages=2, cells=2), CORE, ("pool-kernel", "Cpool")),
    Case("ResNeXt: 32 branches regrouped", branches,
         partial(branches, image=6, channels=16, count=4), GRAPHICS,
         ("both-channels", "concat-conv-conv-is-conv-concat-concat")),
    Case("BERT: Q, K and V in one product", partial(bert, softmax=False),
         partial(bert, layers=2, hidden=16, heads=2, sequence=4, batch=2, softmax=False), CORE,
         ("split0-matmul-concat",)),
    Case("NasRNN: gates in one product", MODELS["nasrnn"],
         partial(nasrnn, hidden=8, steps=2), CORE, ("matmul-concat-concat",)),
    Case("ResNet: a 1 x 1 convolution enlarged and merged", fire,
         partial(fire, image=6, squeeze=4, expand=8), GRAPHICS, ("enlarge",)),
)  # fmt: skip


def find(case: Case, all_rules: Sequence[Substitution], build: Callable[[np.random.Generator], Graph]) -> Optimized:
    """Search as anyone would."""
    return search(build(np.random.default_rng(0)), all_rules, case.processor, Effort())


def shown(case: Case, found: Optimized) -> bool:
    """Whether the search has taken the rewrite."""
    return any(part in rule for rule in found.trace.rules for part in case.shows)


def relative_difference(before: Graph, after: Graph) -> float:
    """The largest difference of any output, relative to its largest magnitude; computed in float64."""
    rng = np.random.default_rng(1)
    one, other = in_doubles(before), in_doubles(after)
    feeds = {name: rng.standard_normal(kind.shape) for name, kind in one.inputs.items()}
    wanted, found = one.evaluate(feeds), other.evaluate(feeds)
    return max(float(np.abs(found[name] - wanted[name]).max() / np.abs(wanted[name]).max()) for name in wanted)


def in_doubles(graph: Graph) -> Graph:
    """The same graph in float64."""
    inputs = {name: TensorType(kind.shape, "float64") for name, kind in graph.inputs.items()}
    return graph.replace(inputs=inputs, weights={name: w.astype(np.float64) for name, w in graph.weights.items()})


def benchmark(quick: bool) -> dict[str, Any]:
    """Print the paths and return them."""
    all_rules, figures = rules(), {}
    sys.stdout.write(f"{len(all_rules)} rules\n")
    for case in CASES:
        start = time.process_time()
        found = find(case, all_rules, case.build)
        seconds = time.process_time() - start
        small = find(case, all_rules, case.reduced)
        error = relative_difference(case.reduced(np.random.default_rng(0)), small.graph)
        path = found.trace.rules
        figures[case.name] = {
            "found": shown(case, found),
            "path": path,
            "cost_before": round(found.cost_before * 1e3, 4),
            "cost_after": round(found.cost_after * 1e3, 4),
            "search_seconds": round(seconds, 2),
            "error": error,
        }
        sys.stdout.write(
            f"\n{case.name}, {case.processor.name}: {found.cost_before * 1e3:.4f} -> {found.cost_after * 1e3:.4f} ms, "
            f"search {seconds:.2f} s, largest relative difference {error:.1e}\n"
            + "".join(f"  {count:4} x {rule}\n" for rule, count in path.items())
        )
    return {"rewrites": figures}


if __name__ == "__main__":
    sys.exit(main("rewrites", benchmark, "Find the rewrites that the paper shows; print the rules on the way."))
