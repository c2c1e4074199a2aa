"""Several columns in one: a bundle's code stands for the combination of its columns' codes.

Paper: Ansor §5.2

The columns of program features depend on each other, so of all combinations of two columns' codes few occur. Joined
while at most `LIMIT` combinations occur, 70 columns become about 16, and a histogram over bundles costs a quarter of
one over columns. A bundle's histogram times a 0/1 matrix (which combinations lie at or below which cut) then gives the
left sums of every test of every column in it. All of it is exact.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ansor_mini.tree_bins import Bins

LIMIT = 128  # combinations per bundle: more make the matrix product dear, fewer the histograms
SAMPLE = 1024  # rows that decide which columns to try to join


@dataclass(frozen=True)
class Bundle:
    """Some columns and their joint codes.

    members: positions of the columns in `Bins.columns`. codes: int64 [rows], below `size`.
    below: float64 [size, candidates of the members], 1 where a code lies at or below the cut.
    tests: numbers of those candidates among `Bins.candidates`.
    """

    members: np.ndarray
    codes: np.ndarray
    below: np.ndarray
    tests: np.ndarray

    @property
    def size(self) -> int:
        """How many combinations occur."""
        return len(self.below)


def bundle_columns(bins: Bins, limit: int = LIMIT) -> list[Bundle]:
    """Distribute the columns among bundles: each joins the one where it adds the fewest combinations.

    >>> from ansor_mini.tree_bins import bin_columns
    >>> X = np.array([[0, 0, 0], [1, 2, 0], [2, 4, 1], [2, 4, 2], [3, 6, 3]], np.float32)
    >>> [bundle.members.tolist() for bundle in bundle_columns(bin_columns(X))]
    [[0, 1]]
    """
    chosen = np.linspace(0, bins.rows - 1, min(SAMPLE, bins.rows)).astype(np.int64)
    sampled = bins.codes[:, chosen].astype(np.int64)
    counts = [len(cuts) + 1 for cuts in bins.cuts]
    members: list[list[int]] = []
    joint: list[tuple[np.ndarray, int]] = []  # codes of all rows, number of combinations
    sample_joint: list[tuple[np.ndarray, int]] = []
    # The finest columns first: the coarser ones are often functions of them.
    for column in sorted(range(len(counts)), key=lambda c: (-counts[c], c)):
        width = counts[column]
        added = [
            (count_codes(codes * width + sampled[column], size * width) - size, i)
            for i, (codes, size) in enumerate(sample_joint)
        ]
        for extra, i in sorted(added)[:3]:
            if joint[i][1] + extra > limit:
                continue
            codes, size = renumber(joint[i][0] * width + bins.codes[column], joint[i][1] * width)
            if size <= limit:
                members[i].append(column)
                joint[i], sample_joint[i] = (codes, size), renumber(codes[chosen], size)
                break
        else:
            members.append([column])
            codes = bins.codes[column].astype(np.int64)
            joint.append((codes, width))
            sample_joint.append(renumber(codes[chosen], width))
    return [_bundle(bins, sorted(columns), *codes) for columns, codes in zip(members, joint)]


def count_codes(codes: np.ndarray, size: int) -> int:
    """How many different codes occur, all of them below `size`."""
    seen = np.zeros(size, bool)
    seen[codes] = True
    return int(np.count_nonzero(seen))


def renumber(codes: np.ndarray, size: int) -> tuple[np.ndarray, int]:
    """Codes numbered without gaps, and how many there are.

    >>> renumber(np.array([7, 3, 7]), 9)
    (array([1, 0, 1]), 2)
    """
    seen = np.zeros(size, bool)
    seen[codes] = True
    number = seen.cumsum() - 1
    return number[codes], int(number[-1]) + 1


def _bundle(bins: Bins, members: list[int], codes: np.ndarray, size: int) -> Bundle:
    column_of, _ = bins.candidates
    below = []
    for column in members:
        of_code = np.zeros(size, np.int64)
        of_code[codes] = bins.codes[column]
        below.append(of_code[:, None] <= np.arange(len(bins.cuts[column])))
    tests = np.concatenate([np.flatnonzero(column_of == column) for column in members])
    return Bundle(np.array(members), codes, np.concatenate(below, axis=1).astype(np.float64), tests)
