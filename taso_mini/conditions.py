"""Side conditions: what must hold, beyond being well defined, for a rule to be true where it matched.

Paper: TASO §3. A rule proved from axioms with conditions, or whose target asks more of the shapes than its source, says
so in its `conditions`. A condition equates two of: a number, `groups(x, w)`, `x.shape`, `x.shape[i]`, `x.shape[i:]`,
where x and w are variables of the rule (in `groups` also terms) and i is a number or a parameter variable.

>>> shapes = {"x1": Shape((1, 4, 8, 8)), "w1": Shape((6, 2, 3, 3)), "w2": Shape((5, 4, 3, 3))}
>>> holds("groups(x1, w1) == 1", shapes), holds("w1.shape[2:] == w2.shape[2:]", shapes)
(False, True)
"""

from __future__ import annotations

import ast
from collections.abc import Hashable, Iterator, Mapping, Sequence

from taso_mini.operator_set import CONVOLUTIONS, infer
from taso_mini.rules_text import parse_term
from taso_mini.shapes import Shape, ShapeError, groups
from taso_mini.terms import Substitution, Term, subterms

Value = int | tuple[int, ...]


def holds(condition: str, shapes: Mapping[str, Shape], params: Mapping[str, Hashable] | None = None) -> bool:
    """Whether the condition is true for these shapes of the variables and values of the parameters."""
    try:
        tree = ast.parse(condition, mode="eval").body
    except SyntaxError as error:
        raise ValueError(f"condition: expected an equation, got {condition!r}") from error
    if not (isinstance(tree, ast.Compare) and len(tree.ops) == 1 and isinstance(tree.ops[0], ast.Eq)):
        raise ValueError(f"condition: expected one '==', got {condition!r}")
    try:
        sides = [_value(side, shapes, params or {}) for side in (tree.left, tree.comparators[0])]
    except (ShapeError, IndexError):
        return False
    return sides[0] == sides[1]


def _value(node: ast.expr, shapes: Mapping[str, Shape], params: Mapping[str, Hashable]) -> Value:
    match node:
        case ast.Constant(value=int(number)):
            return number
        case ast.Name(id=name) if name in params and isinstance(params[name], int):
            return int(str(params[name]))
        case ast.Call(func=ast.Name(id="groups"), args=[x, w]):
            kinds = dict.fromkeys(shapes, "tensor")
            image, kernel = (infer(parse_term(ast.unparse(side), kinds), shapes, params) for side in (x, w))
            return groups(image, kernel)
        case ast.Attribute(value=ast.Name(id=x), attr="shape"):
            return shapes[x].dims
        case ast.Subscript(value=ast.Attribute(value=ast.Name(id=x), attr="shape"), slice=ast.Slice(lower=lower)):
            return shapes[x].dims[int(str(_value(lower, shapes, params))) if lower else 0 :]
        case ast.Subscript(value=ast.Attribute(value=ast.Name(id=x), attr="shape"), slice=index):
            return shapes[x].dims[int(str(_value(index, shapes, params)))]
    raise ValueError(f"condition: cannot read {ast.unparse(node)!r}")


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

    found = [condition for node in subterms(*source) if node.operator in CONVOLUTIONS
             for condition in pairs(node.args[0], node.args[1])]
    return tuple(dict.fromkeys(found))


def applicable(rule: Substitution, shapes: Mapping[str, Shape], params: Mapping[str, Hashable] | None = None) -> bool:
    """Whether a rule may be applied: conditions hold, both sides are defined, and the outputs' shapes agree.

    The matcher asks this with the shapes of the tensors it has bound. Outputs then have equal values.
    """
    if not all(holds(condition, shapes, params) for condition in rule.conditions):
        return False
    try:
        return all(infer(old, shapes, params).dims == infer(new, shapes, params).dims
                   for old, new in zip(rule.source, rule.target, strict=True))
    except ShapeError:
        return False
