"""Side conditions: what must hold, beyond being well defined, for a rule to be true where it matched.

Paper: TASO §3. A rule proved from axioms with conditions, or whose target asks more of the shapes than its source, says
so in its `conditions`. A condition equates two expressions, made with `+`, `-`, `*` and `%` of

    4, a              numbers and parameter variables
    k[0]              one number of a parameter variable that is a pair, as strides and windows are, or of a padding;
                      the condition is false for a padding `same`, which is not written as numbers
    x.shape           the lengths of a tensor's axes; x is a variable of the rule or any term of them, `relu(x)`
    x.shape[1]        one length; `x.shape[2:]` is the rest
    groups(x, w)      the groups of a convolution of x with w; the condition is false where they do not fit
    defined(x)        1 where a term is defined, 0 elsewhere

>>> shapes = {"x1": Shape((1, 4, 8, 8)), "w1": Shape((6, 2, 3, 3)), "w2": Shape((5, 4, 3, 3))}
>>> holds("groups(x1, w1) == 1", shapes), holds("w1.shape[2:] == w2.shape[2:]", shapes)
(False, True)
>>> holds("x1.shape[1] * 2 == w1.shape[0] + w1.shape[1]", shapes), holds("w2.shape[0] % 2 == 1", shapes)
(True, True)
>>> holds("k[0] == k[1]", shapes, {"k": (3, 3)}), holds("w1.shape[2] == k[0]", shapes, {"k": (1, 3)})
(True, False)
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any

from taso_mini.operator_set import CONVOLUTIONS, infer
from taso_mini.rules_text import term_of_expression
from taso_mini.shapes import Shape, ShapeError, groups
from taso_mini.terms import Substitution, Term, subterms

Value = int | tuple[int, ...]
Shapes = Mapping[str, Shape]
Parameters = Mapping[str, Hashable]
Reader = Callable[[Shapes, Parameters], Value]


def holds(condition: str, shapes: Shapes, params: Parameters | None = None) -> bool:
    """Whether the condition is true for these shapes of the variables and values of the parameters."""
    left, right = _readers(condition)
    try:
        return left(shapes, params or {}) == right(shapes, params or {})
    except (ShapeError, IndexError):
        return False


@lru_cache(maxsize=4096)
def sides(condition: str) -> tuple[ast.expr, ast.expr]:
    """Return the two expressions that a condition equates.

    >>> [ast.unparse(side) for side in sides("groups(x, w) == 1")]
    ['groups(x, w)', '1']
    """
    try:
        tree = ast.parse(condition, mode="eval").body
    except SyntaxError as error:
        raise ValueError(f"condition: expected an equation, got {condition!r}") from error
    if not (isinstance(tree, ast.Compare) and len(tree.ops) == 1 and isinstance(tree.ops[0], ast.Eq)):
        raise ValueError(f"condition: expected one '==', got {condition!r}")
    return tree.left, tree.comparators[0]


@lru_cache(maxsize=4096)
def _readers(condition: str) -> tuple[Reader, Reader]:
    left, right = sides(condition)
    return _reader(left), _reader(right)


_OPERATIONS: dict[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: lambda a, b: a + b,
    ast.Sub: lambda a, b: a - b,
    ast.Mult: lambda a, b: a * b,
    ast.Mod: lambda a, b: a % b,
}


def _reader(node: ast.expr) -> Reader:
    """Translate an expression, once, into a function of shapes and parameters."""
    match node:
        case ast.Constant(value=int(number)):
            return lambda shapes, params: number
        case ast.Name(id=name):
            return lambda shapes, params: _number(name, params)
        case ast.BinOp(left=left, op=operation, right=right) if type(operation) in _OPERATIONS:
            first, second, combine = _reader(left), _reader(right), _OPERATIONS[type(operation)]
            return lambda shapes, params: combine(first(shapes, params), second(shapes, params))
        case ast.Call(func=ast.Name(id="groups"), args=[x, w]):
            image, kernel = _shape_reader(x), _shape_reader(w)
            return lambda shapes, params: groups(image(shapes, params), kernel(shapes, params))
        case ast.Call(func=ast.Name(id="defined"), args=[x]):
            return _defined(_shape_reader(x))
        case ast.Attribute(value=tensor, attr="shape"):
            whole = _shape_reader(tensor)
            return lambda shapes, params: whole(shapes, params).dims
        case ast.Subscript(value=ast.Attribute(value=tensor, attr="shape"), slice=ast.Slice(lower=lower)):
            rest, start = _shape_reader(tensor), _reader(lower or ast.Constant(0))
            return lambda shapes, params: rest(shapes, params).dims[start(shapes, params) :]  # type: ignore[index]
        case ast.Subscript(value=ast.Attribute(value=tensor, attr="shape"), slice=index):
            one, place = _shape_reader(tensor), _reader(index)
            return lambda shapes, params: one(shapes, params).dims[place(shapes, params)]  # type: ignore[index]
        case ast.Subscript(value=ast.Name(id=name), slice=index) if not isinstance(index, ast.Slice):
            entry = _reader(index)
            return lambda shapes, params: _entries(name, params)[entry(shapes, params)]  # type: ignore[index]
        case ast.Subscript(value=ast.Tuple() as values, slice=ast.Constant(value=int(place_))):
            return _reader(values.elts[place_])
    raise ValueError(f"condition: cannot read {ast.unparse(node)!r}")


def _number(name: str, params: Parameters) -> int:
    value = params.get(name)
    if not isinstance(value, int):
        raise ValueError(f"condition: expected a number for the parameter {name!r}, got {value!r}")
    return value


def _entries(name: str, params: Parameters) -> tuple[int, ...]:
    value = params.get(name)
    if value == "same":
        raise ShapeError(f"the padding {value!r} has no entries")
    if not isinstance(value, tuple):
        raise ValueError(f"condition: expected several numbers for the parameter {name!r}, got {value!r}")
    return value


def _shape_reader(node: ast.expr) -> Callable[[Shapes, Parameters], Shape]:
    if isinstance(node, ast.Name):
        name = node.id
        return lambda shapes, params: shapes[name]
    root = term_of_expression(node)
    return lambda shapes, params: infer(root, shapes, params)


def _defined(shape: Callable[[Shapes, Parameters], Shape]) -> Reader:
    def value(shapes: Shapes, params: Parameters) -> int:
        try:
            shape(shapes, params)
        except ShapeError:
            return 0
        return 1

    return value


def ungrouped(source: Sequence[Term]) -> tuple[str, ...]:
    """Return the conditions that no convolution of the source is grouped.

    Where image and kernel are both joined along their channels, the parts must fit one another.

    >>> from taso_mini.terms import term, variable
    >>> ungrouped([term("conv", variable("x1", "image"), variable("w1", "kernel"))])
    ('groups(x1, w1) == 1',)
    """

    def pairs(image: Term, kernel: Term) -> Iterator[str]:
        if all(side.operator == "concat" and side.param("axis") == 1 for side in (image, kernel)):
            for part in zip(image.args, kernel.args, strict=True):
                yield from pairs(*part)
        else:
            yield f"groups({image}, {kernel}) == 1"

    found = [
        condition
        for node in subterms(*source)
        if node.operator in CONVOLUTIONS
        for condition in pairs(node.args[0], node.args[1])
    ]
    return tuple(dict.fromkeys(found))


def applicable(rule: Substitution, shapes: Shapes, params: Parameters | None = None) -> bool:
    """Whether a rule may be applied: conditions hold, both sides are defined, and the outputs' shapes agree.

    The matcher asks this with the shapes of the tensors it has bound. Outputs then have equal values.
    """
    if not all(holds(condition, shapes, params) for condition in rule.conditions):
        return False
    try:
        return all(
            infer(old, shapes, params).dims == infer(new, shapes, params).dims
            for old, new in zip(rule.source, rule.target, strict=True)
        )
    except ShapeError:
        return False
