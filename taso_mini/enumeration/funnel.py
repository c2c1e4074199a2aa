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

from collections.abc import Iterator

import numpy as np

from taso_mini.enumeration.forms import LocalPairs, Pairs, normal_forms
from taso_mini.enumeration.joins import CHUNK, common
from taso_mini.enumeration.surrogates import Array
from taso_mini.enumeration.term_table import NONE, PAD, TermTable


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


def is_instance(local: LocalPairs, forms: Array) -> Array:
    """Return which pairs another one becomes when some of its inputs are made the same.

    Args:
        local: the pairs.
        forms: their normal forms, shapes ignored, all different.
    """
    special = np.zeros(len(forms), dtype=bool)
    order = np.argsort(forms)
    for low in range(0, len(forms), CHUNK // 64):
        rows = np.arange(low, min(low + CHUNK // 64, len(forms)))
        level = [(local.take(rows), rows)]
        while level:
            below = []
            for pairs, owners in level:
                for merged, owner in _identified(pairs, owners):
                    found = normal_forms(merged, aware=False)
                    place = order[np.minimum(np.searchsorted(forms[order], found), len(forms) - 1)]
                    hit = (forms[place] == found) & (place != owner)
                    special[place[hit]] = True
                    below.append((merged, owner))
            level = [_distinct(below)] if below else []
    return special


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


def prune(table: TermTable, pairs: Pairs) -> tuple[Pairs, dict[str, int]]:
    """Return the candidate rules and how many pairs each step left, in order."""
    left = {"equal pairs": len(pairs)}
    pairs = pairs.take(firsts(normal_forms(LocalPairs(table, pairs), aware=True)))
    left["different up to renaming"] = len(pairs)
    forms = normal_forms(LocalPairs(table, pairs), aware=False)
    rows = firsts(forms)
    pairs, forms = pairs.take(rows), forms[rows]
    left["different, shapes ignored"] = len(pairs)
    for step, drop in (("no common output operator", shares_output), ("no union of rules", is_union)):
        rows = np.flatnonzero(~drop(table, pairs))
        pairs, forms = pairs.take(rows), forms[rows]
        left[step] = len(pairs)
    rows = np.flatnonzero(~is_instance(LocalPairs(table, pairs), forms))
    left["no instance of another"] = len(rows)
    return pairs.take(rows), left
