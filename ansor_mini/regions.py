"""Boxes of a tensor: where each axis starts, in terms of the loops around, and how far it reaches.

Extents are integers, or arrays or symbols (`feature_tape`) that stand for one integer of each program of a population;
all arithmetic here works on any of them and branches on no value. A start is a constant plus coefficients of iterators
(stage, name) of enclosing loops. An index that is not affine in the axes, nor a quotient of such a one, needs the whole
dimension.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Optional

import numpy as np

from ansor_mini.tensor_expression import Axis
from runtime.expr import Binary, Const, Expr, Var
from runtime.indices.simplify import Simplifier

Extent = Any  # an int, an array with one for each program, or a symbol for such an array
IteratorKey = tuple[str, str]


@dataclass(frozen=True)
class Term:
    """An index: (const + Σ coefficients[axis] · axis) // divisor."""

    const: int
    coefficients: Mapping[str, int]
    divisor: int = 1


def minimum(a: Extent, b: Extent) -> Extent:
    """The smaller extent."""
    return min(a, b) if isinstance(a, (int, float)) and isinstance(b, (int, float)) else np.minimum(a, b)


def maximum(a: Extent, b: Extent) -> Extent:
    """The larger extent."""
    return max(a, b) if isinstance(a, (int, float)) and isinstance(b, (int, float)) else np.maximum(a, b)


def ceil_divide(a: Extent, b: Extent) -> Extent:
    """a / b rounded up."""
    if isinstance(a, int) and isinstance(b, int):
        return -(-a // b)
    return np.ceil(a / b)  # exact below 2**26, and faster than integer division


@dataclass(frozen=True)
class Start:
    """const + Σ terms[stage, iterator] · iterator."""

    const: Extent
    terms: Mapping[IteratorKey, Extent]

    def plus(self, other: Start, factor: Extent = 1) -> Start:
        """self + factor · other."""
        terms = dict(self.terms)
        for key, coefficient in other.terms.items():
            moved = coefficient if isinstance(factor, int) and factor == 1 else coefficient * factor
            terms[key] = terms[key] + moved if key in terms else moved
        return Start(self.const + other.const * factor, terms)


ZERO = Start(0, {})


@dataclass(frozen=True)
class Span:
    """The values start .. start + extent - 1."""

    start: Start
    extent: Extent


Region = dict[str, Span]  # by axis


def index_term(index: Expr, simplifier: Simplifier) -> Optional[Term]:
    """An index as a quotient of what is affine in the axes; None when it is something else.

    >>> index_term((Var("h") + Var("w")) // 2, Simplifier({}))
    Term(const=0, coefficients={'h': 1, 'w': 1}, divisor=2)
    """
    form, divisor = simplifier.affine(index), 1
    if len(form.terms) == 1 and form.const == 0:
        [(atom, coefficient)] = form.terms.items()
        if coefficient == 1 and isinstance(atom, Binary) and atom.op == "//" and isinstance(atom.b, Const):
            form, divisor = simplifier.affine(atom.a), int(atom.b.value)
    terms = {atom.name: coefficient for atom, coefficient in form.terms.items() if isinstance(atom, Var)}
    return Term(form.const, terms, divisor) if len(terms) == len(form.terms) and divisor > 0 else None


def index_span(index: Optional[Term], axes: Region, dimension: Axis) -> Span:
    """What an index runs over when its axes do."""
    if index is None:
        return Span(ZERO, dimension.extent)
    start, extent = Start(index.const, {}), 1
    for name, coefficient in index.coefficients.items():
        span = axes[name]
        start = start.plus(span.start, coefficient)
        extent = extent + abs(coefficient) * (span.extent - 1)
        if coefficient < 0:
            start = Start(start.const + coefficient * (span.extent - 1), start.terms)
    return _quotient(Span(start, extent), index.divisor, dimension) if index.divisor > 1 else Span(start, extent)


def _quotient(span: Span, divisor: int, dimension: Axis) -> Span:
    """What x // divisor runs over when x does: exact if x always starts at a multiple, else the whole dimension."""
    aligned: Extent = span.start.const % divisor == 0
    for coefficient in span.start.terms.values():
        aligned = aligned & (coefficient % divisor == 0)
    # a factor: 1 keeps the quotients, 0 makes them the whole dimension
    terms = {key: coefficient // divisor * aligned for key, coefficient in span.start.terms.items()}
    extent = ceil_divide(span.extent, divisor)
    return Span(
        Start(span.start.const // divisor * aligned, terms),
        extent * aligned + dimension.extent * (1 - aligned * 1),
    )


def union(a: Span, b: Span, dimension: Axis) -> Span:
    """The bounding box of two spans: exact if they start a constant apart, else the whole dimension."""
    same: Extent = True
    for key in (*a.start.terms, *b.start.terms):
        same = same & (a.start.terms.get(key, 0) == b.start.terms.get(key, 0))
    if same is False:
        return Span(ZERO, dimension.extent)
    first = minimum(a.start.const, b.start.const)
    extent = maximum(a.start.const + a.extent, b.start.const + b.extent) - first
    # a factor: 1 keeps the bounding box, 0 makes it the whole dimension
    terms = {key: coefficient * same for key, coefficient in a.start.terms.items()}
    return Span(Start(first * same, terms), extent * same + dimension.extent * (1 - same * 1))


def clip(span: Span, dimension: Axis) -> Span:
    """A span that covers a whole dimension becomes that dimension."""
    smaller = span.extent < dimension.extent  # a factor: 1 keeps the start, 0 makes it 0
    terms = {key: coefficient * smaller for key, coefficient in span.start.terms.items()}
    return Span(Start(span.start.const * smaller, terms), minimum(span.extent, dimension.extent))
