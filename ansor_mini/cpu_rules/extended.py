"""All CPU rules: those beyond the paper, then those of the paper's Table 1.

A rule in front may hide those behind it, so the order matters: a computation is first brought to a form that tiles
well (transforms in registers, residue classes, padding that is skipped, lanes over a reduction), then tiled.

>>> [rule.name for rule in extended_rules()][-2:]
['multi-level-tiling', 'skip']
"""

from __future__ import annotations

from collections.abc import Collection

from ansor_mini.cpu_rules.accumulators import ACCUMULATORS
from ansor_mini.cpu_rules.few_channels import LANES_OVER_REDUCTION
from ansor_mini.cpu_rules.image_panels import pack_image
from ansor_mini.cpu_rules.packing import pack_operands
from ansor_mini.cpu_rules.padding import READ_THROUGH_PADDING
from ansor_mini.cpu_rules.parity import RESIDUE_CLASSES
from ansor_mini.cpu_rules.row_blocks import ROW_BLOCKS
from ansor_mini.cpu_rules.tile_transforms import TILE_TRANSFORMS
from ansor_mini.cpu_rules.windows import UNROLLED_WINDOWS
from ansor_mini.rule_types import Rule
from ansor_mini.sketch_rules import CPU_RULES


def extended_rules(constants: Collection[str] = ()) -> tuple[Rule, ...]:
    """The rules that a search uses unless told otherwise; `constants` are inputs that need no packing at run time."""
    return (
        TILE_TRANSFORMS,
        RESIDUE_CLASSES,
        pack_image(),
        READ_THROUGH_PADDING,
        UNROLLED_WINDOWS,
        LANES_OVER_REDUCTION,
        ACCUMULATORS,
        pack_operands(constants),
        ROW_BLOCKS,
        *CPU_RULES,
    )
