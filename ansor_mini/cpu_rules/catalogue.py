"""All sketch rules for CPUs: those beyond the paper in front of the paper's.

>>> [rule.name for rule in BEYOND_THE_PAPER]
['residue-classes', 'read-through-padding', 'accumulators', 'unrolled-windows', 'lanes-over-reduction']
"""

from __future__ import annotations

from collections.abc import Collection

from ansor_mini.cpu_rules.accumulators import ACCUMULATORS
from ansor_mini.cpu_rules.few_channels import LANES_OVER_REDUCTION
from ansor_mini.cpu_rules.packing import pack_operands
from ansor_mini.cpu_rules.padding import READ_THROUGH_PADDING
from ansor_mini.cpu_rules.parity import RESIDUE_CLASSES
from ansor_mini.cpu_rules.windows import UNROLLED_WINDOWS
from ansor_mini.rule_types import Rule
from ansor_mini.sketch_rules import CPU_RULES

# Each applies to its own kind of stage only; residue classes come first, since they leave ordinary convolutions behind.
BEYOND_THE_PAPER = (RESIDUE_CLASSES, READ_THROUGH_PADDING, ACCUMULATORS, UNROLLED_WINDOWS, LANES_OVER_REDUCTION)


def extended_rules(constants: Collection[str] = ()) -> tuple[Rule, ...]:
    """Every rule for CPUs, as an argument of `derive` or `SearchOptions`.

    constants: names of inputs that are weights, whose layout is rewritten when a kernel is compiled.

    >>> from ansor_mini.sketch import derive
    >>> from ansor_mini.workloads import parse_workload
    >>> dag = parse_workload("C2D:14,14,256,256,3,1,1")
    >>> len(derive(dag)), len(derive(dag, extended_rules(("W",))))
    (3, 6)
    """
    return (*BEYOND_THE_PAPER, pack_operands(constants), *CPU_RULES)
