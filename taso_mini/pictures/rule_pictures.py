"""A substitution as two graphs side by side: what it looks for and what it puts there."""

from __future__ import annotations

from collections.abc import Sequence

from taso_mini.pictures.drawing import ADDED, CONSTANT, OPERATOR, REMOVED, VALUE, Arrow, Box, Drawing, side_by_side
from taso_mini.terms import Substitution, Term, is_parameter_variable, subterms

SOURCE, TARGET = "source", "target"


def draw_rule(rule: Substitution) -> Drawing:
    """Draw source and target; operators that only one side has are marked, conditions follow the name.

    >>> from taso_mini.rules_text import load_rules
    >>> rule = next(rule for rule in load_rules() if rule.name == "split0-concat-is-input")
    >>> print(*(box.lines[0] for box in draw_rule(rule).boxes))
    x1 x2 concat split0 output x1 output
    """
    title = rule.name + (f", if {' and '.join(rule.conditions)}" if rule.conditions else "")
    ours, theirs = set(subterms(*rule.source)), set(subterms(*rule.target))
    sides = ((SOURCE, rule.source, ours - theirs, REMOVED), (TARGET, rule.target, theirs - ours, ADDED))
    return side_by_side(title, [_side(roots, only, mark).framed(name) for name, roots, only, mark in sides])


def _side(roots: Sequence[Term], only: set[Term], mark: str) -> Drawing:
    """One side: a box per distinct subterm, and one per output."""
    boxes, arrows = [], []
    for node in subterms(*roots):
        kind = VALUE if node.is_variable else OPERATOR if node.args else CONSTANT
        boxes.append(Box(str(node), _lines(node), kind, mark if node in only and not node.is_variable else ""))
        numbered = len(node.args) > 1
        for place, argument in enumerate(node.args):
            arrows.append(Arrow(str(argument), str(node), str(place) if numbered else ""))
    for number, root in enumerate(roots):
        key = f"output {number}" if len(roots) > 1 else "output"
        boxes.append(Box(f"-> {key}", (key,), VALUE))
        arrows.append(Arrow(str(root), f"-> {key}"))
    return Drawing("", tuple(boxes), tuple(arrows))


# Parameters that say nothing: no dilation, no activation, and variables that stand for anything.
_SILENT = {"dilations": (1, 1), "activation": "none"}


def _lines(node: Term) -> tuple[str, ...]:
    if node.is_variable:
        return (f"{node.name}: {node.kind}",) if node.kind != "tensor" else (node.name,)
    params = [
        f"{name}={value}"
        for name, value in node.params
        if not is_parameter_variable(value) and _SILENT.get(name) != value
    ]
    variable = [f"{name}={value}" for name, value in node.params if is_parameter_variable(value) and name == "axis"]
    return (node.operator, *params, *variable)
