"""Grow one regression tree, level by level, by the second-order gain of every possible test.

Paper: Ansor §5.2

Given a gradient g and a hessian h for each row, a leaf that holds the sums G and H is worth -G / (H + l2), and a test
that divides a node into left and right gains G_l² / (H_l + l2) + G_r² / (H_r + l2) - G² / (H + l2).

1. Start with all rows in one node.
2. For each node of the level, find the test with the largest gain; ties go to the first one.
3. Divide the nodes whose gain is above `gamma`; the rows of the others are done.
4. Go on with the children until the tree is `depth` levels deep; then give each leaf its value.

Step 2 is an argument: `PlainSplitter` here is the readable one, `tree_histograms.PackedSplitter` the fast one. Both
get the gradients as integers, so that their sums are exact whatever the order and both grow the same tree.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from ansor_mini.tree_bins import Bins

HALF = 25  # sums of quantised gradients stay below 2²⁵, so two of them fit into the 53 bits of a double


@dataclass(frozen=True)
class GrowthOptions:
    """What a tree may look like.

    depth: levels of tests. gamma: least gain of a test. l2: added to each sum of hessians.
    min_child_weight: least sum of hessians in a leaf.
    """

    depth: int = 6
    gamma: float = 0.001
    l2: float = 1.0
    min_child_weight: float = 0.0


@dataclass(frozen=True)
class Tree:
    """Nodes in level order; the root is node 0.

    column, threshold: node's test; it sends a row to `left + 1` when row[column] > threshold, else to `left`.
    A leaf has column 0, threshold infinity and itself as `left`, so that walking on from it leads nowhere else.
    value: what a leaf adds to the prediction. gain: by how much a test lowers twice the loss, 0 for a leaf.
    """

    column: np.ndarray
    threshold: np.ndarray
    left: np.ndarray
    value: np.ndarray
    gain: np.ndarray

    def __len__(self) -> int:
        return len(self.left)


@dataclass(frozen=True)
class Gradients:
    """First and second derivatives of the loss per row, as floats and as integers.

    g, h: float64 [rows]. units: what one unit of the integer gradient and hessian stands for.
    whole_g, whole_h: float64 [rows] that hold integers, the sum of their magnitudes below 2²⁵.
    """

    g: np.ndarray
    h: np.ndarray
    whole_g: np.ndarray
    whole_h: np.ndarray
    units: tuple[float, float]

    @staticmethod
    def of(g: np.ndarray, h: np.ndarray) -> Gradients:
        """Round gradients to integers."""
        whole_g, unit_g = quantise(g)
        whole_h, unit_h = quantise(h)
        return Gradients(g, h, whole_g, whole_h, (unit_g, unit_h))


def quantise(values: np.ndarray) -> tuple[np.ndarray, float]:
    """Values as integers, and the unit they are counted in: a power of two, so that counting loses only the rounding.

    >>> whole, unit = quantise(np.array([0.5, -0.25]))
    >>> (whole * unit).tolist()
    [0.5, -0.25]
    """
    budget = 2.0**HALF - len(values) / 2 - 1  # rounding adds at most half a unit per value
    unit = float(np.exp2(np.ceil(np.log2((np.abs(values).sum() + 1e-30) / budget))))
    return np.rint(values / unit), unit


class Splitter(Protocol):
    """Finds the best test of every node of a level."""

    def start(self, gradients: Gradients, allowed: np.ndarray) -> None:
        """Begin a tree. allowed: bool [candidates], which tests may be used."""
        ...

    def best(
        self, rows: np.ndarray, node: np.ndarray, count: int, parents: np.ndarray, options: GrowthOptions
    ) -> tuple[np.ndarray, np.ndarray]:
        """The largest gain of each node and the candidate that has it, float64 and int64 [count].

        rows: those that are in a node of this level, ascending. node: which, int64 below `count`.
        parents: for each pair of nodes (2k, 2k + 1), their parent's number in the level before.
        """
        ...


class PlainSplitter:
    """One histogram per column: two bincounts over the rows, one cumulative sum, the gain of every cut."""

    def __init__(self, bins: Bins) -> None:
        """Split the rows of `bins`."""
        self.bins = bins

    def start(self, gradients: Gradients, allowed: np.ndarray) -> None:
        """Begin a tree."""
        self.gradients, self.allowed = gradients, allowed

    def best(
        self, rows: np.ndarray, node: np.ndarray, count: int, parents: np.ndarray, options: GrowthOptions
    ) -> tuple[np.ndarray, np.ndarray]:
        """The best test of each node."""
        g, h = self.gradients.whole_g[rows], self.gradients.whole_h[rows]
        gains = []
        for codes, cuts in zip(self.bins.codes, self.bins.cuts):
            bins = len(cuts) + 1
            key = node * bins + codes[rows]
            below_g, below_h = (
                np.bincount(key, weights=sums, minlength=count * bins).reshape(count, bins).cumsum(axis=1)
                for sums in (g, h)
            )
            total_g, total_h = below_g[:, -1:], below_h[:, -1:]
            gains.append(split_scores(below_g[:, :-1], below_h[:, :-1], total_g, total_h, self.gradients, options))
        scores = np.concatenate(gains, axis=1)
        scores[:, ~self.allowed] = -np.inf
        return best_gains(scores, total_g, total_h, self.gradients, options)


def split_scores(
    below_g: np.ndarray,
    below_h: np.ndarray,
    total_g: np.ndarray,
    total_h: np.ndarray,
    gradients: Gradients,
    options: GrowthOptions,
) -> np.ndarray:
    """G_l² / (H_l + l2) + G_r² / (H_r + l2) of each node and test [nodes, candidates]; -inf for too light a child.

    below_g, below_h: sums of the integer gradients and hessians on the left side [nodes, candidates]. total_g, total_h:
    of the whole node [nodes, 1].
    """
    # In units of the hessian everywhere: one multiplication per node at the end instead of four per test.
    l2 = max(options.l2, 1e-12) / gradients.units[1]
    above_g, above_h = total_g - below_g, total_h - below_h
    scores = below_g * below_g
    scores /= below_h + l2
    np.multiply(above_g, above_g, out=above_g)
    above_g /= above_h + l2
    scores += above_g
    if options.min_child_weight > 0:
        least = options.min_child_weight / gradients.units[1]
        scores[(below_h < least) | (above_h < least)] = -np.inf
    return scores


def best_gains(
    scores: np.ndarray, total_g: np.ndarray, total_h: np.ndarray, gradients: Gradients, options: GrowthOptions
) -> tuple[np.ndarray, np.ndarray]:
    """The gain of each node's best test, and which it is: the parent's own term is the same for all tests."""
    best = scores.argmax(axis=1)
    l2 = max(options.l2, 1e-12) / gradients.units[1]
    whole = (total_g * total_g / (total_h + l2))[:, 0]
    unit = gradients.units[0] ** 2 / gradients.units[1]
    return (scores[np.arange(len(scores)), best] - whole) * unit, best


def grow(
    bins: Bins, gradients: Gradients, allowed: np.ndarray, splitter: Splitter, options: GrowthOptions
) -> tuple[Tree, np.ndarray]:
    """Grow a tree; also returns the leaf of each row, int64 [rows].

    allowed: bool [candidates], which of `bins.candidates` may be used.
    """
    column_of, cut_of = bins.candidates
    rows, node = np.arange(bins.rows), np.zeros(bins.rows, np.int64)
    leaf = np.zeros(bins.rows, np.int64)
    tests: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []  # of each level: nodes that are divided, tests, gains
    parents, first, count = np.zeros(0, np.int64), 0, 1
    lefts = [np.zeros(1, np.int64)]
    if allowed.any():
        splitter.start(gradients, allowed)
    for _ in range(options.depth if allowed.any() else 0):
        gain, test = splitter.best(rows, node, count, parents, options)
        divided = np.flatnonzero(gain > options.gamma)
        if not len(divided):
            break
        test = test[divided]
        tests.append((first + divided, test, gain[divided]))
        lefts[-1][divided] = first + count + 2 * np.arange(len(divided))
        if len(divided) < count:
            rank = np.full(count, -1)
            rank[divided] = np.arange(len(divided))
            node = rank[node]
            live = np.flatnonzero(node >= 0)
            rows, node = rows[live], node[live]
        right = bins.codes.reshape(-1)[column_of[test][node] * bins.rows + rows] > cut_of[test][node]
        node = 2 * node + right
        parents, first, count = divided, first + count, 2 * len(divided)
        leaf[rows] = first + node
        lefts.append(np.arange(first, first + count))
    return _tree(bins, gradients, options, tests, np.concatenate(lefts), leaf), leaf


def _tree(
    bins: Bins,
    gradients: Gradients,
    options: GrowthOptions,
    tests: list[tuple[np.ndarray, np.ndarray, np.ndarray]],
    left: np.ndarray,
    leaf: np.ndarray,
) -> Tree:
    column_of, cut_of = bins.candidates
    column, threshold = np.zeros(len(left), np.int64), np.full(len(left), np.inf, np.float32)
    gain = np.zeros(len(left))
    for nodes, candidates, gains in tests:
        position = column_of[candidates]
        column[nodes] = bins.columns[position]
        threshold[nodes] = [bins.cuts[p][c] for p, c in zip(position, cut_of[candidates])]
        gain[nodes] = gains
    # The gradients as they are, not as integers: a leaf's value need not be rounded.
    total_g = np.bincount(leaf, weights=gradients.g, minlength=len(left))
    total_h = np.bincount(leaf, weights=gradients.h, minlength=len(left))
    return Tree(column, threshold, left, -total_g / (total_h + max(options.l2, 1e-12)), gain)
