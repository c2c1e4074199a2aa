"""Shapes as numbers, and what the operators' shape rules give for them, each applied once.

A million instances of rules and axioms meet the same few shapes over and over; looking up numbers is what makes trying
them cheap (`shape_search`).

>>> from taso_mini.rules_text import parse_term
>>> product = parse_term("matmul(x, y)", {"x": "matrix", "y": "matrix"})
>>> table = ShapeTable()
>>> two_by_three, three_by_four = table.numbers([Shape((2, 3)), Shape((3, 4))])
>>> results = table.results(product)
>>> table.shapes[results[two_by_three, three_by_four]].dims, results[three_by_four, two_by_three] == UNDEFINED
((2, 4), True)
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence

from taso_mini.operator_set import OPERATORS
from taso_mini.shapes import Shape, ShapeError
from taso_mini.terms import Term

Allowed = Callable[[Term, Sequence[Shape]], bool]
UNDEFINED = -1


class ShapeTable:
    """Numbers for shapes, and the shape rules' remembered results as numbers; `UNDEFINED` where a rule refuses.

    `allowed(node, argument_shapes)` may refuse more than the operator's own rule does.
    """

    def __init__(self, allowed: Allowed | None = None) -> None:
        """Start without shapes."""
        self.shapes: list[Shape] = []
        self.allowed = allowed
        self._numbers: dict[Shape, int] = {}
        self._results: dict[Term | tuple[Hashable, ...], Results] = {}
        self._lists: dict[int, tuple[Sequence[Shape], list[int]]] = {}

    def number(self, shape: Shape) -> int:
        """Return the number of a shape; equal shapes (split trees included) have the same one."""
        found = self._numbers.get(shape)
        if found is None:
            found = self._numbers[shape] = len(self.shapes)
            self.shapes.append(shape)
        return found

    def numbers(self, shapes: Sequence[Shape]) -> list[int]:
        """Return the numbers of all shapes of a list, which may be a list that was asked for before."""
        key = id(shapes)
        if key not in self._lists:
            self._lists[key] = shapes, [self.number(shape) for shape in shapes]
        return self._lists[key][1]

    def results(self, node: Term) -> Results:
        """Return the remembered results of the node's shape rule, by the numbers of its arguments."""
        shaping = tuple(param for param in node.params if param[0] != "activation")  # which changes no shape
        key: Term | tuple[Hashable, ...] = node if self.allowed else (node.operator, shaping)
        if key not in self._results:
            self._results[key] = Results(self, node)
        return self._results[key]


class Results(dict[tuple[int, ...], int]):
    """The results of one operator's shape rule; a missing one is computed."""

    def __init__(self, table: ShapeTable, node: Term) -> None:
        """Remember for which table and operator."""
        super().__init__()
        self._table, self._node = table, node
        self._shape, self._params = OPERATORS[node.operator].shape, dict(node.params)

    def __missing__(self, given: tuple[int, ...]) -> int:
        """Apply the shape rule."""
        table, result = self._table, UNDEFINED
        shapes = [table.shapes[number] for number in given]
        try:
            shape = self._shape(*shapes, **self._params)
            if table.allowed is None or table.allowed(self._node, shapes):
                result = table.number(shape)
        except ShapeError:
            pass
        self[given] = result
        return result
