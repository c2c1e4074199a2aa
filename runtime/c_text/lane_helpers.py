"""The C functions that move lanes: those of vectors are joined, or those of a square block turned.

Joining gives a number for one vector, or a vector of four for four.

For one vector the halves are joined until one lane is left. Four vectors first meet in pairs, then all four, within
each four of their lanes; then halves are joined until four lanes are left, one for each. Of 16 lanes that takes 8
shuffles for four vectors instead of 16.

A block of n vectors is turned, rows to columns, in log n rounds of n shuffles: first within each four lanes, where
shuffles are cheapest, then by whole fours.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

NAMES = {"+": "addlanes", "max": "maxlanes", "min": "minlanes"}
TOGETHER = {"+": "addfour", "max": "maxfour", "min": "minfour"}
TURN = "turn"
FOUR = 4  # vectors whose lanes are joined together


def lanes_helper(name: str, short: str, count: int, element: str) -> str | None:
    """The C function that joins the lanes of a vector, or of four, or turns a block; None for any other name.

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
    if name == TURN:
        return _turn(short, count)
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


def _turn(short: str, count: int) -> str:
    """The function that turns a block of `count` vectors.

    >>> print(_turn("f32", 4))
    static inline void turn_f32x4(f32x4 *v)
    {
        f32x4 a0 = __builtin_shufflevector(v[0], v[1], 0, 4, 1, 5);
        f32x4 a1 = __builtin_shufflevector(v[0], v[1], 2, 6, 3, 7);
        f32x4 a2 = __builtin_shufflevector(v[2], v[3], 0, 4, 1, 5);
        f32x4 a3 = __builtin_shufflevector(v[2], v[3], 2, 6, 3, 7);
        f32x4 b0 = __builtin_shufflevector(a0, a2, 0, 1, 4, 5);
        f32x4 b1 = __builtin_shufflevector(a0, a2, 2, 3, 6, 7);
        f32x4 b2 = __builtin_shufflevector(a1, a3, 0, 1, 4, 5);
        f32x4 b3 = __builtin_shufflevector(a1, a3, 2, 3, 6, 7);
        v[0] = b0; v[1] = b1; v[2] = b2; v[3] = b3;
    }
    """
    kind, lines = f"{short}x{count}", list[str]()
    lanes, fours = _Lanes("", short), range(0, count, FOUR)

    def pair(name: str, number: int, a: str, b: str, picks: Iterable[Iterable[int]]) -> list[str]:
        """Two vectors of lanes of two others."""
        made = [f"{name}{number}", f"{name}{number + 1}"]
        lines.extend(f"    {kind} {one} = {lanes.shuffle(a, b, picked)};" for one, picked in zip(made, picks))
        return made

    def within(*picked: int) -> list[int]:
        """The same lanes of each four; from 4 on they are the second vector's."""
        return [four + lane % FOUR + lane // FOUR * count for four in fours for lane in picked]

    def by_fours(name: str, vectors: list[str], number: int) -> list[str]:
        """For each four of the vectors, those of all vectors side by side."""
        if len(vectors) == 1:
            return vectors
        every = range(0, 2 * count, 2 * FOUR)
        picks = [[four + lane for four in every for lane in range(odd, odd + FOUR)] for odd in (0, FOUR)]
        made = [pair(name, number + i, vectors[i], vectors[i + 1], picks) for i in range(0, len(vectors), 2)]
        after = chr(ord(name) + 1)
        halves = [by_fours(after, [both[odd] for both in made], number + odd * len(made)) for odd in (0, 1)]
        return [vector for both in zip(*halves) for vector in both]

    lows_and_highs = (within(0, 4, 1, 5), within(2, 6, 3, 7)), (within(0, 1, 4, 5), within(2, 3, 6, 7))
    columns: list[list[str]] = [[] for _ in range(FOUR)]
    pairs = [pair("a", i, f"v[{i}]", f"v[{i + 1}]", lows_and_highs[0]) for i in range(0, count, 2)]
    for number in range(0, count // 2, 2):
        for half, (a, b) in enumerate(zip(*pairs[number : number + 2])):
            for column, vector in enumerate(pair("b", 2 * (number + half), a, b, lows_and_highs[1]), 2 * half):
                columns[column].append(vector)
    turned = [""] * count
    for column, vectors in enumerate(columns):
        turned[column::FOUR] = by_fours("c", vectors, column * len(vectors))
    lines.append("    " + " ".join(f"v[{row}] = {vector};" for row, vector in enumerate(turned)))
    return "\n".join((f"static inline void {TURN}_{kind}({kind} *v)", "{", *lines, "}"))
