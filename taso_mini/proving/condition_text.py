"""Conditions about several axes of two tensors, written as one equation and taken apart again.

Paper: TASO §3.

>>> from taso_mini.terms import variable
>>> ranks = {variable("x", "image"): 4, variable("y", "image"): 4}
>>> split_axes("x.shape[2:] == y.shape[2:]", ranks)
['x.shape[2] == y.shape[2]', 'x.shape[3] == y.shape[3]']
>>> merge_axes(split_axes("x.shape[2:] == y.shape[2:]", ranks), ranks)
['x.shape[2:] == y.shape[2:]']
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence

from taso_mini.terms import Term


def merge_axes(wanted: Sequence[str], ranks: Mapping[Term, int]) -> list[str]:
    """Write equations of several axes of two tensors as one."""
    rank = {str(leaf): value for leaf, value in ranks.items()}
    many = {str(leaf) for leaf in ranks if leaf.is_variable and leaf.kind == "tensor"}  # the last axis stands for more
    groups: dict[tuple[str, str], list[int]] = defaultdict(list)
    order: dict[str, None] = {}
    for condition in wanted:
        sides = [side.rsplit(".shape[", 1) for side in condition.split(" == ")]
        if all(len(side) == 2 and side[0] in rank and side[1][:-1].isdigit() for side in sides) and (
            sides[0][1] == sides[1][1]
        ):
            pair = min(sides[0][0], sides[1][0]), max(sides[0][0], sides[1][0])
            groups[pair].append(int(sides[0][1][:-1]))
            order[f"pair {pair}"] = None
        else:
            order[condition] = None
    merged: dict[str, list[str]] = {}
    for (x, y), axes in groups.items():
        axes = sorted(set(axes))
        last = rank[x]
        start = next((i for i in range(last) if axes[-(last - i) :] == list(range(i, last))), last)
        start = last if start == last - 1 and x not in many else start
        texts = [f"{x}.shape[{i}] == {y}.shape[{i}]" for i in axes if i < start]
        if start < last:
            texts.append(f"{x}.shape == {y}.shape" if start == 0 else f"{x}.shape[{start}:] == {y}.shape[{start}:]")
        merged[f"pair {(x, y)}"] = texts
    return [text for key in order for text in merged.get(key, [key])]


def split_axes(condition: str, ranks: Mapping[Term, int]) -> list[str]:
    """Undo `merge_axes`: one equation for each axis."""
    rank = {str(leaf): value for leaf, value in ranks.items()}
    sides = [side.split(".shape") for side in condition.split(" == ")]
    if not all(len(side) == 2 and side[0] in rank and (side[1] == "" or side[1].endswith(":]")) for side in sides):
        return [condition]
    start = int(sides[0][1][1:-2]) if sides[0][1] else 0
    return [f"{sides[0][0]}.shape[{i}] == {sides[1][0]}.shape[{i}]" for i in range(start, rank[sides[0][0]])]
