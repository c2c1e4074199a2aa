"""Which terms can be outputs of a rule, and beside which others.

Paper: TASO §2.2; the way there is ours. Two tensors of equal value are *partners* when they share no operator on inputs
alone (§4 would drop the pair). Every output of a rule has a partner among the outputs of the other side. Where a side
has several outputs, so has the other, and each of them is small: a graph of the largest size has one output that needs
all its operators, and then the others are unused halves of splits inside.

Members of a class are first put together by the operators on inputs that they need; classes of hundreds of terms have
but a few such sets, and only these are compared with each other.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from taso_mini.enumeration.arrays import lengths, row_numbers, starts
from taso_mini.enumeration.graph_sets import sinks
from taso_mini.enumeration.joins import CHUNK, blocks, expand
from taso_mini.enumeration.surrogates import Array
from taso_mini.enumeration.term_table import PAD, TermTable

NEVER = np.uint8(255)


@dataclass
class Roles:
    """What each tensor can be in a rule.

    Attributes:
        alone: whether it has a partner.
        least: operators of its smallest partner that can be an output beside others; NEVER where it has none.
        classes: number of different values.
    """

    alone: Array
    least: Array
    classes: int


def leaf_numbers(table: TermTable, rows: Array) -> Array:
    """Return a 64-bit number for the set of operators on inputs alone of each row."""
    parts = [np.zeros(0, dtype=np.uint64)]
    for low in range(0, len(rows), CHUNK):
        part = rows[low : low + CHUNK]
        leaf = (part >= table.leaf_start) & (part < table.level_ends[1])
        parts.append(row_numbers(np.where(leaf, part, PAD)))
    return np.concatenate(parts)


def find_roles(table: TermTable) -> Roles:
    """Group the tensors by value and find out who has partners, and which."""
    members, group, classes = _classes(table)
    leaf_set = leaf_numbers(table, table.closure[table.node[members]])
    order = np.lexsort((leaf_set, group))
    members, group, leaf_set = members[order], group[order], leaf_set[order]
    sets = starts(group, leaf_set)
    alone = np.zeros(len(sets), dtype=bool)
    least = np.full(len(sets), NEVER)
    roles = Roles(np.zeros(len(table.node), dtype=bool), np.full(len(table.node), NEVER), classes)
    if not len(sets):
        return roles
    smallest = np.minimum.reduceat(_sizes_beside(table, members), sets)
    leaves = table.leaves(table.closure[table.node[members[sets]]])
    of_group = starts(group[sets])
    count = lengths(of_group, len(sets))
    begin, many = np.repeat(of_group, count), np.repeat(count, count)
    for low, high in blocks(many):
        which, place = expand(begin[low:high], many[low:high])
        apart = ~(leaves[which + low] & leaves[place]).any(axis=1)
        which, place = which[apart] + low, place[apart]
        alone[which] = True
        np.minimum.at(least, which, smallest[place])
    in_set = lengths(sets, len(members))
    roles.alone[members], roles.least[members] = np.repeat(alone, in_set), np.repeat(least, in_set)
    return roles


def _classes(table: TermTable) -> tuple[Array, Array, int]:
    """Return the tensors whose value another one has, class after class, their classes, and how many values exist."""
    inputs = len(table.space.inputs)
    order = np.argsort(table.fingerprint[inputs:], kind="stable").astype(np.int32) + np.int32(inputs)
    begins = starts(table.fingerprint[order])
    count = lengths(begins, len(order))
    members = order[np.repeat(count > 1, count)]
    count = count[count > 1]
    return members, np.repeat(np.arange(len(count), dtype=np.int32), count), len(begins)


def _sizes_beside(table: TermTable, members: Array) -> Array:
    """Return the number of operators of each tensor, NEVER for those that can only be a graph's sole output."""
    nodes = table.node[members]
    result = table.size[nodes].copy()
    largest = np.flatnonzero(result == table.width)
    for low in range(0, len(largest), CHUNK // 4):
        rows = largest[low : low + CHUNK // 4]
        closure = table.closure[nodes[rows]]
        split = ((closure != PAD) & (table.outputs[np.where(closure == PAD, 0, closure)] > 1)).any(axis=1)
        several = np.zeros(len(rows), dtype=bool)
        several[split] = (sinks(table, closure[split]) != PAD).sum(axis=1) > 1
        result[rows[~several]] = NEVER
    return result
