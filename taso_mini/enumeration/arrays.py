"""Rows of arrays, sorted into runs of equal ones, and arrays kept in a folder."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from taso_mini.enumeration.surrogates import Array
from taso_mini.enumeration.term_table import PAD, mix

_MARK = np.uint64(0x9E3779B97F4A7C15)


def starts(*sorted_keys: Array) -> Array:
    """Return where each run of equal keys begins.

    >>> starts(np.array([4, 4, 4, 7]), np.array([1, 1, 2, 2])).tolist()
    [0, 2, 3]
    """
    new = np.ones(len(sorted_keys[0]), dtype=bool)
    new[1:] = False
    for key in sorted_keys:
        new[1:] |= key[1:] != key[:-1]
    return np.flatnonzero(new)


def lengths(begins: Array, total: int) -> Array:
    """Return how long each run is, given where each begins.

    >>> lengths(np.array([0, 2, 3]), 4).tolist()
    [2, 1, 1]
    """
    return np.diff(np.append(begins, total))


def row_numbers(rows: Array) -> Array:
    """Return a 64-bit number for each row of node numbers, whatever their order."""
    total = np.zeros(len(rows), dtype=np.uint64)
    for column in rows.T:
        total += np.where(column == PAD, np.uint64(0), mix(column.astype(np.uint64) + _MARK))
    return total


def unique_rows(rows: Array) -> Array:
    """Return each row once, in no particular order.

    >>> sorted(unique_rows(np.array([[3, 5], [1, 2], [3, 5]])).tolist())
    [[1, 2], [3, 5]]
    """
    numbers = row_numbers(rows)
    order = np.argsort(numbers, kind="stable")
    rows, numbers = rows[order], numbers[order]
    new = np.ones(len(rows), dtype=bool)
    new[1:] = (numbers[1:] != numbers[:-1]) | (rows[1:] != rows[:-1]).any(axis=1)
    return rows[new]


def kept(folder: str | None, name: str, make: Callable[[], Mapping[str, Array]]) -> Mapping[str, Array]:
    """Return arrays from a file of the folder if it is there, else make them (and keep them there)."""
    if folder is None:
        return make()
    path = Path(folder) / f"{name}.npz"
    if path.exists():
        with np.load(path) as saved:
            return {one: saved[one] for one in saved.files}
    made = make()
    partial = path.with_suffix(f".{os.getpid()}.npz")
    arrays: dict[str, Any] = dict(made)
    np.savez(partial, **arrays)
    partial.replace(path)  # a file that has its name is whole
    return made
