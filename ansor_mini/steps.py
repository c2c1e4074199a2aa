"""All transform steps, and how their holes are filled.

Paper: Ansor §4

A step is a frozen dataclass; any of its integers (or the lengths of a Split) may be a `Hole`. `fill` puts an
annotation's values in, `repr` writes a step as Python text that `parse_step` reads back.

>>> step = Split("C", "i", Hole("C.i"))
>>> fill(step, {"C.i": (4, 8)})
Split(stage='C', iterator='i', lengths=(4, 8))
>>> parse_step(repr(step)) == step
True
"""

from __future__ import annotations

import ast
from collections.abc import Mapping
from dataclasses import fields, replace
from typing import Any

from ansor_mini.annotation_steps import AutoUnroll, Parallel, Unroll, Vectorize
from ansor_mini.cache_read import CacheRead
from ansor_mini.gpu_steps import Bind, CacheReadShared, FollowFusedSplit
from ansor_mini.location_steps import (
    ComputeAt,
    ComputeInline,
    ComputeRoot,
    FuseParallel,
    FuseVectorize,
    Locate,
    candidate_locations,
)
from ansor_mini.loop_steps import FollowSplit, Fuse, Hole, Reorder, Split
from ansor_mini.residue_steps import ResidueClasses
from ansor_mini.schedule import Step
from ansor_mini.stage_steps import CacheWrite, Rfactor
from ansor_mini.tensor_steps import Tensorize

STEPS: dict[str, type[Step]] = {
    kind.__name__: kind
    for kind in (
        Split, FollowSplit, Fuse, Reorder, Parallel, Vectorize, Unroll, AutoUnroll, ComputeAt, ComputeInline,
        ComputeRoot, CacheRead, CacheWrite, Rfactor, ResidueClasses, FuseParallel, FuseVectorize, Locate,
        Bind, CacheReadShared, FollowFusedSplit, Tensorize,
    )
}  # fmt: skip

__all__ = [*STEPS, "Hole", "Step", "candidate_locations", "fill", "holes", "parse_step"]


def fill(step: Step, annotation: Mapping[str, Any]) -> Step:
    """The step with its holes replaced by their values.  Raises: ValueError: a hole has no value."""
    names = holes(step)
    if not names:
        return step
    for name in names:
        if name not in annotation:
            raise ValueError(f"no value for hole {name!r} of {step}")
    return replace(step, **{f.name: _filled(getattr(step, f.name), annotation) for f in fields(step)})


def _filled(value: Any, annotation: Mapping[str, Any]) -> Any:
    if isinstance(value, Hole):
        return annotation[value.name]
    if isinstance(value, tuple):
        return tuple(_filled(part, annotation) for part in value)
    return value


def holes(step: Step) -> tuple[str, ...]:
    """Names of a step's holes."""
    found: list[str] = []
    for field in fields(step):
        value = getattr(step, field.name)
        for part in value if isinstance(value, tuple) else (value,):
            if isinstance(part, Hole):
                found.append(part.name)
    return tuple(found)


def parse_step(text: str) -> Step:
    """Read `repr(step)` back.  Raises: ValueError: the text is not a step."""
    try:
        step = _parse(ast.parse(text, mode="eval").body)
    except (SyntaxError, KeyError, TypeError) as error:
        raise ValueError(f"not a step: {text!r}") from error
    if not isinstance(step, Step):
        raise ValueError(f"not a step: {text!r}")
    return step


def _parse(node: ast.expr) -> Any:
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
        kind: Any = Hole if node.func.id == "Hole" else STEPS[node.func.id]
        keywords = {str(keyword.arg): _parse(keyword.value) for keyword in node.keywords}
        return kind(*(_parse(argument) for argument in node.args), **keywords)
    if isinstance(node, ast.Tuple):
        return tuple(_parse(part) for part in node.elts)
    return ast.literal_eval(node)
