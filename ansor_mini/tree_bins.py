"""Columns of numbers as small integers, so that a tree tries a few dozen thresholds instead of thousands.

Paper: Ansor §5.2

1. Leave out columns that never vary.
2. Choose cuts: between neighbouring values when they are few, else at quantiles of the rows.
3. The code of a value is how many cuts lie below it, so `code > b` says the same as `value > cuts[b]`.
4. Of columns with equal codes keep the first: they divide the training rows in the same ways.
5. Of rows with equal codes keep the first: every tree puts them into the same leaf (`distinct_rows`). Of the rows of
   programs' statements half are like this, since an element-wise statement sees few of the choices.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

MAX_BINS = 256  # a code is one byte


@dataclass(frozen=True)
class Bins:
    """The columns that can divide the rows.

    columns: their numbers, int64 [kept], ascending. cuts: the thresholds of each, ascending, float32.
    codes: uint8 [kept, rows].
    """

    columns: np.ndarray
    cuts: tuple[np.ndarray, ...]
    codes: np.ndarray

    @property
    def rows(self) -> int:
        """Number of rows."""
        return int(self.codes.shape[1])

    def take(self, rows: np.ndarray) -> Bins:
        """The same columns of some rows."""
        return replace(self, codes=np.ascontiguousarray(self.codes[:, rows]))

    @cached_property
    def candidates(self) -> tuple[np.ndarray, np.ndarray]:
        """Every test that a node may make: position in `columns` and number of the cut, int64 [candidates] each."""
        counts = [len(cuts) for cuts in self.cuts]
        position = np.repeat(np.arange(len(counts)), counts)
        starts = np.cumsum([0, *counts[:-1]]) if counts else np.zeros(0, np.int64)
        return position, np.arange(len(position)) - np.repeat(starts, counts)


def bin_columns(X: np.ndarray, bins: int = 64) -> Bins:
    """Cut each varying column of X, float32 [rows, columns], into at most `bins` bins.

    >>> binned = bin_columns(np.array([[7, 1, 5], [7, 2, 6], [7, 2, 8]], np.float32))
    >>> binned.columns, binned.cuts[1], binned.codes.tolist()
    (array([1, 2]), array([5.5, 7. ], dtype=float32), [[0, 1, 1], [0, 1, 2]])
    """
    if not 2 <= bins <= MAX_BINS:
        raise ValueError(f"bins must be between 2 and {MAX_BINS}, got {bins}")
    varying = np.flatnonzero(X.min(axis=0) < X.max(axis=0))
    values = np.ascontiguousarray(X[:, varying].T)
    columns, cuts, codes = [], [], []
    seen: set[bytes] = set()
    for column, row in zip(varying, values):
        thresholds = choose_cuts(row, bins)
        code = count_below(row, thresholds)
        text = code.tobytes()
        if text not in seen:
            seen.add(text)
            columns.append(column)
            cuts.append(thresholds)
            codes.append(code)
    shape = (len(codes), len(X))
    return Bins(np.array(columns, np.int64), tuple(cuts), np.array(codes, np.uint8).reshape(shape))


def choose_cuts(values: np.ndarray, bins: int) -> np.ndarray:
    """Thresholds halfway between neighbouring values: all of them, or those nearest to equal numbers of rows.

    >>> choose_cuts(np.array([4, 1, 2, 2], np.float32), bins=4), choose_cuts(np.arange(100, dtype=np.float32), bins=4)
    (array([1.5, 3. ], dtype=float32), array([25.5, 50.5, 75.5], dtype=float32))
    """
    ordered = np.sort(values)
    last = np.flatnonzero(ordered[1:] != ordered[:-1])  # the last row of each distinct value but the largest
    if len(last) >= bins:
        wanted = (np.arange(1, bins) * len(ordered)) // bins
        last = np.unique(last[np.minimum(np.searchsorted(last, wanted), len(last) - 1)])
    below, above = ordered[last], ordered[last + 1]
    middle = below + (above - below) / 2
    # Halfway between two neighbours in float32 may be rounded to the upper one, which then would not be above it.
    return np.where(middle < above, middle, below)


def count_below(values: np.ndarray, cuts: np.ndarray) -> np.ndarray:
    """How many cuts are smaller than each value, as bytes.

    >>> count_below(np.array([0, 2, 9], np.float32), np.array([1, 2], np.float32))
    array([0, 1, 2], dtype=uint8)
    """
    if len(cuts) > 16:
        return np.searchsorted(cuts, values).astype(np.uint8)
    code = np.zeros(len(values), np.uint8)
    for cut in cuts:  # few passes of vector compares are faster than a binary search per value
        code += values > cut
    return code


def distinct_rows(columns: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The rows of a table [columns, rows] without repetitions, and for each row which of these it is.

    Rows are compared by a random combination of their numbers; it is then checked that those taken for equal are.

    >>> distinct_rows(np.array([[1, 2, 1, 2], [5, 5, 5, 6]]))
    (array([0, 1, 3]), array([0, 1, 0, 2]))
    """
    rows = columns.shape[1]
    key = np.random.default_rng(0).standard_normal(len(columns)) @ columns.astype(np.float64)
    _, first, number = np.unique(key, return_index=True, return_inverse=True)
    same = columns.take(first, axis=1).take(number, axis=1) if len(first) < rows else None
    if same is None or not np.array_equal(same, columns):
        return np.arange(rows), np.arange(rows)
    order = np.argsort(first)
    rank = np.empty(len(first), np.int64)
    rank[order] = np.arange(len(first))
    return first[order], rank[number]
