"""Match one term at one value of a graph.

Paper: TASO §5. A value is computed in one way, so this needs no backtracking: operator and parameters of the term must
be those of the operation, and then the same of its arguments.
"""

from __future__ import annotations

from collections.abc import Hashable
from functools import lru_cache
from typing import NamedTuple

from taso_mini.applications import Application
from taso_mini.search_graph import SearchGraph
from taso_mini.terms import Term, is_parameter_variable

RANK = {"image": 4, "kernel": 4, "vector": 1, "matrix": 2, "scalar": 0}


def unify(graph: SearchGraph, node: Term, value: str, values: dict[Term, str], params: dict[str, Hashable]) -> bool:
    """Match one term at one value, adding to `values` and `params`; on failure they are left half-filled."""
    known = values.get(node)
    if known is not None:
        return known == value
    return _unify(graph, wanted_of(node), value, values, params)


def _unify(
    graph: SearchGraph, wanted: Wanted, value: str, values: dict[Term, str], params: dict[str, Hashable]
) -> bool:
    """Do the same for a term that has no value yet."""
    if not wanted.args:
        if wanted.operator != "input":
            readings = [Application(c.operator, dict(c.params), ()) for c in graph.values.constants(value)]
            if not any(same(wanted, reading, params) for reading in readings):
                return False
        elif wanted.rank is not None and len(graph.values.types[value].shape) != wanted.rank:
            return False
        values[wanted.term] = value
        return True
    operation = graph.producers.get(value)
    found = operation.applications[value] if operation is not None else None
    if found is None or not same(wanted, found[0], params):
        return False
    values[wanted.term] = value
    for argument, arg in zip(wanted.args, found[1]):
        known = values.get(argument.term)
        if known is None:
            if not _unify(graph, argument, arg, values, params):
                return False
        elif known != arg:
            return False
    return True


class Wanted(NamedTuple):
    """A term of a source as `_unify` needs it: its variables' rank, and which parameters are open."""

    term: Term
    operator: str
    args: tuple[Wanted, ...]
    rank: int | None
    fixed: tuple[tuple[str, Hashable], ...]
    open: tuple[tuple[str, str], ...]


@lru_cache(maxsize=1 << 14)
def wanted_of(node: Term) -> Wanted:
    """Return a term as `_unify` needs it."""
    if node.is_variable:
        return Wanted(node, node.operator, (), RANK.get(node.kind), (), ())
    fixed = tuple((name, value) for name, value in node.params if not is_parameter_variable(value))
    open_ = tuple((name, str(value)) for name, value in node.params if is_parameter_variable(value))
    return Wanted(node, node.operator, tuple(map(wanted_of, node.args)), None, fixed, open_)


def same(wanted: Wanted, application: Application, params: dict[str, Hashable]) -> bool:
    """Whether operator and parameters agree; binds open parameters."""
    have = application.params
    if application.operator != wanted.operator or len(wanted.fixed) + len(wanted.open) != len(have):
        return False
    for name, value in wanted.fixed:
        if have.get(name) != value and not (value == "same" and name == "padding" and application.same):
            return False
    for name, variable_name in wanted.open:
        if params.setdefault(variable_name, have.get(name)) != have.get(name):
            return False
    return True
