"""Strided transposed convolution without the taps that its stride skips.

Beyond the paper, which lets unrolling and the C compiler fold the test on the parity away.

The rule computes a reduction by residue classes (`residue_steps`): each class is an ordinary convolution with fewer
taps, which the other rules then tile; a last stage interleaves the classes.

>>> from ansor_mini.sketch import derive
>>> from ansor_mini.sketch_rules import CPU_RULES
>>> from ansor_mini.workloads import parse_workload
>>> for sketch in derive(parse_workload("T2D:4,4,512,256,4,2,1"), (RESIDUE_CLASSES, *CPU_RULES)):
...     print(*sketch.rules)
residue-classes tile
residue-classes cache-write tile-and-fuse-1
residue-classes cache-write tile-and-fuse-2
"""

from __future__ import annotations

from ansor_mini.residue_steps import ResidueClasses, congruences
from ansor_mini.rule_types import APPLY_AND_SKIP_REST, Context, Next, Rule, index_of, stage_at, when
from ansor_mini.sketch import Derivation


def _has_classes(context: Context, derivation: Derivation, index: int) -> bool:
    stage = stage_at(derivation, index)
    return stage.is_untouched and bool(congruences(stage.tensor))


def _by_classes(context: Context, derivation: Derivation, index: int) -> Next:
    name = stage_at(derivation, index).name
    split = derivation.then("residue-classes", [ResidueClasses(name)])
    return [(split, index_of(split, f"{name}.classes"))]


RESIDUE_CLASSES = Rule("residue-classes", when(_has_classes, APPLY_AND_SKIP_REST), _by_classes)
