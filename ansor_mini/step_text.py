"""Reads transform steps back from their text, which is how records store a sketch.

`repr(step)` is a constructor call over literals and holes; only those are accepted, nothing is evaluated.

Paper: Ansor §6
"""

from __future__ import annotations

import ast
from collections.abc import Iterable

from ansor_mini import steps as step_module
from ansor_mini.schedule import Step
from ansor_mini.steps import Hole

_CLASSES = {
    name: kind
    for name, kind in vars(step_module).items()
    if isinstance(kind, type) and kind is not Step and (issubclass(kind, Step) or kind is Hole)
}


def parse_steps(texts: Iterable[str]) -> tuple[Step, ...]:
    """The steps of a record.

    Raises: ValueError: a text is not the constructor call of a step.

    >>> parse_steps(["Split(stage='C', iterator='i', lengths=Hole(name='C.i'))"])
    (Split(stage='C', iterator='i', lengths=Hole(name='C.i')),)
    """
    return tuple(_parse_step(text) for text in texts)


def _parse_step(text: str) -> Step:
    try:
        step = _value(ast.parse(text, mode="eval").body)
    except (SyntaxError, ValueError, TypeError) as error:
        raise ValueError(f"not a transform step: {text!r} ({error})") from None
    if not isinstance(step, Step):
        raise ValueError(f"not a transform step: {text!r}")
    return step


def _value(node: ast.expr) -> object:
    if isinstance(node, ast.Call):
        if not isinstance(node.func, ast.Name) or node.func.id not in _CLASSES or node.args:
            raise ValueError(f"unknown constructor `{ast.unparse(node)}`")
        return _CLASSES[node.func.id](**{str(word.arg): _value(word.value) for word in node.keywords})
    if isinstance(node, ast.Tuple):
        return tuple(_value(item) for item in node.elts)
    return ast.literal_eval(node)
