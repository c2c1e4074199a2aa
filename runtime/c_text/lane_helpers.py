"""The C functions that join the lanes of vectors: of one to a number, or of four to a vector of four.

For one vector the halves are joined until one lane is left. Four vectors first meet in pairs, then all four, within
each four of their lanes; then halves are joined until four lanes are left, one for each. Of 16 lanes that takes 8
shuffles for four vectors instead of 16.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

NAMES = {"+": "addlanes", "max": "maxlanes", "min": "minlanes"}
TOGETHER = {"+": "addfour", "max": "maxfour", "min": "minfour"}
FOUR = 4  # vectors whose lanes are joined together


def lanes_helper(name: str, short: str, count: int, element: str) -> str | None:
    """The C function that joins the lanes of a vector, or of four; None when the name is of neither kind.

    >>> print(lanes_helper("addlanes", "f32", 8, "float"))
    static inline float addlanes_f32x8(f32x8 v)
    {
        f32x4 h4 = __builtin_shufflevector(v, v, 0, 1, 2, 3) + __builtin_shufflevector(v, v, 4, 5, 6, 7);
        h4 = h4 + __builtin_shufflevector(h4, h4, 2, 3, 0, 1);
        h4 = h4 + __builtin_shufflevector(h4, h4, 1, 2, 3, 0);
        return h4[0];
    }
    >>> print(lanes_helper("addfour", "f32", 4, "float"))
    static inline f32x4 addfour_f32x4(f32x4 a, f32x4 b, f32x4 c, f32x4 d)
    {
        f32x4 ab = __builtin_shufflevector(a, b, 0, 4, 1, 5) + __builtin_shufflevector(a, b, 2, 6, 3, 7);
        f32x4 cd = __builtin_shufflevector(c, d, 0, 4, 1, 5) + __builtin_shufflevector(c, d, 2, 6, 3, 7);
        f32x4 v = __builtin_shufflevector(ab, cd, 0, 1, 4, 5) + __builtin_shufflevector(ab, cd, 2, 3, 6, 7);
        return v;
    }
    """
    kinds = {helper: op for names in (NAMES, TOGETHER) for op, helper in names.items()}
    if name not in kinds:
        return None
    lanes = _Lanes(kinds[name], short)
    if name in TOGETHER.values():
        return lanes.of_four(name, count)
    kind, lines = f"{short}x{count}", list[str]()
    vector, count = lanes.halved("v", count, lines)
    for distance in (2, 1):
        turned = lanes.shuffle(vector, vector, [(lane + distance) % count for lane in range(count)])
        lines.append(f"    {vector} = {lanes.joined(vector, turned, count)};")
    return "\n".join((f"static inline {element} {name}_{kind}({kind} v)", "{", *lines, f"    return {vector}[0];", "}"))


class _Lanes(NamedTuple):
    """Writes the steps of joining lanes: the operation, and the short name of the elements' type."""

    op: str
    short: str

    def joined(self, a: str, b: str, lanes: int) -> str:
        """Two vectors, lane by lane."""
        return f"{a} + {b}" if self.op == "+" else f"{self.op}_{self.short}x{lanes}({a}, {b})"

    def shuffle(self, a: str, b: str, lanes: Iterable[int]) -> str:
        """A vector of some lanes of two."""
        return f"__builtin_shufflevector({a}, {b}, {', '.join(map(str, lanes))})"

    def halved(self, vector: str, count: int, lines: list[str]) -> tuple[str, int]:
        """Join the halves of a vector until four lanes are left."""
        while count > FOUR:
            count //= 2
            low, high = (self.shuffle(vector, vector, range(s, s + count)) for s in (0, count))
            lines.append(f"    {self.short}x{count} h{count} = {self.joined(low, high, count)};")
            vector = f"h{count}"
        return vector, count

    def of_four(self, name: str, count: int) -> str:
        """The function for four vectors: they meet within each four of their lanes, where shuffles are cheapest."""
        kind, lines = f"{self.short}x{count}", list[str]()

        def met(a: str, b: str, *lanes: int) -> str:
            return self.shuffle(
                a, b, (four + lane % 4 + lane // 4 * count for four in range(0, count, 4) for lane in lanes)
            )

        for a, b in ("ab", "cd"):
            pair = self.joined(met(a, b, 0, 4, 1, 5), met(a, b, 2, 6, 3, 7), count)
            lines.append(f"    {kind} {a}{b} = {pair};")
        four = self.joined(met("ab", "cd", 0, 1, 4, 5), met("ab", "cd", 2, 3, 6, 7), count)
        lines.append(f"    {kind} v = {four};")
        vector, _ = self.halved("v", count, lines)
        head = f"static inline {self.short}x4 {name}_{kind}({kind} a, {kind} b, {kind} c, {kind} d)"
        return "\n".join((head, "{", *lines, f"    return {vector};", "}"))
