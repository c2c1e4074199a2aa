"""Shapes of terms for all sizes at once: the shape rules of `taso_mini.shapes` over symbolic lengths.

Paper: TASO §2.1, §3. Each rule asks for equations ("inner lengths agree"). A `Typing` is in one of three moods: while
it *assumes*, whatever a rule asks for becomes known; while it *collects*, what did not follow is written down as well;
while it *checks*, a rule that asks for something that does not follow raises `Unknown`. So a rule's source is assumed,
what its target needs beyond that is collected, and the terms of a proof are checked.

Opaque lengths: the number of windows of a convolution or pool, equal when image, window and parameters are; and the
larger of two windows. With padding `same` the number of windows does not depend on the window.

A tensor's unknown split tree is `Open`; the tree of a sum is the common part of two trees (`Common`), looked at only
when something splits the sum.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from typing import Union

from taso_mini.proving.lengths import Equations, Length, equation
from taso_mini.terms import Term

Tree = Union["Cut", "Open", "Common", None]


@dataclass(frozen=True)
class Cut:
    """A concatenation: length of the first part, and the trees of both."""

    length: Length
    first: Tree
    second: Tree


@dataclass(frozen=True)
class Open:
    """The tree of a variable's axis, of which nothing is known."""

    name: str


@dataclass(frozen=True)
class Common:
    """What two trees have in common."""

    one: Tree
    other: Tree


@dataclass(frozen=True)
class SymbolicShape:
    """Lengths and split trees of a tensor's axes."""

    dims: tuple[Length, ...]
    trees: tuple[Tree, ...]


class Unknown(Exception):
    """What a shape rule asks for does not follow from what is known; says what that is."""


def leaf_shape(leaf: Term, rank: int) -> SymbolicShape:
    """Return the shape of a variable or constant with its own names for all lengths."""
    names = [f"{leaf}.shape[{axis}]" for axis in range(rank)]
    return SymbolicShape(tuple(map(Length.atom, names)), tuple(map(Open, names)))


class Typing:
    """The shape rules, with what is known about lengths.

    Attributes:
        assuming: whether what is asked for becomes known.
        wanted: where what did not follow is written down, or None.
        asking: the term whose shape is being found.
        axes: the value of the axis parameter, where terms have one.
        constants: prefixes of the lengths of constants, which equations are solved for first: they are free to choose.
    """

    def __init__(self, axes: Mapping[str, int] | None = None) -> None:
        """Know nothing, and assume."""
        self.assuming = True
        self.wanted: list[str] | None = None
        self.asking: Term | None = None
        self.axes = dict(axes or {})
        self.constants: tuple[str, ...] = ()
        self.equations = Equations()
        self._facts: set[tuple[Hashable, ...]] = set()
        self._opaque: dict[tuple[Hashable, ...], Length] = {}
        self._largest: dict[Length, tuple[Length, Length]] = {}
        self._convolutions: list[tuple[Length, Length, Length]] = []

    # What rules ask for.

    def need(self, condition: bool, reason: str) -> None:
        """Fail, in either mood, unless the condition holds: no lengths could make it true."""
        if not condition:
            self.equations.contradictory |= self.assuming
            raise Unknown(reason)

    def equal(self, a: Length, b: Length) -> None:
        """Ask that two lengths are equal."""
        if self.equations.equal(a, b):
            return
        if not self.assuming:
            raise Unknown(f"{a} == {b}")
        self._want(equation(self.normal(a - b)))
        self.equations.assume(a, b, self.constants)
        if not self.equations.contradictory:
            self._merge_opaque()

    def fact(self, *fact: Hashable) -> None:
        """Ask for something that only follows from itself."""
        key = tuple(self.normal(part) if isinstance(part, Length) else part for part in fact)
        if key in self._facts:
            return
        if not self.assuming:
            raise Unknown(" ".join(map(str, key)))
        self._want(f"{key[1]} % 2 == 1" if key[0] == "odd" else f"defined({self.asking}) == 1")
        self._facts.add(key)

    def _want(self, condition: str) -> None:
        if self.wanted is not None:
            self.wanted.append(condition)

    def odd(self, length: Length) -> None:
        """Ask that a length is odd."""
        number = self.normal(length).value
        if number is not None:
            self.need(number % 2 == 1, f"{number} is even")
        elif not self._surely_odd(self.normal(length)):
            self.fact("odd", length)

    def _surely_odd(self, length: Length) -> bool:
        if length.value is not None:
            return length.value % 2 == 1
        parts = self._largest.get(length)
        return ("odd", length) in self._facts or parts is not None and all(map(self._surely_odd, parts))

    def at_most(self, old: Length, new: Length) -> None:
        """Ask that a window is no larger than another."""
        old, new = self.normal(old), self.normal(new)
        if old == new or new in self._largest and old in self._largest[new]:
            return
        if old.value is not None and new.value is not None:
            self.need(old.value <= new.value, f"{old} is larger than {new}")
        else:
            self.fact("at most", old, new)

    def normal(self, length: Length) -> Length:
        """Return the length as it is written with what is known."""
        return self.equations.normal(length)

    # Opaque lengths.

    def windows(
        self, image: Length, window: Length, stride: Hashable, padding: Hashable, dilation: Hashable, text: str
    ) -> Length:
        """Return how many windows fit along an axis; `text` names the result in conditions."""
        if padding == "same":
            self.odd(window)
            return image if stride == 1 else self._named(("same", image, stride), text)
        self.fact("fits", image, window, stride, padding, dilation)
        if stride == 1 and isinstance(padding, tuple) and isinstance(dilation, int):
            return image + Length.number(sum(padding) + dilation) - Length.number(dilation) * window
        return self._named(("windows", image, window, stride, padding, dilation), text)

    def largest(self, a: Length, b: Length, text: str) -> Length:
        """Return the larger of two windows."""
        a, b = self.normal(a), self.normal(b)
        if a == b or a in self._largest and b in self._largest[a]:
            return a
        if a.value is not None and b.value is not None:
            return Length.number(max(a.value, b.value))
        result = self._named(("largest", a, b), text)
        if self.normal(result) not in (a, b):
            self._largest[self.normal(result)] = (a, b)
        return result

    def _named(self, key: tuple[Hashable, ...], text: str) -> Length:
        key = tuple(self.normal(part) if isinstance(part, Length) else part for part in key)
        return self._opaque.setdefault(key, Length.atom(text))

    def _merge_opaque(self) -> None:
        """Give opaque lengths of what has become the same thing one name, and rewrite what was asked for."""
        self._facts = {
            tuple(self.normal(part) if isinstance(part, Length) else part for part in fact) for fact in self._facts
        }
        old, self._opaque = self._opaque, {}
        largest, self._largest = self._largest, {}
        for result, (one, other) in largest.items():
            parts = self.normal(one), self.normal(other)
            if self.normal(result) not in parts:  # known to be one of the two: no news
                self._largest[self.normal(result)] = parts
        for key, name in old.items():
            fresh = tuple(self.normal(part) if isinstance(part, Length) else part for part in key)
            same = self._opaque.setdefault(fresh, name)
            if key[0] == "largest":
                a, b = fresh[1:]
                assert isinstance(a, Length) and isinstance(b, Length)
                if a == b or a.value is not None and b.value is not None:
                    same = a if a == b else Length.number(max(a.value or 0, b.value or 0))
            if not self.equations.equal(same, name):
                self.equal(same, name)
                return

    # Groups of convolutions.

    def convolution(self, image: Length, inputs: Length, outputs: Length) -> None:
        """Ask that channels of the image, and of the kernel, fit together with some number of groups."""
        image, inputs, outputs = map(self.normal, (image, inputs, outputs))
        if self._fits(image, inputs, outputs):
            return
        if not self.assuming:
            raise Unknown(f"a convolution of {image} channels with a kernel of {outputs} by {inputs}")
        self._want(f"defined({self.asking}) == 1")
        self._convolutions.append((image, inputs, outputs))

    def allow(self, image: Length, inputs: Length, outputs: Length) -> None:
        """Make known that a convolution is defined."""
        self._convolutions.append((image, inputs, outputs))

    def _fits(self, image: Length, inputs: Length, outputs: Length) -> bool:
        if image == inputs or inputs.value == 1 and outputs == image:
            return True
        if outputs == image and ("identity kernel", outputs, inputs) in self._facts:
            return True  # depthwise or not, an identity kernel for as many channels fits
        multiples = [tuple(map(self.normal, known)) for known in self._convolutions]
        parts = [o for c, i, o in multiples if c == image and i == inputs]
        if inputs.value == 1:
            parts.append(image)
        return any(outputs == part for part in parts) or any(outputs == a + b for a in parts for b in parts)

    # Split trees.

    def common(self, a: Tree, b: Tree) -> Tree:
        """Return the common part of two trees."""
        if a == b or a is None or b is None:
            return a if a == b else None
        return Common(a, b)

    def cut(self, tree: Tree) -> Cut:
        """Return the last concatenation of a tree; ask that there is one."""
        if isinstance(tree, Cut):
            return tree
        if isinstance(tree, Open):
            self.fact("is cut", tree.name)
            return Cut(Length.atom(f"{tree.name}.cut"), Open(f"{tree.name}.0"), Open(f"{tree.name}.1"))
        if isinstance(tree, Common):
            one, other = self.cut(tree.one), self.cut(tree.other)
            self.equal(one.length, other.length)
            return Cut(one.length, self.common(one.first, other.first), self.common(one.second, other.second))
        raise Unknown("a split of what is no concatenation")

    def same(self, a: SymbolicShape, b: SymbolicShape) -> None:
        """Ask that two shapes have the same lengths."""
        self.need(len(a.dims) == len(b.dims), "different ranks")
        for one, other in zip(a.dims, b.dims, strict=True):
            self.equal(one, other)
