"""From equal pairs of graphs to candidate rules: drop what other candidates make superfluous.

Paper: TASO §4, Table 3. In order, each step counted:

1. *Renaming*: pairs that differ in names, in the order of operands, outputs or sides are one (`forms`); then also
   those that differ only in the shapes of their inputs.
2. *Common subgraph at the inputs*: no pair shares an operator on inputs alone; the caller has dropped those.
3. *Common subgraph at the outputs*: the operator of some output is the same on both sides and at most one operand
   differs.
4. *Unions*: several rules side by side that share no operator.
5. *Instances*: what another candidate becomes when some of its inputs are the same tensor.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future
from typing import Any

import numpy as np

from taso_mini.enumeration.forms import LocalPairs, Pairs, normal_forms, skeletons
from taso_mini.enumeration.joins import common
from taso_mini.enumeration.surrogates import Array
from taso_mini.enumeration.term_table import NONE, PAD, TermTable

Tell = Callable[[str, int, int], None]
BLOCK = 1 << 14  # pairs that are named at once


def firsts(forms: Array) -> Array:
    """Return the first row of each number, in row order.

    >>> firsts(np.array([7, 3, 7, 3, 5])).tolist()
    [0, 1, 4]
    """
    return np.sort(np.unique(forms, return_index=True)[1])


def shares_output(table: TermTable, pairs: Pairs) -> Array:
    """Return whether some output is computed by the same operator on both sides, with at most one other operand."""
    found = np.zeros(len(pairs), dtype=bool)
    commutative = np.array([one.operator in ("add", "mul") for one in table.space.templates] + [False] * 256)[:256]
    for s, t in zip(pairs.outputs.T, pairs.results.T, strict=True):
        present = s != PAD
        s, t = np.where(present, s, 0), np.where(present, t, 0)
        a, b = table.node[s], table.node[t]
        same = present & (table.template[a] == table.template[b]) & (table.slot[s] == table.slot[t])
        x, y = table.arguments[a], table.arguments[b]
        straight = (x[:, 0] != y[:, 0]).astype(int) + (x[:, 1] != y[:, 1])
        crossed = (x[:, 0] != y[:, 1]).astype(int) + (x[:, 1] != y[:, 0])
        differ = np.where(commutative[table.template[a]], np.minimum(straight, crossed), straight)
        found |= same & (differ <= 1)
    return found


def is_union(table: TermTable, pairs: Pairs) -> Array:
    """Return whether the outputs fall into groups that share no operator on either side: several rules side by side."""
    count, most = pairs.outputs.shape
    group = np.tile(np.arange(most), (count, 1))
    for _ in range(most):  # groups that meet take the smaller number, until all have
        for i in range(most):
            for j in range(i):
                rows = np.flatnonzero((pairs.outputs[:, i] != PAD) & (group[:, i] != group[:, j]))
                meet = np.zeros(len(rows), dtype=bool)
                for side in (pairs.outputs, pairs.results):
                    one, other = (table.closure[table.node[side[rows, k]]] for k in (i, j))
                    meet |= common(one, other) > 0
                least = np.minimum(group[rows[meet], i], group[rows[meet], j])
                group[rows[meet], i] = group[rows[meet], j] = least
    result: Array = ((group != 0) & (pairs.outputs != PAD)).any(axis=1)
    return result


def _identified(local: LocalPairs, owners: Array) -> Iterator[tuple[LocalPairs, Array]]:
    """Yield the pairs with two inputs made one, for every two inputs, and the row that each comes from."""
    for keep in range(local.inputs):
        for drop in range(keep + 1, local.inputs):
            rows = np.flatnonzero((local.names[:, keep] != NONE) & (local.names[:, drop] != NONE))
            if len(rows):
                some = local.take(rows)
                yield some.merged(np.full(len(rows), keep), np.full(len(rows), drop)), owners[rows]


def is_instance(local: LocalPairs, forms: Array, executor: Executor | None = None, tell: Tell | None = None) -> Array:
    """Return which pairs another one of as many operators becomes when some of its inputs are made the same.

    With fewer operators it is kept: a matcher that gives each operator of a rule one of its own would not find it.
    Making inputs the same leaves the skeleton as it is, the pair without names; so a pair is tried only if another one
    has its skeleton and fewer inputs, and only down to so few.

    Args:
        local: the pairs.
        forms: their normal forms, shapes ignored, all different.
        executor: who looks.
        tell: is told how many pairs are done.
    """
    order = np.argsort(forms)
    operators = (local.templates != NONE).sum(axis=1)
    inputs = (local.names != NONE).sum(axis=1)
    _, skeleton = np.unique(skeletons(local), return_inverse=True)
    fewest = np.full(skeleton.max(initial=-1) + 1, local.inputs)
    np.minimum.at(fewest, skeleton, inputs)
    general = np.flatnonzero(inputs > fewest[skeleton])
    special = np.zeros(len(forms), dtype=bool)
    special[
        _everywhere(
            executor,
            _said(tell, "looking for instances"),
            _instances,
            (local.take(general), fewest[skeleton][general]),
            forms[order],
            operators[order],
        )
    ] = True
    result = np.zeros(len(forms), dtype=bool)
    result[order] = special
    return result


def _instances(local: LocalPairs, fewest: Array, forms: Array, operators: Array) -> Array:
    """Return the places in sorted `forms` of what pairs become when inputs are made the same, down to the fewest."""
    own = (local.templates != NONE).sum(axis=1)
    places = [np.zeros(0, dtype=np.int64)]
    level = [(local, np.arange(len(own)))]
    while level:
        below = []
        for pairs, owners in level:
            for merged, owner in _identified(pairs, owners):
                found = normal_forms(merged, aware=False)
                place = np.minimum(np.searchsorted(forms, found), len(forms) - 1)
                places.append(place[(forms[place] == found) & (operators[place] == own[owner])])
                more = np.flatnonzero((merged.names != NONE).sum(axis=1) > fewest[owner])
                if len(more):
                    below.append((merged.take(more), owner[more]))
        level = [_distinct(below)] if below else []
    return np.unique(np.concatenate(places))


def _distinct(parts: list[tuple[LocalPairs, Array]]) -> tuple[LocalPairs, Array]:
    """Join identified pairs, each partition of a pair's inputs once."""
    joined = object.__new__(LocalPairs)
    joined.space, joined.inputs = parts[0][0].space, parts[0][0].inputs
    for name in ("templates", "names", "arguments", "outputs", "results"):
        setattr(joined, name, np.concatenate([getattr(one, name) for one, _ in parts]))
    owners = np.concatenate([owner for _, owner in parts])
    flat = np.concatenate([joined.arguments.reshape(len(owners), -1), owners[:, None]], axis=1)
    _, rows = np.unique(flat, axis=0, return_index=True)
    return joined.take(rows), owners[rows]


def prune(
    table: TermTable, pairs: Pairs, executor: Executor | None = None, tell: Tell | None = None
) -> tuple[Pairs, dict[str, int]]:
    """Return the candidate rules and how many pairs each step left, in order.

    Args:
        table: the terms.
        pairs: graphs of equal value that share no operator on inputs alone.
        executor: who computes normal forms; None does it here.
        tell: is told how many pairs each step has named.
    """
    left = {"equal pairs": len(pairs)}
    for step, aware in (("different up to renaming", True), ("different, shapes ignored", False)):
        forms = _everywhere(
            executor, _said(tell, f"naming pairs, to keep those {step}"), _forms, (LocalPairs(table, pairs),), aware
        )
        rows = firsts(forms)
        pairs, forms = pairs.take(rows), forms[rows]
        left[step] = len(pairs)
    for step, drop in (("no common output operator", shares_output), ("no union of rules", is_union)):
        rows = np.flatnonzero(~drop(table, pairs))
        pairs, forms = pairs.take(rows), forms[rows]
        left[step] = len(pairs)
    rows = np.flatnonzero(~is_instance(LocalPairs(table, pairs), forms, executor, tell))
    left["no instance of another"] = len(rows)
    return pairs.take(rows), left


def _forms(local: LocalPairs, aware: bool) -> Array:
    return normal_forms(local, aware=aware)


def _said(tell: Tell | None, step: str) -> Callable[[int, int], None]:
    """Return what is to be called with the number of pairs done and of all."""
    return lambda done, total: tell(step, done, total) if tell is not None else None


def _everywhere(
    executor: Executor | None,
    said: Callable[[int, int], None],
    function: Callable[..., Array],
    pairs: tuple[Any, ...],
    *more: object,
) -> Array:
    """Return the function's results for blocks of pairs (and of arrays as long), one after the other."""
    count = len(pairs[0].templates)
    blocks = [np.arange(low, min(low + BLOCK, count)) for low in range(0, max(count, 1), BLOCK)]
    parts = ([pairs[0].take(rows), *(one[rows] for one in pairs[1:])] for rows in blocks)
    waiting: list[Future[Array]] = []
    if executor is not None:
        waiting = [executor.submit(function, *part, *more) for part in parts]
    results = []
    for number, rows in enumerate(blocks):
        results.append(waiting[number].result() if executor is not None else function(*next(parts), *more))
        said(int(rows[-1]) + 1 if len(rows) else 0, count)
    return np.concatenate(results)
