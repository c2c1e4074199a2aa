"""Reading through zero padding: a reduction skips the taps that fall on it.

Beyond the paper, whose random locations seldom inline the padding.

A stage that surrounds another with a constant is put into its consumers where it changes no result: zero in a sum of
products, the lowest number in a maximum. Lowering then turns the select into a guard around the tap (`guards`), which
costs nothing where it is proved, and the padded copy is never written:

    for h, w, kh, kw:                             for h, w, kh, kw:
        C[h, w] += pad[h + kh, w + kw] * W   ->       if h + kh >= 1 and w + kw >= 1:
                                                          C[h, w] += X[h + kh - 1, w + kw - 1] * W

The stage may also be left to the other rules, since a copy whose rows need no guards is better for long, thin windows.

>>> from ansor_mini.sketch import derive
>>> from ansor_mini.sketch_rules import CPU_RULES
>>> from ansor_mini.workloads import parse_workload
>>> for sketch in derive(parse_workload("C2D:14,14,256,256,3,1,1"), (READ_THROUGH_PADDING, *CPU_RULES)):
...     print(*sketch.rules)
tile read-through-padding
tile
cache-write tile-and-fuse-1 read-through-padding
cache-write tile-and-fuse-1
cache-write tile-and-fuse-2 read-through-padding
cache-write tile-and-fuse-2
"""

from __future__ import annotations

from ansor_mini.guards import skip_identities
from ansor_mini.rule_types import APPLY_AND_SKIP_REST, Context, Next, Rule, stage_at, when
from ansor_mini.sketch import Derivation
from ansor_mini.steps import ComputeInline
from ansor_mini.tensor_expression import Tensor
from runtime.expr import Const, Expr, Load, Select
from runtime.expr_tree import loads, transform, walk


def surrounds(tensor: Tensor) -> bool:
    """Whether a tensor is another one with a constant around it.

    >>> from ansor_mini.workloads import parse_workload
    >>> dag = parse_workload("C2D:8,8,3,4,3,1,1")
    >>> surrounds(dag["pad"]), surrounds(dag["conv"])
    (True, False)
    """
    body = tensor.body
    if tensor.combiner or not isinstance(body, Select) or loads(body.condition):
        return False
    return isinstance(body.then, Load) and isinstance(body.otherwise, Const)


def skips_padding(reduction: Tensor, padded: Tensor) -> bool:
    """Whether a reduction can skip whatever it reads of a padded tensor's constant.

    >>> from ansor_mini.workloads import parse_workload
    >>> dag = parse_workload("C2D:8,8,3,4,3,1,1")
    >>> skips_padding(dag["conv"], dag["pad"])
    True
    """
    if reduction.combiner is None:
        return False

    def expand(node: Expr) -> Expr | None:
        return padded.body if isinstance(node, Load) and node.buffer.name == padded.name else None

    bodies = (reduction.expression, transform(reduction.expression, expand))
    kept = [skip_identities(body, reduction.combiner, reduction.identity, ())[1] for body in bodies]
    selects = [sum(isinstance(node, Select) for node in walk(rest)) for rest in kept]
    return selects[0] == selects[1]


def can_be_skipped(context: Context, derivation: Derivation, index: int) -> bool:
    """Whether a stage is padding that all its readers skip."""
    stage, dag = stage_at(derivation, index), derivation.state.dag
    readers = dag.consumers(stage.name)
    movable = stage.is_untouched and not dag.is_output(stage.name) and surrounds(stage.tensor)
    return movable and all(skips_padding(reader, stage.tensor) for reader in readers)


def _inline_or_leave(context: Context, derivation: Derivation, index: int) -> Next:
    inlined = derivation.then("read-through-padding", [ComputeInline(stage_at(derivation, index).name)])
    return [(inlined, index - 1), (derivation, index - 1)]


READ_THROUGH_PADDING = Rule("read-through-padding", when(can_be_skipped, APPLY_AND_SKIP_REST), _inline_or_leave)
