"""Many trees in four arrays, and the sum of what they predict.

Paper: Ansor §5.2

`predict_plainly` walks one tree at a time and is the definition. `predict` gives the same in one of two ways. Small
trees are visited whole, for 64 rows at a time (`tree_slices`). Of large ones `walk` visits only a row's path: rows that
agree in all tested columns are merged, then all trees are walked at once, level by level, for a chunk of rows whose
values stay in the cache.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from ansor_mini.tree_bins import distinct_rows
from ansor_mini.tree_growth import Tree
from ansor_mini.tree_slices import Slices

CHUNK = 512  # rows walked together
SLICE = 8192  # rows whose masks are made together
SMALL = 90  # leaves per tree, up to which visiting all of them is faster


@dataclass(frozen=True)
class Forest:
    """All nodes of all trees; a prediction is the sum over the trees of the value of the leaf a row falls into.

    column, threshold, left, value, gain: as in `Tree`, with `left` counted over all trees. roots: where each
    tree begins. depth: tests on the longest path.
    """

    column: np.ndarray
    threshold: np.ndarray
    left: np.ndarray
    value: np.ndarray
    gain: np.ndarray
    roots: np.ndarray
    depth: int

    @cached_property
    def tested(self) -> np.ndarray:
        """The columns that some test looks at, ascending."""
        return np.unique(self.column[self.left != np.arange(len(self.left))])

    @cached_property
    def slices(self) -> Slices:
        """The forest by tests, levels and leaves."""
        return Slices.of(self)

    @staticmethod
    def of(trees: Sequence[Tree]) -> Forest:
        """Join trees."""
        roots = np.cumsum([0, *(len(tree) for tree in trees)])[:-1].astype(np.int64)

        def joined(parts: list[np.ndarray], kind: type) -> np.ndarray:
            return np.concatenate(parts).astype(kind) if parts else np.zeros(0, kind)

        return Forest(
            joined([tree.column for tree in trees], np.int64),
            joined([tree.threshold for tree in trees], np.float32),
            joined([tree.left + root for tree, root in zip(trees, roots)], np.int64),
            joined([tree.value for tree in trees], np.float64),
            joined([tree.gain for tree in trees], np.float64),
            roots,
            max((_depth(tree) for tree in trees), default=0),
        )


def _depth(tree: Tree) -> int:
    level, depth = np.zeros(1, np.int64), -1
    while len(level):
        depth += 1
        divided = level[tree.left[level] != level]
        level = np.concatenate([tree.left[divided], tree.left[divided] + 1])
    return depth


def predict_plainly(forest: Forest, X: np.ndarray) -> np.ndarray:
    """The sum of the trees for each row of X, float32 [rows, columns]."""
    total = np.zeros(len(X))
    for root in forest.roots:
        node = np.full(len(X), root)
        for _ in range(forest.depth):
            goes_right = X[np.arange(len(X)), forest.column[node]] > forest.threshold[node]
            node = forest.left[node] + goes_right
        total += forest.value[node]
    return total


def predict(forest: Forest, X: np.ndarray) -> np.ndarray:
    """The same as `predict_plainly`, all trees at once."""
    # Feature by feature, as trees ask for it, whatever the order of X was.
    tested = X.take(forest.tested, axis=1).T if X.flags.c_contiguous else X.T[forest.tested]
    return predict_tested(forest, tested)


def predict_tested(forest: Forest, tested: np.ndarray) -> np.ndarray:
    """The same, given the columns that some test looks at, float32 [tested, rows]."""
    if not len(tested) or not tested.shape[1]:
        return np.full(tested.shape[1], forest.value.sum())
    if len(forest.value) <= 2 * SMALL * len(forest.roots):
        parts = range(0, tested.shape[1], SLICE)
        return np.concatenate([forest.slices.predict(tested[:, first : first + SLICE]) for first in parts])
    tested = np.ascontiguousarray(tested)
    first, row = distinct_rows(tested)
    return walk(forest, tested[:, first] if len(first) < len(row) else tested)[row]


def walk(forest: Forest, columns: np.ndarray) -> np.ndarray:
    """The sum of the trees for each row of the tested columns, contiguous [tested, rows]: all trees, level by level.

    Cost: some 25 ns per row and tree of depth 6.
    """
    flat, rows, trees = columns.reshape(-1), columns.shape[1], len(forest.roots)
    column = np.searchsorted(forest.tested, forest.column) * rows  # a leaf's column 0 becomes position 0
    total = np.zeros(rows)
    for first in range(0, rows, CHUNK):
        row = np.arange(first, min(first + CHUNK, rows))
        node = np.repeat(forest.roots, len(row)).reshape(trees, len(row))
        for _ in range(forest.depth):
            where = column.take(node)
            where += row
            goes_right = flat.take(where) > forest.threshold.take(node)
            node = forest.left.take(node)
            node += goes_right
        total[first : first + CHUNK] = forest.value.take(node).sum(axis=0)
    return total
