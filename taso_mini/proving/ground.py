"""Conditions of axioms, said of the terms that an instance has for the axiom's variables.

Paper: TASO §3. `ground_condition` puts terms for variables; `follows` and `assume` connect a condition to what is known
about symbolic lengths.

>>> from taso_mini.terms import term, variable
>>> i, k, x = (variable(name, kind) for name, kind in (("i", "image"), ("k", "kernel"), ("x1", "image")))
>>> ground_condition("groups(i, k) == 1", {i: term("relu", x), k: x})
'groups(relu(x1), x1) == 1'
>>> ground_condition("k.shape[2] == k[0]", {k: x, "k": (3, 1)})  # a kernel, and the window of a pool
'x1.shape[2] == (3, 1)[0]'
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Hashable, Mapping

from taso_mini.conditions import sides
from taso_mini.proving.lengths import Length
from taso_mini.proving.symbolic_shapes import SymbolicShape, Typing, Unknown
from taso_mini.terms import Term

ShapeOf = Callable[[ast.expr], SymbolicShape]


def ground_condition(condition: str, terms: Mapping[Hashable, Hashable]) -> str:
    """Return an axiom's condition with terms in place of the axiom's variables."""
    named = {name.name: str(value) for name, value in terms.items() if isinstance(name, Term)}
    numbers = {name: value for name, value in terms.items() if not isinstance(name, Term)}

    class Rename(ast.NodeTransformer):
        def visit_Subscript(self, node: ast.Subscript) -> ast.expr:  # noqa: N802 - the name that ast asks for
            if not isinstance(node.value, ast.Name):
                self.generic_visit(node)
            elif node.value.id in numbers:  # a parameter, whatever tensor has the same letter
                node.value = ast.parse(str(numbers[node.value.id]), mode="eval").body
            return node

        def visit_Name(self, node: ast.Name) -> ast.expr:  # noqa: N802 - the name that ast asks for
            return ast.parse(named[node.id], mode="eval").body if node.id in named else node

    left, right = (
        ast.unparse(Rename().visit(ast.parse(ast.unparse(side), mode="eval").body)) for side in sides(condition)
    )
    return f"{left} == {right}"


def difference(condition: str, shape_of: ShapeOf) -> Length:
    """Return a length that is 0 exactly when the condition holds; raise Unknown when it cannot be said so."""
    (left, left_parts), (right, right_parts) = (_fraction(side, shape_of) for side in sides(condition))
    return left * right_parts - right * left_parts


def _fraction(node: ast.expr, shape_of: ShapeOf) -> tuple[Length, Length]:
    """Return numerator and denominator: `groups(x, w)` is channels of the image per channel of the kernel."""
    one = Length.number(1)
    match node:
        case ast.Constant(value=int(number)):
            return Length.number(number), one
        case ast.Call(func=ast.Name(id="groups"), args=[x, w]):
            return shape_of(x).dims[1], shape_of(w).dims[1]
        case ast.Subscript(value=ast.Attribute(value=tensor, attr="shape"), slice=ast.Constant(value=int(place))):
            return shape_of(tensor).dims[place], one
        case ast.Subscript(value=ast.Tuple() as values, slice=ast.Constant(value=int(place))):
            return _fraction(values.elts[place], shape_of)
        case ast.BinOp(left=a, op=ast.Mult(), right=b):
            (first, below), (second, below_second) = _fraction(a, shape_of), _fraction(b, shape_of)
            return first * second, below * below_second
        case ast.BinOp(left=a, op=ast.Add() | ast.Sub() as sign, right=b):
            (first, below), (second, below_second) = _fraction(a, shape_of), _fraction(b, shape_of)
            left, right = first * below_second, second * below
            return left + right if isinstance(sign, ast.Add) else left - right, below * below_second
    raise Unknown(ast.unparse(node))


def follows(condition: str, typing: Typing, shape_of: ShapeOf) -> bool:
    """Whether a condition is true in consequence of what is known."""
    try:
        return typing.equations.equal(difference(condition, shape_of), Length.number(0))
    except Unknown:
        return False


def assume(condition: str, typing: Typing, shape_of: ShapeOf) -> None:
    """Add a condition to what is known; one that is no equation of lengths adds nothing."""
    try:
        gap = difference(condition, shape_of)
    except Unknown:
        return
    wanted, typing.wanted = typing.wanted, None
    typing.equal(gap, Length.number(0))
    typing.wanted = wanted
