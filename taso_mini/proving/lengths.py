"""Lengths of axes as polynomials, and what follows from equations between them.

Paper: TASO §3. To know for *all* shapes whether a term is defined, axes have symbolic lengths: `x.shape[1]`, a sum of
two after a concatenation, or an opaque one such as the number of windows of a pool. `Equations` holds what is known and
answers what follows: linear equations are solved and substituted, others are kept as they are. An answer "equal" is
certain; "not known" is not a proof of the contrary.

>>> known = Equations()
>>> a, b, c = (Length.atom(name) for name in "abc")
>>> known.assume(a + b, c)
>>> known.assume(a, b)
>>> known.equal(c, Length.number(2) * b)
True
>>> known.assume(c, a)  # then b would be 0, which no axis is
>>> known.contradictory
True
"""

from __future__ import annotations

from functools import lru_cache
from math import gcd

Monomial = tuple[str, ...]  # atoms, sorted; () is 1


class Length:
    """A polynomial in named lengths with integer coefficients; immutable, equal when written equally."""

    __slots__ = ("terms", "_hash")

    def __init__(self, terms: dict[Monomial, int]) -> None:
        """Sort the terms and drop zeros."""
        self.terms = tuple(sorted((monomial, factor) for monomial, factor in terms.items() if factor))
        self._hash = hash(self.terms)

    @staticmethod
    @lru_cache(maxsize=1024)
    def number(value: int) -> Length:
        """Return a constant."""
        return Length({(): value})

    @staticmethod
    @lru_cache(maxsize=4096)
    def atom(text: str) -> Length:
        """Return the length with this name."""
        return Length({(text,): 1})

    def __eq__(self, other: object) -> bool:
        """Whether both are written with the same terms."""
        return isinstance(other, Length) and self.terms == other.terms

    def __hash__(self) -> int:
        """Return a hash of the terms."""
        return self._hash

    def __add__(self, other: Length) -> Length:
        """Return the sum."""
        return self._plus(other, 1)

    def __sub__(self, other: Length) -> Length:
        """Return the difference, which need not be positive."""
        return self._plus(other, -1)

    def _plus(self, other: Length, sign: int) -> Length:
        terms = dict(self.terms)
        for monomial, factor in other.terms:
            terms[monomial] = terms.get(monomial, 0) + sign * factor
        return Length(terms)

    def __mul__(self, other: Length) -> Length:
        """Return the product."""
        terms: dict[Monomial, int] = {}
        for left, factor in self.terms:
            for right, other_factor in other.terms:
                monomial = tuple(sorted(left + right))
                terms[monomial] = terms.get(monomial, 0) + factor * other_factor
        return Length(terms)

    @property
    def value(self) -> int | None:
        """The number, or None when it has names."""
        if not self.terms:
            return 0
        return self.terms[0][1] if len(self.terms) == 1 and not self.terms[0][0] else None

    @property
    def reduced(self) -> Length:
        """The length divided by what all its factors have in common: 0 for the same sizes."""
        common = gcd(*(factor for _, factor in self.terms))
        return self if common <= 1 else Length({monomial: factor // common for monomial, factor in self.terms})

    @property
    def impossible_zero(self) -> bool:
        """Whether it cannot be 0 while every name is at least 1: all terms have one sign."""
        return bool(self.terms) and (all(f > 0 for _, f in self.terms) or all(f < 0 for _, f in self.terms))

    def __str__(self) -> str:
        """Return it as a sum of products that conditions can contain."""

        def written(sign: int) -> list[str]:
            return [
                " * ".join(([str(sign * factor)] if sign * factor != 1 or not monomial else []) + list(monomial))
                for monomial, factor in self.terms
                if sign * factor > 0
            ]

        return " - ".join([" + ".join(written(1)) or "0", *written(-1)])


def equation(difference: Length) -> str:
    """Return `difference == 0` as a condition without minus signs.

    >>> equation(Length.atom("x.shape[0]") - Length.atom("y.shape[0]"))
    'x.shape[0] == y.shape[0]'
    """
    terms = difference.reduced.terms
    left, right = (Length({m: sign * f for m, f in terms if sign * f > 0}) for sign in (1, -1))
    if left.value is not None or right.value is None and str(right) < str(left):
        left, right = right, left
    return f"{left} == {right}"


class Equations:
    """Equations between lengths, closed under substitution.

    Attributes:
        contradictory: whether they can hold for no positive lengths.
    """

    def __init__(self) -> None:
        """Know nothing."""
        self.contradictory = False
        self._solved: dict[str, Length] = {}
        self._kept: set[Length] = set()

    def normal(self, length: Length) -> Length:
        """Return the length with all solved names replaced."""
        solved = self._solved
        if not any(atom in solved for monomial, _ in length.terms for atom in monomial):
            return length
        result = Length({})
        for monomial, factor in length.terms:
            product = Length.number(factor)
            for atom in monomial:
                product = product * solved.get(atom, Length.atom(atom))
            result = result + product
        return result

    def equal(self, a: Length, b: Length) -> bool:
        """Whether the two are equal in consequence of what was assumed."""
        if a == b:
            return True
        difference = self.normal(a - b).reduced
        return not difference.terms or difference in self._kept

    def assume(self, a: Length, b: Length, prefer: tuple[str, ...] = ()) -> None:
        """Add an equation; solve it for a name that starts with one of `prefer`, if it has one."""
        difference = self.normal(a - b).reduced
        if not difference.terms or difference in self._kept:
            return
        if difference.impossible_zero:
            self.contradictory = True
            return
        atom = self._pivot(difference, prefer)
        if atom is None:
            self._kept |= {difference, Length.number(-1) * difference}
            return
        factor = dict(difference.terms)[(atom,)]
        self._solved[atom] = Length.atom(atom) - Length.number(factor) * difference
        self._solved = {name: self.normal(length) for name, length in self._solved.items()}
        kept, self._kept = self._kept, set()
        for other in kept:
            self.assume(other, Length.number(0))

    def _pivot(self, difference: Length, prefer: tuple[str, ...]) -> str | None:
        """Return a name that occurs once, alone and with factor 1 or -1."""
        atoms = [atom for monomial, _ in difference.terms for atom in monomial]
        candidates = [
            monomial[0]
            for monomial, factor in difference.terms
            if len(monomial) == 1 and abs(factor) == 1 and atoms.count(monomial[0]) == 1
        ]
        return max(
            candidates, key=lambda atom: (atom.startswith(prefer) if prefer else False, len(atom), atom), default=None
        )
