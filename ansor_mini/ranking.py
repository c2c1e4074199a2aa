"""How well scores order programs: pairwise accuracy and recall of the best.

Paper: Ansor §7.5

Absolute values of a score do not matter to the search, only which of two programs comes first, and whether the best
ones are among those it would measure.
"""

from __future__ import annotations

import numpy as np


def pairwise_accuracy(scores: np.ndarray, labels: np.ndarray, *, apart: float = 0.0) -> float:
    """The share of pairs with different labels that the scores put in the same order; equal scores count a half.

    apart: leave out pairs whose labels differ by no more than this share of the larger, which measuring again may turn
    round. nan when no pair is left.

    >>> pairwise_accuracy(np.array([3.0, 1.0, 2.0]), np.array([0.9, 0.2, 0.1]))
    0.6666666666666666
    >>> pairwise_accuracy(np.array([3.0, 1.0, 2.0]), np.array([0.9, 0.2, 0.19]), apart=0.1)
    1.0
    """
    scores, labels = np.asarray(scores), np.asarray(labels)
    right, pairs = 0.0, 0
    for score, label in zip(scores, labels):  # one row of the table of pairs at a time
        faster = labels > label + apart * np.abs(labels)
        pairs += int(np.count_nonzero(faster))
        right += int(np.count_nonzero(faster & (scores > score))) + 0.5 * np.count_nonzero(faster & (scores == score))
    return float(right / pairs) if pairs else float("nan")


def recall_at(k: int, scores: np.ndarray, labels: np.ndarray) -> float:
    """The share of the k programs with the highest labels that is among the k with the highest scores.

    >>> recall_at(2, np.array([3.0, 1.0, 2.0, 0.0]), np.array([0.9, 0.8, 0.1, 0.0]))
    0.5
    """
    if not 1 <= k <= len(scores):
        raise ValueError(f"k must be between 1 and the {len(scores)} programs, got {k}")
    best = np.argsort(-labels, kind="stable")[:k]
    found = np.argsort(-scores, kind="stable")[:k]
    return len(np.intersect1d(best, found)) / k
